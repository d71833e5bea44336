/**
 * An agent reduced to database, outbox and link, to be killed at any moment. It publishes the numbers from FIRST on, as a
 * runner would, and writes one line for each batch whose modules were told "published": `FIRST LAST`.
 */
import { writeSync } from 'node:fs';
import { Backoff } from '../../src/mqtt/backoff.ts';
import { MqttLink } from '../../src/mqtt/link.ts';
import { Outbox } from '../../src/mqtt/outbox.ts';
import { createLogger } from '../../src/observe/logger.ts';
import { Database } from '../../src/store/database.ts';
import { items } from './outbox-world.ts';

const [path, url, first] = process.argv.slice(2);
if (path === undefined || url === undefined || first === undefined)
  throw new Error('usage: outbox-child.ts DATABASE URL FIRST');

const log = createLogger({ level: 'warn', format: 'json' });
const database = Database.open(path, log);
const outbox = new Outbox(database, log);
await MqttLink.open(
  { url, source: outbox, clientId: 'loamlet-child', backoff: new Backoff({ firstMs: 10, maxMs: 100 }) },
  log,
);

for (let next = Number(first); ; next += 5) {
  const results = await outbox.append(items(next, next + 4));
  if (results.every(({ state }) => state === 'committed')) writeSync(1, `${next} ${next + 4}\n`);
}
