import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Grant } from '../../../hostcalls/grant.ts';
import { emptyGrant } from '../../../hostcalls/grant.ts';
import { hostInterfaces, notOffered, offered } from '../../../hostcalls/interfaces.ts';
import { checkImports, denialLine } from '../../../hostcalls/link.ts';

const full: Grant = {
  devices: [
    {
      logicalName: 'soil',
      device: { name: 'bed', resource: 'soil', driver: 'simulated', options: {} },
      freshnessMs: 0,
    },
  ],
  messaging: { publish: [{ filter: '#', qos: 1, retain: false }] },
};
const wanted = (module: string, name: string, kind = 'function') => [{ module, name, kind }];
const sensors = 'loamlet:host/sensors@0.1.0';
const messaging = 'loamlet:host/messaging@0.1.0';

describe('the table of interfaces', () => {
  const services = {
    devices: { sensor: () => Promise.reject(new Error()) },
    publisher: { publish: () => Promise.reject(new Error()) },
  };

  test('lists exactly the functions there are', () => {
    const made = hostInterfaces(services).map(({ module, functions }) => [module, Object.keys(functions)]);
    expect(made).toEqual(Object.entries(offered).map(([module, { functions }]) => [module, functions]));
  });

  test.each(['sensors', 'messaging', 'lifecycle'])('has every function of %s.wit', (name) => {
    const wit = readFileSync(new URL(`../../../hostcalls/wit/${name}.wit`, import.meta.url), 'utf8');
    const functions: string[] = [];
    let resource: string | undefined;
    for (const line of wit.split('\n')) {
      resource = /^ {4}resource ([a-z-]+)/.exec(line)?.[1] ?? (line === '    }' ? undefined : resource);
      if (/^ {4}resource/.test(line)) functions.push(`[resource-drop]${resource}`);
      const found = /^ +([a-z-]+): func\(/.exec(line)?.[1];
      if (found !== undefined) functions.push(resource === undefined ? found : `[method]${resource}.${found}`);
    }
    expect(functions.length).toBeGreaterThan(2);
    expect(offered[`loamlet:host/${name}@0.1.0`]?.functions.toSorted()).toEqual(functions.toSorted());
  });

  test('accounts for every interface of the world', () => {
    const world = readFileSync(new URL('../../../hostcalls/wit/world.wit', import.meta.url), 'utf8');
    const imported = [...world.matchAll(/import ([^;]+);/g)].map(([, name = '']) =>
      name.includes('@') ? name : `loamlet:host/${name}@0.1.0`,
    );
    expect([...Object.keys(offered), ...notOffered].toSorted()).toEqual(imported.toSorted());
  });
});

describe('checking imports', () => {
  test('allows WASI under both names and what is granted', () => {
    const imports = [
      ...wanted('wasi_snapshot_preview1', 'fd_write'),
      ...wanted('wasi_unstable', 'fd_seek'),
      ...wanted(sensors, '[method]sensor.read'),
      ...wanted(messaging, 'publish'),
      ...wanted('loamlet:host/lifecycle@0.1.0', 'stopping'),
    ];
    expect(checkImports(imports, full)).toEqual([]);
  });

  test('denies sensors without a device, by the exact name and with what to ask for', () => {
    const [denial] = checkImports(wanted(sensors, 'open'), { ...full, devices: [] });
    expect(denial?.message).toBe(`the module imports ${sensors} open, which it is not granted`);
    expect(denial?.remedy).toContain('resources.limits');
  });

  test('denies messaging without a messaging grant, and never lifecycle', () => {
    expect(checkImports(wanted(messaging, 'publish'), emptyGrant)).toHaveLength(1);
    expect(checkImports(wanted('loamlet:host/lifecycle@0.1.0', 'alive'), emptyGrant)).toEqual([]);
  });

  test.each([
    ['another version', 'loamlet:host/sensors@0.2.0', 'open', /this version offers loamlet:host\/sensors@0\.1\.0/],
    ['a mistyped interface', 'loamlet:host/sensor@0.1.0', 'open', /did you mean loamlet:host\/sensors@0\.1\.0/],
    ['a mistyped function', sensors, '[method]sensor.raed', /did you mean \[method\]sensor\.read/],
    [
      'an interface of the WIT that is not offered',
      'loamlet:host/gpio@0.1.0',
      '[static]digital-in-pin.open',
      /it offers/,
    ],
    ['the draft I2C interface', 'wasi:i2c/i2c@0.2.0-draft', '[method]i2c.read', /it offers/],
    ['something else entirely', 'env', 'abort', /wasm32-wasip1/],
    ['a name that objects have', '__proto__', 'constructor', /wasm32-wasip1/],
  ])('denies %s', (_, module, name, remedy) => {
    const [denial] = checkImports(wanted(module, name), full);
    expect(denial).toMatchObject({ module, name });
    expect(denial?.message).toContain(`${module} ${name}`);
    expect(denial?.remedy).toMatch(remedy);
  });

  test('denies what is no function', () => {
    expect(checkImports(wanted(sensors, 'open', 'memory'), full)).toHaveLength(1);
    expect(checkImports(wanted('env', 'memory', 'memory'), full)[0]?.message).toContain('(a memory)');
  });

  test('says all denials in one line that no name can break', () => {
    const denials = checkImports([...wanted('evil\n\u001b[2J', 'x'), ...wanted(sensors, 'open')], emptyGrant);
    expect(denialLine(denials)).toMatch(
      /^the module imports evil\?\?\[2J x, which does not exist here: .* \(and 1 more import\)$/,
    );
  });
});
