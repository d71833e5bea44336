import type { DeviceConfig } from '../../devices/contract.ts';
import type { DeviceGrant, Grant, PublishGrant } from '../../hostcalls/grant.ts';
import { Fields } from './fields.ts';

const maxGrants = 1024;
const maxName = 253;
const maxTopic = 65_535;

/** @throws FrameError */
export function parseGrant(fields: Fields): Grant {
  const devices = fields.list('devices', maxGrants, parseDeviceGrant);
  if (!fields.has('messaging')) return { devices };
  const messaging = fields.object('messaging');
  const publish = messaging.list('publish', maxGrants, parsePublishGrant);
  return {
    devices,
    messaging: messaging.has('prefix') ? { publish, prefix: messaging.text('prefix', maxTopic) } : { publish },
  };
}

function parseDeviceGrant(value: unknown, path: string): DeviceGrant {
  const fields = new Fields(value, path);
  return {
    logicalName: fields.text('logicalName', maxName),
    device: parseDevice(fields.object('device')),
    freshnessMs: fields.number('freshnessMs', 0, Number.MAX_SAFE_INTEGER),
  };
}

/** The options are the driver's, as its `parse` made them. */
function parseDevice(fields: Fields): DeviceConfig {
  return {
    name: fields.text('name', maxName),
    resource: fields.text('resource', maxName),
    driver: fields.text('driver', maxName),
    options: fields.any('options'),
  };
}

function parsePublishGrant(value: unknown, path: string): PublishGrant {
  const fields = new Fields(value, path);
  return {
    filter: fields.text('filter', maxTopic),
    qos: fields.oneOf('qos', [0, 1]),
    retain: fields.boolean('retain'),
  };
}
