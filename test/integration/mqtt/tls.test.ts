import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { MqttLink } from '../../../src/mqtt/link.ts';
import { Mosquitto } from '../../support/mosquitto.ts';
import { item, OutboxWorld } from '../../support/outbox-world.ts';
import { StateFolder } from '../../support/state-folder.ts';
import { Subscriber } from '../../support/subscriber.ts';

/** A self-signed certificate for `localhost`. */
function certificate(folder: StateFolder): { cert: string; key: string } {
  const cert = folder.file('cert.pem');
  const key = folder.file('key.pem');
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  const made = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  execFileSync('openssl', ['req', ...made, ...subject, '-keyout', key, '-out', cert], { stdio: 'pipe' });
  return { cert, key };
}

/** Over TLS for the link, and in the clear on a second port for the one who looks. */
async function tlsBroker(folder: StateFolder): Promise<{ mosquitto: Mosquitto; cert: string; url: string }> {
  const { cert, key } = certificate(folder);
  const mosquitto = await Mosquitto.start({ lines: [`certfile ${cert}`, `keyfile ${key}`] });
  return { mosquitto, cert, url: `mqtts://localhost:${mosquitto.port}` };
}

test('delivers over TLS, with the CA and the password read from files', async () => {
  using folder = new StateFolder();
  const { mosquitto, cert, url } = await tlsBroker(folder);
  await using _broker = mosquitto;
  using world = new OutboxWorld();
  await world.outbox.append([item(1)]);
  const passwordFile = folder.file('password');
  writeFileSync(passwordFile, 'secret\n');
  const options = { url, source: world.outbox, clientId: 'pi', caFile: cert, username: 'pi', passwordFile };
  await using link = await MqttLink.open(options, world.log);
  expect(await link.firstOutcome).toMatchObject({ state: 'connected' });
  await using subscriber = await Subscriber.open(url, '#', { caFile: cert });
  await world.outbox.append([item(2)]);
  await subscriber.until((received) => received.some(({ payload }) => payload === '2'));
  await link[Symbol.asyncDispose]();
  expect(world.outbox.stats().waiting).toBe(0);
});

test('does not talk to a broker whose certificate it cannot trust, and says which setting to look at', async () => {
  using folder = new StateFolder();
  const { mosquitto, url } = await tlsBroker(folder);
  await using _broker = mosquitto;
  using world = new OutboxWorld();
  await world.outbox.append([item(1)]);
  await using link = await MqttLink.open(
    { url, source: world.outbox, clientId: 'pi', username: 'pi', password: 'secret' },
    world.log,
  );
  const { state, message } = await link.firstOutcome;
  expect(state).toBe('unreachable');
  expect(message).toMatch(/certificate of the broker mqtts:\/\/localhost:\d+ is not trusted .*mqtt\.caFile/);
  expect(mosquitto.log).not.toContain('New client connected');
});
