import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parseDevice as catalogDevice } from '../../../devices/catalog.ts';
import { DeviceConfigError, type DeviceConfig } from '../../../devices/contract.ts';
import { ConfigError, loadConfig, parseConfig, type NodeConfig } from '../../../src/config/load.ts';

const head = 'apiVersion: loamlet.dev/v1alpha1\nkind: NodeConfig\nnodeName: greenhouse-1\n';
const anyDevice = (settings: Record<string, unknown>): DeviceConfig => ({
  name: String(settings['name']),
  resource: 'soil-moisture',
  driver: 'simulated',
  options: settings,
});
const parse = (text: string): NodeConfig => parseConfig(head + text, 'config.yaml', anyDevice);

function refusal(act: () => unknown): ConfigError {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return error as ConfigError;
  }
  return expect.fail('it was taken');
}
const line = (text: string): string => refusal(() => parse(text)).line;

describe('a config', () => {
  it('that says nothing has every default', () =>
    expect(parse('')).toEqual({
      apiVersion: 'loamlet.dev/v1alpha1',
      kind: 'NodeConfig',
      nodeName: 'greenhouse-1',
      stateDirectory: '/var/lib/loamlet',
      runDirectory: '/run/loamlet',
      logDirectory: '/var/log/pods',
      devices: [],
      images: { insecureRegistries: [], maxModuleBytes: 268_435_456 },
      runner: { user: 'loamlet-run', unresponsiveSeconds: 30 },
      pods: { maxPods: 1100, defaultMemoryLimit: 67_108_864 },
      containerLogs: { maxSize: 10_485_760, maxFiles: 5 },
      log: { level: 'info', format: 'auto' },
    }));

  it('has the defaults of what it mentions', () =>
    expect(
      parse(
        'cluster: {kubeconfig: /k}\nmqtt: {embedded: {}}\npolicy: [{namespaces: [garden], publish: [{filter: "a/#"}]}]',
      ),
    ).toMatchObject({
      cluster: { kubeconfig: '/k', labels: {}, kubeletAddress: '0.0.0.0', kubeletPort: 10250 },
      mqtt: {
        embedded: { address: '127.0.0.1', port: 1883 },
        outbox: { maxMessages: 1_000_000, maxBytes: 268_435_456 },
      },
      policy: [{ namespaces: ['garden'], devices: [], publish: [{ filter: 'a/#', qos: 1, retain: true }] }],
    }));

  it('without a name has the host’s', () => {
    const text = head.replace(/nodeName.*\n/, '');
    const name = hostname().toLowerCase();
    if (/^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/.test(name)) {
      expect(parseConfig(text, 'config.yaml', anyDevice).nodeName).toBe(name);
    } else {
      expect(refusal(() => parseConfig(text, 'config.yaml', anyDevice)).line).toContain('set nodeName in config.yaml');
    }
  });

  it('has sizes as numbers or quantities', () => {
    expect(parse('containerLogs: {maxSize: 1Mi}').containerLogs.maxSize).toBe(1_048_576);
    expect(parse('containerLogs: {maxSize: 4096}').containerLogs.maxSize).toBe(4096);
  });

  it('of the catalog’s devices is resolved by their drivers', () => {
    const text = 'devices: [{name: bed-3, resource: soil-moisture, driver: simulated}]';
    expect(parseConfig(head + text, 'config.yaml', catalogDevice).devices).toMatchObject([
      { name: 'bed-3', resource: 'soil-moisture', driver: 'simulated' },
    ]);
  });
});

