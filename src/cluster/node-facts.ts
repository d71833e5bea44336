import { readFile, statfs } from 'node:fs/promises';
import { availableParallelism, networkInterfaces, release, totalmem, type NetworkInterfaceInfo } from 'node:os';
import { isIP } from 'node:net';
import { ClusterError } from './errors.ts';

/** What the machine is; changes only with a reboot or another network. Sizes in bytes. */
export interface NodeFacts {
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly storageBytes: number;
  readonly machineId: string;
  readonly systemUuid: string;
  readonly bootId: string;
  readonly kernelVersion: string;
  readonly osImage: string;
  /** As Go names it: `arm64`, `amd64`. */
  readonly architecture: string;
  /** The address others reach this node by; never a loopback one. */
  readonly address: string;
}

/** How the machine is doing. */
export interface NodePressure {
  readonly memoryAvailableBytes: number;
  readonly storageAvailableBytes: number;
  readonly storageBytes: number;
  readonly tasks: number;
  readonly maxTasks: number;
}

/**
 * Reads the machine.
 * @param address the configured address, else that of the interface with the default route
 * @throws ClusterError NodeInvalid when there is no address to be reached by
 */
export async function readFacts(stateDirectory: string, address?: string): Promise<NodeFacts> {
  const storage = await statfs(stateDirectory);
  const machineId = (await firstOf('/etc/machine-id', '/var/lib/dbus/machine-id')) ?? '';
  const limit = process.constrainedMemory();
  return {
    cpus: availableParallelism(),
    // 0 and absurdly large both mean that no cgroup limits us.
    memoryBytes: limit > 0 ? Math.min(limit, totalmem()) : totalmem(),
    storageBytes: storage.blocks * storage.bsize,
    machineId,
    // A Pi's serial number stands in for the UUID that a PC's firmware has (readable by root alone).
    systemUuid:
      (await firstOf('/sys/class/dmi/id/product_uuid', '/sys/firmware/devicetree/base/serial-number')) ?? machineId,
    bootId: (await firstOf('/proc/sys/kernel/random/boot_id')) ?? '',
    kernelVersion: release(),
    osImage: osName((await firstOf('/etc/os-release', '/usr/lib/os-release')) ?? ''),
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    address: checkAddress(address) ?? (await defaultAddress()),
  };
}

export async function readPressure(stateDirectory: string): Promise<NodePressure> {
  const [storage, meminfo, loadavg, maxTasks] = await Promise.all([
    statfs(stateDirectory),
    firstOf('/proc/meminfo'),
    firstOf('/proc/loadavg'),
    firstOf('/proc/sys/kernel/pid_max'),
  ]);
  return {
    memoryAvailableBytes: Number(/^MemAvailable:\s+(\d+) kB$/m.exec(meminfo ?? '')?.[1] ?? Infinity) * 1024,
    storageAvailableBytes: storage.bavail * storage.bsize,
    storageBytes: storage.blocks * storage.bsize,
    tasks: Number(/\/(\d+) /.exec(loadavg ?? '')?.[1] ?? 0),
    maxTasks: Number(maxTasks ?? Infinity),
  };
}

/** The interface of the default route with the lowest metric, from the text of /proc/net/route. */
export function defaultInterface(routes: string): string | undefined {
  const found = routes
    .split('\n')
    .slice(1)
    .map((line) => line.split('\t'))
    .filter(
      ([, destination, , flags, , , , mask]) =>
        destination === '00000000' && mask === '00000000' && (Number(`0x${flags}`) & 1) === 1,
    )
    .toSorted((a, b) => Number(a[6]) - Number(b[6]));
  return found[0]?.[0];
}

/** The address to be reached by, among those of the interfaces: IPv4 first, link-local and loopback never. */
export function chooseAddress(
  interfaces: NodeJS.Dict<NetworkInterfaceInfo[]>,
  preferred: string | undefined,
): string | undefined {
  const names = Object.keys(interfaces);
  const ordered = preferred === undefined ? names : [preferred, ...names];
  const usable = ordered
    .flatMap((name) => interfaces[name] ?? [])
    .filter(({ internal, address }) => !internal && !/^(127\.|169\.254\.|fe80:)/i.test(address));
  return (usable.find(({ family }) => family === 'IPv4') ?? usable[0])?.address;
}

async function defaultAddress(): Promise<string> {
  // Not by the host's name: Raspberry Pi OS and Debian map it to 127.0.1.1.
  const address = chooseAddress(networkInterfaces(), defaultInterface((await firstOf('/proc/net/route')) ?? ''));
  if (address !== undefined) return address;
  throw new ClusterError('NodeInvalid', 'this machine has no network address yet', {
    remedy: 'connect it, or set cluster.address in the configuration',
  });
}

function checkAddress(address: string | undefined): string | undefined {
  if (address === undefined || isIP(address) !== 0) return address;
  throw new ClusterError('NodeInvalid', `cluster.address '${address}' is not an IP address`);
}

function osName(osRelease: string): string {
  return /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(osRelease)?.[1] ?? 'Linux';
}

async function firstOf(...paths: string[]): Promise<string | undefined> {
  for (const path of paths) {
    try {
      // The device tree ends its strings with a NUL.
      const text = (await readFile(path, 'utf8')).replaceAll('\0', '').trim();
      if (text !== '') return text;
    } catch {
      // Not on this machine, or not for us: the next one.
    }
  }
  return undefined;
}
