/** The agent's part of a publish, in a process of its own as the agent is: gate, outbox on disk, and the link if there is a broker. */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Grant } from '../../hostcalls/grant.ts';
import { MqttLink } from '../../src/mqtt/link.ts';
import { Outbox } from '../../src/mqtt/outbox.ts';
import { createLogger } from '../../src/observe/logger.ts';
import { storePublishes } from '../../src/pods/publish-gate.ts';
import type { PrecompiledModule } from '../../src/precompile/precompiler.ts';
import { Database } from '../../src/store/database.ts';
import { answer, settingsOf } from './child.ts';
import { RunnerWorld } from './runner-world.ts';

export interface PublishSettings {
  readonly module: PrecompiledModule;
  readonly folder: string;
  readonly modules: number;
  readonly seconds: number;
  readonly brokerUrl?: string;
}

export interface PublishRates {
  readonly committedPerSecond: number;
  readonly deliveredPerSecond: number;
  readonly publishesPerCommit: number;
  readonly commitMsMean: number;
  readonly commitMsMax: number;
  /** Of one core. */
  readonly agentCpu: number;
}

const { module, folder, modules, seconds, brokerUrl } = settingsOf<PublishSettings>();
const log = createLogger({ level: 'warn' });
using database = Database.open(join(folder, 'state.db'), log);
using outbox = new Outbox(database, log);
const link = brokerUrl === undefined ? undefined : await openLink(brokerUrl);
const grant: Grant = {
  devices: [],
  messaging: { prefix: 'loamlet/bench/garden/soil-sensor/', publish: [{ filter: 'loamlet/#', qos: 1, retain: true }] },
};
{
  await using world = await RunnerWorld.open(folder, (runnerId, published) =>
    storePublishes(runnerId, published, () => grant, outbox),
  );
  await world.start(module, 0, modules, ['publisher', '1000000000'], grant);
  await delay(1_500);
  const from = outbox.stats();
  const cpuFrom = process.cpuUsage();
  const started = performance.now();
  await delay(seconds * 1_000);
  const to = outbox.stats();
  const passed = (performance.now() - started) / 1_000;
  const { user, system } = process.cpuUsage(cpuFrom);
  if (world.trouble !== '') throw new Error(world.trouble);
  const commits = to.commits - from.commits;
  answer({
    committedPerSecond: (to.committedTotal - from.committedTotal) / passed,
    deliveredPerSecond: (to.deliveredTotal - from.deliveredTotal) / passed,
    publishesPerCommit: (to.committedTotal - from.committedTotal) / commits,
    commitMsMean: (to.commitMsTotal - from.commitMsTotal) / commits,
    commitMsMax: to.commitMsMax,
    agentCpu: (user + system) / 1e6 / passed,
  } satisfies PublishRates);
}
await link?.[Symbol.asyncDispose]();
process.exitCode = 0;

async function openLink(url: string): Promise<MqttLink> {
  const options = { url, source: outbox, clientId: 'loamlet-bench', statusTopic: 'loamlet/bench/status' };
  const made = await MqttLink.open(options, log);
  await made.firstOutcome;
  return made;
}
