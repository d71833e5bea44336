import { spawn } from 'node:child_process';
import { expect, onTestFinished, test } from 'vitest';
import { Mosquitto } from '../../support/mosquitto.ts';
import { NodeProcess } from '../../support/node-process.ts';
import { Subscriber } from '../../support/subscriber.ts';
import { podOf, soilSensor, useGuests } from './world.ts';

const root = new URL('../../../', import.meta.url).pathname;
const guest = useGuests('soil-sensor', 'counter');

test('brings a reading of a granted sensor to the broker, under its own topic, and its log to a file', async () => {
  await using mosquitto = await Mosquitto.start();
  await using live = await Subscriber.open(mosquitto.url, 'loamlet/#');
  await using node = await NodeProcess.start({ devices: [soilSensor()], mqtt: { url: mosquitto.url } });
  const before = Date.now();
  node.apply(podOf('soil', guest('soil-sensor'), { devices: { 'soil-moisture': 1 }, env: { INTERVAL_MS: 60_000 } }));
  await live.until((received) => received.some(({ topic }) => topic.includes('soil-moisture')));
  const reading = live.received.find(({ topic }) => topic.includes('soil-moisture'));
  expect(reading).toMatchObject({ topic: 'loamlet/loam-1/default/soil/soil-moisture', qos: 1, retain: false });
  const { takenAt, ...payload } = JSON.parse(reading?.payload ?? '') as Record<string, unknown>;
  expect(payload).toEqual({ sensor: 'soil-moisture', value: 41.5, unit: '%', quality: 'good' });
  expect(Date.parse(String(takenAt))).toBeGreaterThanOrEqual(before);
  expect(Date.parse(String(takenAt))).toBeLessThanOrEqual(Date.now());

  // Who comes later gets the last value at once, as Home Assistant does after its restart.
  await using late = await Subscriber.open(mosquitto.url, 'loamlet/+/default/soil/#');
  await late.count(1);
  expect(late.received).toEqual([{ ...reading, retain: true }]);

  await node.untilPrinted('soil', 'soil-moisture 41.5 %');
  expect(node.logFile('soil')).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z stdout F soil-moisture 41\.5 %\n$/);
  const { devices, outbox, broker } = await node.until('the outbox is empty', ({ outbox }) => outbox?.waiting === 0);
  expect(devices).toMatchObject([{ name: 'bed-3', heldBy: 'default/soil', healthy: true }]);
  expect(outbox).toMatchObject({ waiting: 0, refused: 0 });
  expect(broker).toMatchObject({ state: 'connected' });
});

test('says online while it runs and offline when it is gone, even by kill -9', async () => {
  await using mosquitto = await Mosquitto.start();
  await using status = await Subscriber.open(mosquitto.url, 'loamlet/loam-1/status');
  await using node = await NodeProcess.start({ mqtt: { url: mosquitto.url } });
  await status.count(1);
  await node.signal('SIGKILL');
  await status.count(2);
  await node.start();
  await status.count(3);
  await node.signal('SIGINT');
  expect(await status.count(4)).toEqual(['online', 'offline', 'online', 'offline']);
});

test('lets a pod publish to the topics that its manifest asks for and the policy allows, and to no other', async () => {
  await using mosquitto = await Mosquitto.start();
  await using all = await Subscriber.open(mosquitto.url, '#');
  await using node = await NodeProcess.start({
    mqtt: { url: mosquitto.url },
    policy: [{ namespaces: ['default'], publish: [{ filter: 'garden/#', qos: 0, retain: false }] }],
  });
  const asks = (filter: string) => ({ annotations: { 'mqtt.loamlet.dev/publish': filter }, env: { INTERVAL_MS: 20 } });
  node.apply(podOf('wide', guest('counter'), asks('house/#')));
  node.apply(podOf('other', guest('counter'), asks('garden/bed-3/+')));
  const { reason } = await node.pod('wide', 'denied', (pod) => pod.reason === 'GrantDenied');
  expect(reason).toBe('GrantDenied');
  // Granted garden/bed-3/+, it publishes to `count`, which is outside.
  await node.untilPrinted('other', 'not published: permission-denied: topic count is not granted: garden/bed-3/+');
  expect(all.received.filter(({ topic }) => !topic.endsWith('/status'))).toEqual([]);
});

test('./scripts/demo --readings 2 shows two readings and ends with 0', async () => {
  const demo = spawn(`${root}scripts/demo`, ['--readings', '2'], { stdio: ['ignore', 'pipe', 'pipe'] });
  // Also when this test is given up: what it started is in sessions of its own.
  onTestFinished(() => void demo.kill('SIGINT'));
  let output = '';
  for (const stream of [demo.stdout, demo.stderr]) stream.on('data', (part: Buffer) => (output += part.toString()));
  const code = await new Promise((resolve) => demo.once('close', resolve));
  expect({ code, output }).toMatchObject({ code: 0 });
  expect(output.match(/^mqtt +loamlet\/demo\/default\/soil-sensor\/soil-moisture \{"sensor"/gm)).toHaveLength(2);
  expect(output).toMatch(/^log +default\/soil-sensor {2}soil-moisture \d\d\.\d %$/m);
  expect(output).toContain('pod added');
  expect(output).not.toMatch(/ {4}at /);
});
