import type { Qos } from './source.ts';
import { topicFault } from '../../hostcalls/topics.ts';

/** A publish of a module, its topic complete and allowed by the agent's copy of the grant. */
export interface OutboxItem {
  readonly runnerId: string;
  /** With `runnerId` the key under which a repeated publish is stored once. */
  readonly publishNo: number;
  readonly topic: string;
  /** Not copied: must not change until `append` has answered. */
  readonly payload: Uint8Array;
  readonly qos: Qos;
  readonly retain: boolean;
  /** When the module published, milliseconds since the epoch. */
  readonly atMs: number;
  /** Not worth delivering later than this after it was published. */
  readonly expiryMs?: number;
}

/**
 * committed: on disk, now or by an earlier call.
 * full: not stored, the outbox or the disk is full; the same publish may come again later.
 * refused: never stored: the topic or the size is wrong.
 * failed: not stored, the disk failed; the message says how.
 */
export type AppendResult =
  | { readonly state: 'committed' }
  | { readonly state: 'full'; readonly message: string }
  | { readonly state: 'refused'; readonly message: string }
  | { readonly state: 'failed'; readonly message: string };

/** Why an item can never be stored, or undefined. */
export function itemFault(
  { publishNo, topic, payload, qos, expiryMs }: OutboxItem,
  maxPayloadBytes: number,
): string | undefined {
  if (!Number.isSafeInteger(publishNo) || publishNo < 0) return `${publishNo} is no publish number`;
  if (payload.length > maxPayloadBytes)
    return `the payload of ${payload.length} bytes is over the bound of ${maxPayloadBytes}`;
  if (qos !== 0 && qos !== 1) return `QoS ${String(qos)} is not supported`;
  if (expiryMs !== undefined && !(Number.isSafeInteger(expiryMs) && expiryMs >= 0))
    return `${expiryMs} ms is no expiry`;
  return topicFault(topic);
}
