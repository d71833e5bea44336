import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Gate } from '../../support/gate.ts';
import { Mosquitto } from '../../support/mosquitto.ts';
import { loamlet, NodeProcess } from '../../support/node-process.ts';
import { Registry } from '../../support/registry.ts';
import { Subscriber } from '../../support/subscriber.ts';
import { until } from '../../support/until.ts';
import { podOf, useGuests } from './world.ts';

const guest = useGuests('plain', 'counter', 'soil-sensor');

/** An agent that must not start: says one line, which matches, and leaves nothing running. */
async function refusesToStart(node: NodeProcess, line: RegExp): Promise<void> {
  const { code, stdout, stderr } = await node.command('node');
  expect({ code, stdout }, stderr).toEqual({ code: 1, stdout: '' });
  // What happened before it is logged as JSON.
  const said = stderr.split('\n').filter((text) => text !== '' && !text.startsWith('{'));
  expect(said).toEqual([expect.stringMatching(line)]);
  expect(said[0]).toMatch(/^error: /);
  expect(stderr).not.toMatch(/ {4}at /);
  expect(node.processes()).toEqual([]);
  expect(existsSync(join(node.runDirectory, 'agent.sock'))).toBe(false);
}

test.each([
  ['an unknown key', 'mqt: {}', /config.yaml: unknown key mqt: did you mean mqtt\?$/],
  ['an unknown key further in', 'mqtt: { urll: x }', /unknown key mqtt.urll: did you mean url\?$/],
  ['a value of the wrong type', 'pods: { maxPods: many }', /pods.maxPods: .*expected number/],
  ['a device without a driver', 'devices: [{ name: bed-3, resource: soil-moisture }]', /devices\[0\].driver/],
  ['a driver that is not there', 'devices: [{ name: a, resource: b, driver: simulatd }]', /did you mean simulated\?$/],
  ['YAML that is none', 'mqtt: [', /config.yaml is not YAML: /],
  ['two brokers', 'mqtt: { url: mqtt://a, embedded: {} }', /mqtt: has url and embedded: choose one$/],
  ['a broker URL without a host', 'mqtt: { url: "mqtt://" }', /the broker URL/],
])('a config with %s is refused', async (_, text, line) => {
  await using node = NodeProcess.prepare();
  writeFileSync(node.configFile, `${readFileSync(node.configFile, 'utf8')}${text}\n`);
  await refusesToStart(node, line);
});

