// Loamlet for AssemblyScript: sensors, messages and the life of a container, in one file.
//
// Copy it beside your program and re-export its allocator from the file you compile:
//
//   import { Sensor, publish, sleep } from "./loamlet";
//   export { cabi_realloc } from "./loamlet";
//
// AssemblyScript has no exceptions, so a call that can fail answers null or false, and `lastError()` has the words.
// A module imports only what it calls: what you do not use here needs no grant.

/** How far a reading can be trusted. */
export enum Quality {
  Good,
  /** Outside its calibrated range, or still warming up. */
  Uncertain,
  /** The last good value, older than the sensor's interval. */
  Stale,
}

/** One value of one sensor. */
export class Reading {
  constructor(
    public value: f64,
    /** UCUM code: "Cel", "%", "hPa", "lx". */
    public unit: string,
    /** Nanoseconds since the Unix epoch. */
    public takenAt: u64,
    public quality: Quality = Quality.Good,
  ) {}

  /** For people: `41.5 %`, with one decimal, and what is wrong with it if anything is. */
  toString(): string {
    const text = (Math.round(this.value * 10) / 10).toString() + " " + this.unit;
    if (this.quality == Quality.Uncertain) return text + " (uncertain)";
    return this.quality == Quality.Stale ? text + " (stale)" : text;
  }
}

/** What a sensor measures. */
export class Description {
  constructor(
    /** "temperature", "soil-moisture". */
    public quantity: string,
    public unit: string,
    public model: string,
    /** Calibrated range; NaN at both ends when it is not known. */
    public min: f64,
    public max: f64,
    /** How often it has a new value. */
    public intervalMs: u32,
  ) {}
}

/** A sensor that the pod was granted. */
export class Sensor {
  private constructor(private handle: i32) {}

  /** Opens the sensor by its name in the grant (`soil-moisture`, `air.humidity`); null: see `lastError()`. */
  static open(name: string): Sensor | null {
    const n = String.UTF8.encode(name);
    sensorsOpen(changetype<usize>(n), n.byteLength, result);
    return failed(SENSOR_ERRORS, 4) ? null : new Sensor(load<i32>(result, 4));
  }

  /** Reads it now, waiting for the device; null: see `lastError()`. */
  read(): Reading | null {
    sensorRead(this.handle, result);
    if (failed(SENSOR_ERRORS, 8)) return null;
    return new Reading(load<f64>(result, 8), takeString(result + 16), load<u64>(result, 24), load<u8>(result, 32));
  }

  describe(): Description {
    sensorDescribe(this.handle, result);
    const ranged = load<u8>(result, 24) != 0;
    return new Description(
      takeString(result),
      takeString(result + 8),
      takeString(result + 16),
      ranged ? load<f64>(result, 32) : NaN,
      ranged ? load<f64>(result, 40) : NaN,
      load<u32>(result, 48),
    );
  }

  /** Gives the sensor back; it must not be used after. The end of the program does the same. */
  close(): void {
    sensorDrop(this.handle);
  }
}

/**
 * Publishes a text under a topic, relative to the pod's own prefix unless its manifest asked for topics. True when the
 * message is on the node's disk: from there it reaches the broker, however long the network is away.
 */
export function publish(topic: string, text: string): bool {
  return publishBytes(topic, String.UTF8.encode(text));
}

/** `publish` for any bytes. */
export function publishBytes(topic: string, payload: ArrayBuffer): bool {
  const t = String.UTF8.encode(topic);
  messagingPublish(changetype<usize>(t), t.byteLength, changetype<usize>(payload), payload.byteLength, result);
  return !failed(MESSAGING_ERRORS, 4);
}

/** Publishes a reading of the sensor of that name, in the form the node's operator chose (JSON if nothing was). */
export function publishReading(topic: string, sensor: string, reading: Reading): bool {
  const t = String.UTF8.encode(topic), s = String.UTF8.encode(sensor), u = String.UTF8.encode(reading.unit);
  messagingPublishReading(
    changetype<usize>(t), t.byteLength, changetype<usize>(s), s.byteLength,
    reading.value, changetype<usize>(u), u.byteLength, reading.takenAt, reading.quality, result,
  );
  return !failed(MESSAGING_ERRORS, 4);
}

/** Why the last call that failed did: the error's case and, where there is one, its text (`unavailable: no answer`). */
export function lastError(): string {
  return error;
}

/** Tells the node that the program makes progress (its liveness). */
export function alive(): void {
  lifecycleAlive();
}

/** Tells the node whether the pod should count as ready. */
export function setReady(ready: bool): void {
  lifecycleSetReady(ready ? 1 : 0);
}

/** True once the pod is being stopped: finish within its grace period. */
export function stopping(): bool {
  return lifecycleStopping() != 0;
}

