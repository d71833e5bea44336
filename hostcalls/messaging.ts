/** `loamlet:host/messaging@0.1.0`: publishing into the node's outbox. */
import {
  liftBytes,
  liftEnum,
  liftString,
  resultArea,
  slice,
  storeError,
  storeOk,
  toMilliseconds,
  type ErrorValue,
} from './abi.ts';
import type { Guest, HostInterface } from './guest.ts';
import { qualities } from './sensors.ts';
import { maxTopicBytes, resolveTopic } from './topics.ts';

/** Largest payload, in bytes. */
export const maxPayloadBytes = 256 * 1024;
/** Sensor names and units of `publish-reading`, in bytes of UTF-8. */
const maxLabelBytes = 255;

/** What goes to the outbox. `topic` is as the module gave it: the agent puts the grant's prefix before it itself. */
export interface Publication {
  readonly topic: string;
  readonly payload: Uint8Array;
  /** When its fact was true, in milliseconds since the epoch; now when absent. */
  readonly takenAtMs?: number;
  /** Not worth delivering later than this many milliseconds from now. */
  readonly expiryMs?: number;
}

/** A case of `messaging.error`; `message` is not shown for `timeout` and `full`. */
export interface PublishError {
  readonly case: 'timeout' | 'connection' | 'permission-denied' | 'other' | 'full';
  readonly message?: string;
}

/** Undefined: committed to the outbox. */
export type PublishOutcome = PublishError | undefined;

/** Where publications go: the agent over the runner's socket, or the outbox in memory of `loamlet run`. */
export interface Publisher {
  publish(guest: Guest, publication: Publication): Promise<PublishOutcome>;
}

/** `variant error`, in WIT order. */
const errorCases = ['timeout', 'connection', 'permission-denied', 'other', 'full'] as const;

export function messagingInterface(publisher: Publisher): HostInterface {
  return {
    module: 'loamlet:host/messaging@0.1.0',
    functions: {
      /** `publish: func(topic: string, payload: list<u8>) -> result<_, error>` (shape V) */
      publish: {
        kind: 'suspending',
        async call(guest: Guest, topic: number, topicLength: number, payload: number, length: number, result: number) {
          const at = resultArea(guest, result, 16, 4);
          const message = liftMessage(guest, topic, topicLength, payload, length);
          await storeOutcome(guest, at, 'case' in message ? message : await publisher.publish(guest, message));
        },
      },

      /**
       * `publish-with: func(topic: string, payload: list<u8>, options: publish-options) -> result<_, error>` (shape V),
       * `record publish-options { taken-at: option<u64>, durable: bool, expiry-ms: option<u32> }`
       */
      'publish-with': {
        kind: 'suspending',
        async call(
          guest: Guest,
          topic: number,
          topicLength: number,
          payload: number,
          length: number,
          hasTakenAt: number,
          takenAt: bigint,
          durable: number,
          hasExpiry: number,
          expiryMs: number,
          result: number,
        ) {
          const at = resultArea(guest, result, 16, 4);
          const message = liftMessage(guest, topic, topicLength, payload, length);
          if ('case' in message) return storeOutcome(guest, at, message);
          if (durable === 0) return storeOutcome(guest, at, notDurable);
          const outcome = await publisher.publish(guest, {
            ...message,
            ...(hasTakenAt !== 0 && { takenAtMs: toMilliseconds(takenAt) }),
            ...(hasExpiry !== 0 && { expiryMs: expiryMs >>> 0 }),
          });
          await storeOutcome(guest, at, outcome);
        },
      },

      /**
       * `publish-reading: func(topic: string, sensor: string, reading: reading) -> result<_, error>` (shape V). The
       * payload is a JSON object: sensor, value, unit, takenAt (RFC 3339, UTC), quality.
       */
      'publish-reading': {
        kind: 'suspending',
        async call(
          guest: Guest,
          topic: number,
          topicLength: number,
          sensor: number,
          sensorLength: number,
          value: number,
          unit: number,
          unitLength: number,
          takenAt: bigint,
          quality: number,
          result: number,
        ) {
          const at = resultArea(guest, result, 16, 4);
          const known = liftEnum(qualities, quality);
          const name = liftLabel(guest, sensor, sensorLength);
          const unitCode = liftLabel(guest, unit, unitLength);
          const takenAtMs = toMilliseconds(takenAt);
          const resolved = liftTopic(guest, topic, topicLength);
          if (typeof resolved !== 'string') return storeOutcome(guest, at, resolved);
          const fault = readingFault(name, unitCode, value);
          if (fault !== undefined) return storeOutcome(guest, at, { case: 'other', message: fault });
          const takenAtText = new Date(takenAtMs).toISOString();
          const json = JSON.stringify({ sensor: name, value, unit: unitCode, takenAt: takenAtText, quality: known });
          const outcome = await publisher.publish(guest, { topic: resolved, payload: Buffer.from(json), takenAtMs });
          await storeOutcome(guest, at, outcome);
        },
      },

      /** `subscribe: func(filter: string) -> result<subscription, error>` (shape H); refused: no grant has one yet. */
      subscribe: {
        kind: 'suspending',
        async call(guest: Guest, filter: number, filterLength: number, result: number) {
          const at = resultArea(guest, result, 16, 4);
          const text = slice(guest, filter, filterLength);
          const asked = text.length > maxTopicBytes ? 'so long a filter' : liftString(guest, text);
          await storeOutcome(guest, at, {
            case: 'permission-denied',
            message: `can't subscribe to ${asked}: this version of Loamlet grants no subscriptions`,
          });
        },
      },

      /**
       * `[method]subscription.receive: func(timeout-ms: option<u32>) -> result<option<message>, error>` (shape M). With
       * no way to get a subscription, every handle is one the guest does not hold.
       */
      '[method]subscription.receive': {
        kind: 'suspending',
        async call(guest: Guest, self: number, _hasTimeout: number, _timeoutMs: number, _result: number) {
          guest.handles.get('subscription', self);
        },
      },

      /** `[resource-drop]subscription` */
      '[resource-drop]subscription': {
        kind: 'plain',
        call(guest: Guest, self: number) {
          guest.handles.drop('subscription', self);
        },
      },
    },
  };
}