describe('a config is refused with the place and the remedy', () => {
  it.each<[string, string, string]>([
    ['an unknown key', 'stateDirektory: /x', 'config.yaml: unknown key stateDirektory: did you mean stateDirectory?'],
    ['an unknown key in an object', 'mqtt: {ulr: "mqtt://a"}', 'config.yaml: unknown key mqtt.ulr'],
    ['one that has a neighbour', 'mqtt: {urls: "mqtt://a"}', 'config.yaml: unknown key mqtt.urls: did you mean url?'],
    [
      'one two levels down',
      'mqtt: {outbox: {maxByte: 1}}',
      'config.yaml: unknown key mqtt.outbox.maxByte: did you mean maxBytes?',
    ],
    [
      'one in a list',
      'policy: [{namespaces: [a], device: [x]}]',
      'config.yaml: unknown key policy[0].device: did you mean devices?',
    ],
    [
      'one in a list in a list',
      'policy: [{namespaces: [a]}, {namespaces: [b], publish: [{filter: a, retian: true}]}]',
      'config.yaml: unknown key policy[1].publish[0].retian: did you mean retain?',
    ],
    ['one with no neighbour', 'log: {colour: green}', 'config.yaml: unknown key log.colour: known keys: format, level'],
    [
      'a wrong type',
      'stateDirectory: 7',
      'config.yaml: stateDirectory: invalid input: expected string, received number',
    ],
    [
      'a wrong type in a list',
      'policy: [{namespaces: default}]',
      'config.yaml: policy[0].namespaces: invalid input: expected array, received string',
    ],
    ['a missing key', 'policy: [{devices: [x]}]', 'config.yaml: policy[0].namespaces: is missing: expected array'],
    [
      'a number out of range',
      'cluster: {kubeletPort: 70000}',
      'config.yaml: cluster.kubeletPort: too big: expected number to be <=65535',
    ],
    [
      'a word that is none of the choices',
      'log: {level: loud}',
      'config.yaml: log.level: invalid option: expected one of "debug"|"info"|"warn"|"error"',
    ],
    [
      'a size that is none',
      'containerLogs: {maxSize: lots}',
      'config.yaml: containerLogs.maxSize: must be a number of bytes such as 64Mi, not "lots"',
    ],
    [
      'a size of another type',
      'containerLogs: {maxSize: true}',
      'config.yaml: containerLogs.maxSize: must be a number of bytes such as 64Mi',
    ],
    [
      'half a byte',
      'containerLogs: {maxSize: 0.5}',
      'config.yaml: containerLogs.maxSize: must be a number of bytes such as 64Mi, not 0.5',
    ],
    [
      'a QoS there is not',
      'policy: [{namespaces: [a], publish: [{filter: a, qos: 3}]}]',
      'config.yaml: policy[0].publish[0].qos: must be 0 or 1',
    ],
    [
      'a broker that is no URL',
      'mqtt: {url: broker.example}',
      'config.yaml: mqtt.url: must be a URL such as mqtt://broker.example:1883',
    ],
    ['two brokers', 'mqtt: {url: "mqtt://a", embedded: {}}', 'config.yaml: mqtt: has url and embedded: choose one'],
    ['a node name', 'cluster: {}\nnodeNam: x', 'config.yaml: unknown key nodeNam: did you mean nodeName?'],
  ])('%s', (_, text, message) => {
    expect(line(text)).toContain(message);
    expect(line(text)).not.toContain('\n');
    expect(refusal(() => parse(text))).toMatchObject({ code: 'ConfigInvalid', blame: 'operator' });
  });

  it.each<[string, string, string]>([
    [
      'no node name',
      head.replace('greenhouse-1', 'Green_House'),
      'config.yaml: nodeName: must be a lower case DNS name, such as greenhouse-1',
    ],
    [
      'another version',
      head.replace('v1alpha1', 'v9'),
      'config.yaml: apiVersion: invalid input: expected "loamlet.dev/v1alpha1"',
    ],
    ['no version', 'kind: NodeConfig', 'config.yaml: apiVersion: is missing: expected "loamlet.dev/v1alpha1"'],
    ['nothing at all', '', 'config.yaml: the file: invalid input: expected object, received null'],
    ['a list', '- a', 'config.yaml: the file: invalid input: expected object, received array'],
  ])('%s', (_, text, message) =>
    expect(refusal(() => parseConfig(text, 'config.yaml', anyDevice)).line).toContain(message),
  );

  it.each<[string, string]>([
    ['a slip of the indent', 'a: b: c'],
    ['an open bracket', 'devices: ['],
    ['a key twice', `${head}kind: NodeConfig`],
    ['a tab', 'a:\n\tb: 1'],
    ['an alias of nothing', 'a: *b'],
    ['two documents', `${head}---\n${head}`],
  ])('%s is not YAML', (_, text) => {
    const error = refusal(() => parseConfig(text, 'config.yaml', anyDevice));
    expect(error.code).toBe('ConfigUnreadable');
    expect(error.line).toMatch(/^config\.yaml is not YAML: [^\n]*[^\n:]$/);
  });

  it('a file that is too large', () =>
    expect(refusal(() => parseConfig(`# ${'x'.repeat(1 << 20)}`, 'config.yaml', anyDevice)).line).toBe(
      'config.yaml is larger than 1Mi: is it a config file?',
    ));

  it('an unknown tag is no noise beside the log', () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    expect(() => parse('log: !loud {level: info}')).not.toThrow();
    expect(warned).not.toHaveBeenCalled();
    warned.mockRestore();
  });
});

describe('a device of the config is refused', () => {
  const devices = (...entries: string[]): string => `devices: [${entries.join(', ')}]`;
  const real = (text: string): string => refusal(() => parseConfig(head + text, 'config.yaml', catalogDevice)).line;

  it('by its driver, with the place', () => {
    expect(real(devices('{name: a, resource: b, driver: simulatd}'))).toBe(
      'config.yaml: devices[0].driver: there is no driver "simulatd": did you mean simulated?',
    );
    expect(
      real(devices('{name: a, resource: b, driver: simulated}', '{name: c, resource: b, driver: simulated, vlaue: 1}')),
    ).toMatch(/^config\.yaml: devices\[1\]\.vlaue: /);
  });
  it('whatever a driver says without a key', () => {
    const grumble = (): never => {
      throw new DeviceConfigError('', 'no', { remedy: 'yes' });
    };
    expect(refusal(() => parseConfig(`${head}${devices('{}')}`, 'config.yaml', grumble)).line).toBe(
      'config.yaml: devices[0]: no: yes',
    );
  });
  it('when another has its name', () =>
    expect(line(devices('{name: a}', '{name: b}', '{name: a}'))).toBe(
      'config.yaml: devices[2].name: a is the name of an earlier device too',
    ));
  it('when it is no object', () =>
    expect(line(devices('{name: a}', 'b'))).toBe(
      'config.yaml: devices[1]: invalid input: expected record, received string',
    ));
  it('but an error of ours is not made the operator’s', () => {
    const broken = (): never => {
      throw new TypeError('x is not a function');
    };
    expect(() => parseConfig(`${head}${devices('{}')}`, 'config.yaml', broken)).toThrow(TypeError);
  });
});

describe('a config file', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'config-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('is read', () => {
    const path = join(folder, 'config.yaml');
    writeFileSync(path, head);
    expect(loadConfig(path, anyDevice).nodeName).toBe('greenhouse-1');
  });
  it('that is not there is named', () => {
    const path = join(folder, 'missing.yaml');
    const error = refusal(() => loadConfig(path, anyDevice));
    expect(error.line).toBe(`the config file ${path} does not exist: name one with --config FILE`);
    expect(error).toMatchObject({ code: 'ConfigUnreadable', cause: { code: 'ENOENT' } });
  });
  it('that is a folder is named', () =>
    expect(refusal(() => loadConfig(folder, anyDevice)).line).toMatch(/^the config file .* can't be read \(EISDIR: /));
});