test('a config that is missing, empty or a folder is refused', async () => {
  await using node = NodeProcess.prepare();
  rmSync(node.configFile);
  await refusesToStart(node, /the config file \S+config.yaml does not exist: name one with --config FILE$/);
  writeFileSync(node.configFile, '');
  await refusesToStart(node, /config.yaml: the file/);
  rmSync(node.configFile);
  mkdirSync(node.configFile);
  await refusesToStart(node, /the config file \S+ can't be read/);
});

test.each([
  [['nod'], /unknown command 'nod'/],
  [['node', '--confg', 'x'], /unknown option '--confg'/],
  [['status', '-o', 'xml'], /Allowed choices are table, json/],
  [['node', 'extra'], /too many arguments/],
])('loamlet %j is a misuse: exit code 2, and says what is wrong', async (args, line) => {
  const { code, stdout, stderr } = await loamlet(args);
  expect({ code, stdout }, stderr).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(line);
  expect(stderr).not.toMatch(/ {4}at /);
});

test.skipIf(process.getuid?.() !== 0)('directories that belong to someone else are refused by name', async () => {
  await using node = NodeProcess.prepare();
  mkdirSync(node.stateDirectory, { mode: 0o755 });
  mkdirSync(node.runDirectory, { mode: 0o755 });
  chmodSync(node.configFile, 0o644);
  const asNobody = await node.command('node', { uid: 65_534 });
  expect(asNobody).toEqual({
    code: 1,
    stdout: '',
    stderr: expect.stringMatching(
      /^error: cannot lock the state in \S+state \([^\n]*\): make it belong to the user [^\n]*\n$/,
    ),
  });
  rmSync(node.stateDirectory, { recursive: true });
  expect(await node.command('node', { uid: 65_534 })).toEqual({
    code: 1,
    stdout: '',
    stderr: expect.stringMatching(/^error: stateDirectory \S+state can't be made \(EACCES\): [^\n]*\n$/),
  });
});

test('a state directory that is a file, and a run directory too long for a socket, are refused', async () => {
  await using node = NodeProcess.prepare();
  writeFileSync(node.stateDirectory, '');
  await refusesToStart(node, /stateDirectory \S+state can't be made \((EEXIST|ENOTDIR)\): /);
  rmSync(node.stateDirectory);
  node.configure({ runDirectory: join(node.folder, 'r'.repeat(100)) });
  await refusesToStart(node, /too long/);
});

test('a database that is damaged is refused by name and left as it is', async () => {
  await using node = await NodeProcess.start();
  node.apply(podOf('sleeper', guest('plain')));
  await node.running('sleeper');
  await node.signal('SIGINT');
  const path = join(node.stateDirectory, 'loamlet.db');
  const good = readFileSync(path);

  const garbage = Buffer.alloc(8192, 'no database');
  writeFileSync(path, garbage);
  await refusesToStart(node, /the database \S+loamlet.db is damaged .*move it away to start empty/);
  expect(readFileSync(path).equals(garbage)).toBe(true);

  // Whole by its header, damaged in every page after it.
  const damaged = Buffer.from(good);
  damaged.fill(0xff, 4096);
  writeFileSync(path, damaged);
  await refusesToStart(node, /the database \S+loamlet.db is damaged .*move it away to start empty/);

  const newer = Buffer.from(good);
  newer.writeUInt32BE(9999, 60); // user_version
  writeFileSync(path, newer);
  await refusesToStart(node, /was written by a newer loamlet/);

  writeFileSync(path, good);
  await node.start();
  await node.running('sleeper');
});

test('a port that is taken, and files that are not there, are refused by name and leave no runner behind', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  await using node = NodeProcess.prepare({ mqtt: { embedded: { port } } });
  await refusesToStart(
    node,
    new RegExp(`cannot listen on 127.0.0.1:${port} \\(EADDRINUSE\\): is another broker running`),
  );
  node.configure({ images: { caFile: '/nowhere.pem' } });
  await refusesToStart(node, /images.caFile: \/nowhere.pem can't be read \(ENOENT\)/);
  node.configure({ cluster: { bootstrapKubeconfig: '/nowhere.kubeconfig', kubeletPort: 0 } });
  await refusesToStart(node, /\/nowhere.kubeconfig/);
});

test('an agent whose log nobody reads any more goes on', async () => {
  await using node = await NodeProcess.start();
  node.closeOutput();
  node.apply(podOf('crasher', guest('plain'), { args: ['exit', '3'] }));
  node.apply(podOf('sleeper', guest('plain')));
  await node.running('sleeper');
  await node.pod('crasher', 'backing off', ({ restarts }) => restarts === 2);
  expect(await node.signal('SIGINT')).toBe(0);
});

test('each bad pod says in one line what is wrong and what to do, once, and no other pod notices', async () => {
  await using mosquitto = await Mosquitto.start();
  await using registry = await Registry.start();
  await using readings = await Subscriber.open(mosquitto.url, 'loamlet/loam-1/default/good/count');
  await using node = await NodeProcess.start({ mqtt: { url: mosquitto.url } });
  node.apply(podOf('good', guest('counter'), { env: { INTERVAL_MS: 50 } }));
  await node.running('good');

  const file = (name: string, content: Uint8Array | string): string => {
    const path = join(node.folder, name);
    writeFileSync(path, content);
    return path;
  };
  const counter = readFileSync(guest('counter'));
  const reference = `${registry.host}/counter:1`;
  // Not the bytes of another pod: those would be on the node already, and there is nothing to pull then.
  const whole = Buffer.concat([counter, Buffer.from([0, 2, 1, 0x74])]);
  const pushed = await loamlet(['push', file('whole.wasm', whole), reference]);
  expect(pushed, pushed.stderr).toMatchObject({ code: 0 });
  const blob = registry.blobPath(createHash('sha256').update(whole).digest('hex'));
  const tampered = Buffer.from(whole);
  tampered[tampered.length - 1] = (tampered.at(-1) ?? 0) ^ 1;
  writeFileSync(blob, tampered);

  const plain = guest('plain');
  const cases: readonly (readonly [string, ReturnType<typeof podOf>, string, RegExp])[] = [
    [
      'truncated',
      podOf('truncated', file('truncated.wasm', counter.subarray(0, counter.length / 2))),
      'ErrModuleInvalid',
      /truncated|ends|past/,
    ],
    [
      'malformed',
      podOf('malformed', file('malformed.wasm', Buffer.concat([counter.subarray(0, 8), Buffer.alloc(64, 0xee)]))),
      'ErrModuleInvalid',
      /./,
    ],
    ['elf', podOf('elf', '/bin/true'), 'ErrImageNotWasm', /\/bin\/true is no WebAssembly module/],
    ['empty', podOf('empty', file('empty.wasm', '')), 'ErrImageNotWasm', /empty.wasm is no WebAssembly module/],
    [
      'script',
      podOf('script', file('script.wasm', '#!/bin/sh\necho hello\n')),
      'ErrImageNotWasm',
      /script.wasm is no WebAssembly module/,
    ],
    [
      'missing',
      podOf('missing', '/nowhere/module.wasm'),
      'ErrImagePull',
      /\/nowhere\/module.wasm can't be read \(ENOENT\): /,
    ],
    [
      'no-start',
      podOf('no-start', file('none.wasm', Buffer.from('0061736d01000000', 'hex'))),
      'CreateContainerError',
      /no _start function: build it as a command/,
    ],
    ['stranger', podOf('stranger', file('stranger.wasm', importing('env', 'launch'))), 'GrantDenied', /env.*launch/],
    ['ungranted', podOf('ungranted', guest('soil-sensor')), 'GrantDenied', /loamlet:host\/sensors@0\.1\.0/],
    [
      'no-such',
      podOf('no-such', plain, { devices: { 'soil-moistur': 1 } }),
      'GrantDenied',
      /this node has no soil-moistur/,
    ],
    [
      'small',
      podOf('small', plain, { container: { resources: { limits: { memory: '64Ki' } } } }),
      'CreateContainerError',
      /memory/,
    ],
    [
      'fields',
      podOf('fields', plain, { container: { livenessProbe: { exec: {} }, lifecycle: { preStop: {} } } }),
      'CreateContainerConfigError',
      /container c: livenessProbe is not supported; container c: lifecycle is not supported/,
    ],
    [
      'volume',
      podOf('volume', plain, { container: { volumeMounts: [{ name: 'data', mountPath: '/data' }] } }),
      'CreateContainerConfigError',
      /volumeMount data is not supported/,
    ],
    ['name', podOf('name', 'UPPER CASE/image'), 'InvalidImageName', /UPPER CASE/],
    [
      'never',
      podOf('never', `${registry.host}/other:1`, { container: { imagePullPolicy: 'Never' } }),
      'ErrImageNeverPull',
      /imagePullPolicy/,
    ],
    ['no-tag', podOf('no-tag', `${registry.host}/counter:2`), 'ErrImagePull', /counter:2/],
    ['away', podOf('away', '127.0.0.1:1/counter:1'), 'ErrImagePull', /127\.0\.0\.1:1/],
    ['tampered', podOf('tampered', reference), 'ErrImageDigest', /counter:1/],
  ];
  for (const [, pod] of cases) node.apply(pod);
  for (const [name, , reason, message] of cases) {
    const pod = await node.pod(name, `waiting for ${reason}`, (line) => line.reason === reason);
    expect(pod).toMatchObject({ phase: 'Pending', restarts: 0, message: expect.stringMatching(message) as string });
    expect(pod.message).not.toMatch(/\n| {4}at |node:internal/);
    const warnings = node.log
      .split('\n')
      .filter((line) => line.includes(`"pod":"default/${name}"`) && line.includes('"warn"'));
    expect(warnings).toHaveLength(1);
  }
  // The other way to ask says the same.
  const { stdout } = await node.command('status');
  for (const [name] of cases) expect(stdout).toMatch(new RegExp(`^default/${name}: .+$`, 'm'));

  const before = readings.received.length;
  await until('the good pod has gone on', () => readings.received.length >= before + 10);
  expect(await node.running('good')).toMatchObject({ restarts: 0 });
  expect(node.processes()).toHaveLength(2);

  // What was mended is found at the next look.
  writeFileSync(blob, whole);
  await node.running('tampered');
});

test('manifests that are no pods are named in the log and stop no other', async () => {
  await using node = await NodeProcess.start();
  const write = (name: string, text: string): void => writeFileSync(join(node.manifests, name), text);
  write('broken.yaml', 'apiVersion: v1\nkind: Pod\nmetadata: {name: x\n');
  write('deployment.yaml', 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {}\n');
  write('nameless.yaml', 'apiVersion: v1\nkind: Pod\nmetadata: {}\nspec: {containers: []}\n');
  write('binary.json', '\0\x01\x02');
  write('list.json', '[1, 2, 3]');
  write('ignored.txt', 'not a manifest');
  mkdirSync(join(node.manifests, 'folder.yaml'));
  node.apply(podOf('good', guest('plain')));
  await node.running('good');
  for (const said of [
    /broken\.yaml/,
    /Deployment and not a Pod/,
    /metadata\.name is missing/,
    /binary\.json|not an object/,
    /folder\.yaml is not a file/,
  ]) {
    expect(node.log).toMatch(said);
  }
  // A slip of the editor stops nothing.
  writeFileSync(join(node.manifests, 'good.json'), '{"apiVersion":');
  await until('it is seen', () => node.log.includes('good.json'));
  expect(await node.running('good')).toMatchObject({ restarts: 0 });
});

test('a registry that is away at first is asked again', async () => {
  await using registry = await Registry.start();
  await using gate = await Gate.before(Number(registry.host.split(':')[1]));
  expect(await loamlet(['push', guest('plain'), `${registry.host}/plain:1`])).toMatchObject({ code: 0 });
  gate.shut();
  await using node = await NodeProcess.start();
  node.apply(podOf('late', `127.0.0.1:${gate.port}/plain:1`));
  await node.pod('late', 'waiting', ({ reason }) => reason === 'ErrImagePull');
  gate.open();
  expect(await node.running('late')).toMatchObject({ restarts: 0 });
});

const wasmHeader = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];

/** A module that imports one function and has an empty _start. */
function importing(module: string, name: string): Buffer {
  const text = (value: string): number[] => [value.length, ...Buffer.from(value)];
  const section = (id: number, content: number[]): number[] => [id, content.length, ...content];
  return Buffer.from([
    ...wasmHeader,
    ...section(1, [1, 0x60, 0, 0]),
    ...section(2, [1, ...text(module), ...text(name), 0, 0]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...text('_start'), 0, 1]),
    ...section(10, [1, 2, 0, 0x0b]),
  ]);
}