const notDurable: PublishError = {
  case: 'permission-denied',
  message:
    'publishing without durability needs a leave that no grant of this version of Loamlet gives: publish durably',
};

/** The topic if the grant has it, as the module gave it. */
function liftTopic(guest: Guest, address: number, length: number): string | PublishError {
  const text = slice(guest, address, length);
  if (text.length > maxTopicBytes) return { case: 'other', message: `the topic is longer than ${maxTopicBytes} bytes` };
  const topic = liftString(guest, text);
  if (guest.grant.messaging === undefined) return { case: 'permission-denied', message: 'no topic is granted' };
  const resolved = resolveTopic(guest.grant.messaging, topic);
  return 'denied' in resolved ? { case: resolved.denied, message: resolved.message } : topic;
}

function liftMessage(
  guest: Guest,
  topicAddress: number,
  topicLength: number,
  address: number,
  length: number,
): { topic: string; payload: Uint8Array } | PublishError {
  const bytes = slice(guest, address, length);
  const topic = liftTopic(guest, topicAddress, topicLength);
  if (typeof topic !== 'string') return topic;
  if (bytes.length > maxPayloadBytes) {
    const message = `the payload has ${bytes.length} bytes, and the most allowed is ${maxPayloadBytes}`;
    return { case: 'other', message };
  }
  return { topic, payload: liftBytes(guest, bytes) };
}

/** Undefined: too long. */
function liftLabel(guest: Guest, address: number, length: number): string | undefined {
  const text = slice(guest, address, length);
  return text.length > maxLabelBytes ? undefined : liftString(guest, text);
}

function readingFault(sensor: string | undefined, unit: string | undefined, value: number): string | undefined {
  if (sensor === undefined || unit === undefined) {
    return `the sensor's name or unit is longer than ${maxLabelBytes} bytes`;
  }
  if (!Number.isFinite(value)) return `the reading is ${value}, which JSON has no number for`;
  return undefined;
}

async function storeOutcome(guest: Guest, at: number, outcome: PublishOutcome): Promise<void> {
  guest.signal.throwIfAborted();
  if (outcome === undefined) return storeOk(guest, at);
  await storeError(guest, at, 4, errorValue(outcome));
}

function errorValue({ case: name, message }: PublishError): ErrorValue {
  const discriminant = errorCases.indexOf(name);
  return name === 'timeout' || name === 'full' ? { discriminant } : { discriminant, message: message ?? '' };
}
