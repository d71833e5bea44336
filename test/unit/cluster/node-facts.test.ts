import type { NetworkInterfaceInfo } from 'node:os';
import { expect, test } from 'vitest';
import { chooseAddress, defaultInterface, readFacts, readPressure } from '../../../src/cluster/node-facts.ts';

const header = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT';

test('the default route with the lowest metric names the interface', () => {
  const routes = [
    header,
    'docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0',
    'wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0',
    'eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0',
    'eth1\t00000000\t0101A8C0\t0002\t0\t0\t1\t00000000\t0\t0\t0',
  ].join('\n');
  expect(defaultInterface(routes)).toBe('eth0');
  expect(defaultInterface(header)).toBeUndefined();
});

test('the address is that of the default route, and never one that others can not reach', () => {
  const address = (text: string, family: 'IPv4' | 'IPv6' = 'IPv4', internal = false): NetworkInterfaceInfo =>
    ({ address: text, family, internal, netmask: '', mac: '', cidr: null, scopeid: 0 }) as NetworkInterfaceInfo;
  const interfaces = {
    lo: [address('127.0.0.1', 'IPv4', true), address('127.0.1.1', 'IPv4', true)],
    docker0: [address('172.17.0.1')],
    wlan0: [address('fe80::1', 'IPv6'), address('fd00::7', 'IPv6'), address('192.168.1.7')],
    eth0: [address('169.254.3.4')],
  };
  expect(chooseAddress(interfaces, 'wlan0')).toBe('192.168.1.7');
  expect(chooseAddress({ wlan0: [address('fe80::1', 'IPv6'), address('fd00::7', 'IPv6')] }, 'wlan0')).toBe('fd00::7');
  expect(chooseAddress({ lo: interfaces.lo, eth0: interfaces.eth0 }, 'eth0')).toBeUndefined();
});

test('a configured address counts, if it is one', async () => {
  expect((await readFacts('/', '10.9.8.7')).address).toBe('10.9.8.7');
  await expect(readFacts('/', 'pi.local')).rejects.toMatchObject({ code: 'NodeInvalid' });
});

test('reads how this machine is doing', async () => {
  const pressure = await readPressure('/');
  expect(pressure.memoryAvailableBytes).toBeGreaterThan(1024 * 1024);
  expect(pressure.storageBytes).toBeGreaterThan(pressure.storageAvailableBytes);
  expect(pressure.tasks).toBeGreaterThan(0);
  expect(pressure.maxTasks).toBeGreaterThan(pressure.tasks);
});
