import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { MqttLink } from '../../../src/mqtt/link.ts';
import { Outbox } from '../../../src/mqtt/outbox.ts';
import { Database } from '../../../src/store/database.ts';
import { Mosquitto } from '../../support/mosquitto.ts';
import { item, numbers } from '../../support/outbox-world.ts';
import { StateFolder } from '../../support/state-folder.ts';
import { Subscriber } from '../../support/subscriber.ts';
import { TestLog } from '../../support/test-log.ts';

const child = fileURLToPath(new URL('../../support/outbox-child.ts', import.meta.url));
const rounds = 12;
/** Of the link. */
const window = 64;

/** Runs the child from `first` on, kills it after so many batches were told; the last number it told as published. */
async function killedAfter(batches: number, path: string, url: string, first: number): Promise<number> {
  const agent = spawn(process.execPath, [child, path, url, String(first)], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(agent, 'close');
  let told = first - 1;
  let seen = 0;
  createInterface(agent.stdout).on('line', (line) => {
    told = Number(line.split(' ')[1]);
    seen += 1;
    if (seen === batches) agent.kill('SIGKILL');
  });
  let errors = '';
  agent.stderr.on('data', (text) => (errors += String(text)));
  const [, signal] = (await ended) as [number | null, NodeJS.Signals | null];
  expect(signal, errors).toBe('SIGKILL');
  return told;
}

test(
  'kill -9 of the agent loses none that was told published, and all arrive in order',
  { timeout: 180_000 },
  async () => {
    await using mosquitto = await Mosquitto.start();
    using folder = new StateFolder();
    const path = folder.file('state.db');
    await using subscriber = await Subscriber.open(mosquitto.url, '#');
    let told = 0;
    let seed = 7;
    for (let round = 0; round < rounds; round += 1) {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      // The next agent publishes again what the last one had not told, as a runner does after an adoption.
      told = await killedAfter(1 + (seed % 120), path, mosquitto.url, told + 1);
    }
    const { log } = new TestLog();
    using database = Database.open(path, log);
    using outbox = new Outbox(database, log);
    await using link = await MqttLink.open({ url: mosquitto.url, source: outbox, clientId: 'loamlet-child' }, log);
    await outbox.append([item(1, { runnerId: 'last', payload: Buffer.from('last') })]);
    await subscriber.until((received) => received.some(({ payload }) => payload === 'last'));
    await link[Symbol.asyncDispose]();
    expect(outbox.stats().waiting).toBe(0);

    const arrived = [...new Set(subscriber.payloads)];
    expect(arrived.slice(0, told)).toEqual(numbers(1, told));
    // At most what was in flight when an agent died comes twice.
    expect(subscriber.payloads.length - arrived.length).toBeLessThanOrEqual(rounds * window);
    expect(told).toBeGreaterThan(rounds * 5);
  },
);
