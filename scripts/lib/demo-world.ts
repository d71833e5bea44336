/** What both demos share: a folder, the module, a view of the broker, a view of a log. */
import { createServer } from 'node:net';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt from 'mqtt';
import { print } from './processes.ts';

export const root = new URL('../..', import.meta.url).pathname.replace(/\/$/, '');
export const loamlet = [`${root}/dist/loamlet.mjs`] as const;
export const soilSensor = `${root}/.tools/modules/soil-sensor.wasm`;

/** What both nodes have: one simulated probe, and a log for people. */
export const probeConfig = `devices:
  - name: bed-3                  # the physical thing
    resource: soil-moisture      # what a pod asks for: loamlet.dev/soil-moisture
    driver: simulated            # ads1115 with a real probe
    profile: ramp
    from: 62
    to: 38
log: { format: human }
`;

/** A folder that goes with the demo. */
export async function temporaryFolder(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'loamlet-demo-'));
  // Where there is a user loamlet-run, modules run as it and are read by it.
  await chmod(path, 0o711);
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** A port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Prints what an MQTT client sees under `loamlet/#`; resolves after so many readings, or when the signal aborts. */
export async function watchReadings(url: string, readings: number, signal: AbortSignal): Promise<void> {
  const client = mqtt.connect(url, { reconnectPeriod: 200 });
  client.on('error', () => {});
  let seen = 0;
  await new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
    if (signal.aborted) resolve();
    client.on('connect', () => client.subscribe('loamlet/#', { qos: 1 }));
    client.on('message', (topic, payload, packet) => {
      // The node's own availability and what was kept from before are no readings.
      if (packet.retain || topic.endsWith('/status')) return;
      print('mqtt', `${topic} ${payload.toString()}`);
      if (++seen >= readings) resolve();
    });
  });
  await client.endAsync(true);
}

/** Resolves when `check` does without an error; tries every 200 ms for `seconds`. @throws what the last try threw */
export async function eventually<T>(
  what: string,
  seconds: number,
  signal: AbortSignal,
  check: () => Promise<T>,
): Promise<T> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (signal.aborted) throw new Error('stopped', { cause: error });
      if (Date.now() > deadline)
        throw new Error(`${what} took more than ${seconds} s: ${(error as Error).message}`, { cause: error });
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
