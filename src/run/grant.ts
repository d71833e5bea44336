import { hostname } from 'node:os';
import { basename } from 'node:path';
import { parseDeviceArgument } from '../../devices/catalog.ts';
import { DeviceConfigError } from '../../devices/contract.ts';
import type { DeviceGrant, Grant } from '../../hostcalls/grant.ts';

/** What the command line grants. Without filters the module publishes below a prefix, as a pod that asks for none does. */
export function grantOf(module: string, devices: readonly string[], filters: readonly string[]): Grant {
  const grants = devices.map((argument): DeviceGrant => {
    const device = parseDeviceArgument(argument);
    return { logicalName: device.name, device, freshnessMs: 0 };
  });
  for (const [i, { logicalName }] of grants.entries()) {
    if (grants.findIndex((other) => other.logicalName === logicalName) !== i) {
      throw new DeviceConfigError('name', `two devices have the name ${logicalName}`);
    }
  }
  const allow = (filter: string): { filter: string; qos: 1; retain: boolean } => ({ filter, qos: 1, retain: false });
  if (filters.length > 0) return { devices: grants, messaging: { publish: filters.map(allow) } };
  const name =
    basename(module)
      .replace(/\.wasm$/, '')
      .replace(/[^\w.-]+/g, '-') || 'module';
  const prefix = `loamlet/${hostname()}/default/${name}/`;
  return { devices: grants, messaging: { prefix, publish: [allow(`${prefix}#`)] } };
}
