import { encodeFrame } from './frames.ts';
import type { ContainerId, LogEntry, LogStream } from './protocol.ts';

/** Bytes of one frame; a frame is closed when the run queue rests, or at this size. */
const frameBytes = 64 << 10;
/** Entries of one frame: writes of a byte each, stream by stream, would make a head of megabytes. */
const frameEntries = 4_096;
/** Frames on their way to the agent at once. */
const window = 16;
/** What an entry takes beside its bytes, about. */
const entryBytes = 128;
const maxContainerBytes = 1 << 20;
const maxTotalBytes = 64 << 20;

/** The log of one container, as the queue knows it. */
class ContainerLog {
  readonly id: ContainerId;
  /** Bytes not yet in the log files. */
  pending = 0;
  dropped = 0;
  onDrained: (() => void) | undefined;

  constructor(id: ContainerId) {
    this.id = id;
  }
}

interface Closed {
  readonly seq: number;
  readonly bytes: Buffer;
  readonly shares: readonly { readonly log: ContainerLog; readonly length: number }[];
}

export type { ContainerLog };

/**
 * What modules write, on its way to the agent's log files. Bytes are gathered in turns of the event loop and sent in numbered
 * frames; a frame is kept until the agent says `logged`, and sent again to an agent that dials in anew. At most 1 MiB of
 * a container and 64 MiB in all are kept; what is more is dropped, and a line in the log says how much.
 */
export class LogQueue {
  readonly #scratch = Buffer.allocUnsafeSlow(frameBytes);
  #used = 0;
  #entries: { log: ContainerLog; stream: LogStream; atMs: number; length: number }[] = [];
  #frames: Closed[] = [];
  /** How many of `#frames` the agent at hand was sent. */
  #sent = 0;
  #lastSeq = 0;
  #total = 0;
  #scheduled = false;
  #send: ((frame: Buffer) => void) | undefined;
  #onDrained: (() => void) | undefined;

  open(id: ContainerId): ContainerLog {
    return new ContainerLog(id);
  }

  /** Copies `bytes`. */
  write(log: ContainerLog, stream: LogStream, bytes: Uint8Array): void {
    const cost = bytes.length + entryBytes;
    if (log.pending + cost > maxContainerBytes || this.#total + cost > maxTotalBytes) {
      log.dropped += bytes.length;
      return;
    }
    if (log.dropped > 0) this.#marker(log);
    for (let at = 0; at < bytes.length; at += frameBytes)
      this.#append(log, stream, bytes.subarray(at, at + frameBytes));
  }

  /** The container has ended. `drained` is called once the agent has all of its log, perhaps at once. */
  close(log: ContainerLog, drained: () => void): void {
    if (log.dropped > 0) this.#marker(log);
    if (log.pending === 0) drained();
    else log.onDrained = drained;
  }

  /** An agent is there: everything not logged is sent, in order. */
  attach(send: (frame: Buffer) => void): void {
    this.#send = send;
    this.#sent = 0;
    this.#flush();
  }

  detach(): void {
    this.#send = undefined;
    this.#onDrained?.();
  }

  /** The agent has everything up to `seq`. */
  logged(seq: number): void {
    let done = 0;
    const drained: (() => void)[] = [];
    while (done < this.#sent && this.#frames[done]!.seq <= seq) {
      for (const { log, length } of this.#frames[done]!.shares) {
        this.#charge(log, -length - entryBytes);
        if (log.pending === 0 && log.onDrained) drained.push(log.onDrained);
      }
      done++;
    }
    this.#frames.splice(0, done);
    this.#sent -= done;
    this.#pump();
    for (const call of drained) call();
    if (this.#frames.length === 0) this.#onDrained?.();
  }

  /** Resolves when the agent has everything, when there is none, or when the time is up. */
  async drain(timeoutMs: number): Promise<void> {
    this.#flush();
    if (!this.#send || this.#frames.length === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#onDrained = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #marker(log: ContainerLog): void {
    const line = Buffer.from(`[loamlet: ${log.dropped} bytes of log dropped]\n`);
    log.dropped = 0;
    this.#append(log, 'stderr', line);
  }

  #append(log: ContainerLog, stream: LogStream, bytes: Uint8Array): void {
    if (this.#used + bytes.length > frameBytes || this.#entries.length >= frameEntries) this.#close();
    this.#scratch.set(bytes, this.#used);
    this.#used += bytes.length;
    this.#charge(log, bytes.length);
    const last = this.#entries.at(-1);
    if (last?.log === log && last.stream === stream) {
      last.length += bytes.length;
    } else {
      this.#entries.push({ log, stream, atMs: Date.now(), length: bytes.length });
      this.#charge(log, entryBytes);
    }
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(this.#flush);
    }
  }

  #charge(log: ContainerLog, bytes: number): void {
    log.pending += bytes;
    this.#total += bytes;
  }

  #flush = (): void => {
    this.#scheduled = false;
    this.#pump();
  };

  #close(): void {
    if (this.#entries.length === 0) return;
    const seq = ++this.#lastSeq;
    const entries: LogEntry[] = this.#entries.map(({ log, stream, atMs, length }) => ({
      id: log.id,
      stream,
      atMs,
      length,
    }));
    const bytes = encodeFrame({ type: 'logs', seq, entries }, [this.#scratch.subarray(0, this.#used)]);
    this.#frames.push({ seq, bytes, shares: this.#entries });
    this.#entries = [];
    this.#used = 0;
  }

  /** While nobody takes frames, the open one is left to fill up. */
  #pump(): void {
    while (this.#send && this.#sent < window) {
      if (this.#sent === this.#frames.length) this.#close();
      const frame = this.#frames[this.#sent];
      if (!frame) return;
      this.#sent++;
      this.#send(frame.bytes);
    }
  }
}