/** Sleeps, looking every two seconds whether the pod is being stopped; false: it is, so finish. */
export function sleep(ms: i64): bool {
  while (ms > 0 && !stopping()) {
    const step = min(ms, 2000);
    sleepNanoseconds(<u64>step * 1000000);
    ms -= step;
  }
  return !stopping();
}

/** Prints a line: the container's log. (`console.log` takes two writes for it, `console.error` goes to stdout.) */
export function print(line: string): void {
  process.stdout.write(line + "\n");
}

/** Prints a line on stderr. */
export function printError(line: string): void {
  process.stderr.write(line + "\n");
}

/** The environment variable as a whole number, or `otherwise` when it is not set or not a number. */
export function envNumber(name: string, otherwise: i64): i64 {
  const value = process.env.has(name) ? parseInt(process.env.get(name)) : NaN;
  return isNaN(value) ? otherwise : <i64>value;
}

// ---- Below: the canonical ABI. Nothing here is needed to write a module. ----

/**
 * The host puts strings it returns into memory from here. The blocks are outside the garbage collector, which would
 * not know them; each is copied out and freed at once.
 */
export function cabi_realloc(old: usize, oldSize: usize, align: usize, newSize: usize): usize {
  if (newSize == 0) return align;
  return old == 0 ? heap.alloc(newSize) : heap.realloc(old, newSize);
}

// Where the host writes results: the largest is `describe`'s 56 bytes. One call runs at a time, so one area is enough.
const result = memory.data(56, 8);
let error = "";

const SENSOR_ERRORS: StaticArray<string> = ["not-found", "not-permitted", "unavailable:", "other:"];
const MESSAGING_ERRORS: StaticArray<string> = ["timeout", "connection:", "permission-denied:", "other:", "full"];

/** Whether the result is an error; its case is at `at`, and the text of the cases named with a colon 4 bytes on. */
function failed(cases: StaticArray<string>, at: usize): bool {
  if (load<u8>(result) == 0) return false;
  const n = <i32>load<u8>(result + at);
  const name = n < cases.length ? cases[n] : "unknown";
  error = name.endsWith(":") ? name + " " + takeString(result + at + 4) : name;
  return true;
}

/** Copies a string out of the block the host allocated for it, and frees the block. */
function takeString(at: usize): string {
  const address = load<usize>(at), length = load<usize>(at, 4);
  if (length == 0) return "";
  const text = String.UTF8.decodeUnsafe(address, length);
  heap.free(address);
  return text;
}

/** A sleep of WASI: `poll_oneoff` with one subscription to the monotonic clock. */
function sleepNanoseconds(ns: u64): void {
  memory.fill(subscription, 0, 48);
  store<u32>(subscription, 1, 16);
  store<u64>(subscription, ns, 24);
  pollOneoff(subscription, event, 1, event + 32);
}
const subscription = memory.data(48, 8);
const event = memory.data(40, 8);

// @ts-ignore: decorator
@external("loamlet:host/sensors@0.1.0", "open")
declare function sensorsOpen(name: usize, nameLength: usize, result: usize): void;
// @ts-ignore: decorator
@external("loamlet:host/sensors@0.1.0", "[method]sensor.read")
declare function sensorRead(self: i32, result: usize): void;
// @ts-ignore: decorator
@external("loamlet:host/sensors@0.1.0", "[method]sensor.describe")
declare function sensorDescribe(self: i32, result: usize): void;
// @ts-ignore: decorator
@external("loamlet:host/sensors@0.1.0", "[resource-drop]sensor")
declare function sensorDrop(self: i32): void;
// @ts-ignore: decorator
@external("loamlet:host/messaging@0.1.0", "publish")
declare function messagingPublish(topic: usize, topicLength: usize, payload: usize, payloadLength: usize, result: usize): void;
// @ts-ignore: decorator
@external("loamlet:host/messaging@0.1.0", "publish-reading")
declare function messagingPublishReading(
  topic: usize, topicLength: usize, sensor: usize, sensorLength: usize,
  value: f64, unit: usize, unitLength: usize, takenAt: u64, quality: i32, result: usize,
): void;
// @ts-ignore: decorator
@external("loamlet:host/lifecycle@0.1.0", "alive")
declare function lifecycleAlive(): void;
// @ts-ignore: decorator
@external("loamlet:host/lifecycle@0.1.0", "set-ready")
declare function lifecycleSetReady(ready: i32): void;
// @ts-ignore: decorator
@external("loamlet:host/lifecycle@0.1.0", "stopping")
declare function lifecycleStopping(): i32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "poll_oneoff")
declare function pollOneoff(subscriptions: usize, events: usize, count: usize, stored: usize): i32;
