import type { Guest } from '../../hostcalls/guest.ts';
import type { Publication, Publisher, PublishOutcome } from '../../hostcalls/messaging.ts';
import { resolveTopic } from '../../hostcalls/topics.ts';
import { errorLine } from '../base/errors.ts';
import type { DirectPublisher } from '../mqtt/direct-publisher.ts';

/** Sends what the module publishes to a broker; the module goes on at the broker's acknowledgement. */
export class BrokerPublisher implements Publisher {
  readonly #direct: DirectPublisher;

  constructor(direct: DirectPublisher) {
    this.#direct = direct;
  }

  async publish(guest: Guest, { topic, payload }: Publication): Promise<PublishOutcome> {
    const resolved = resolveTopic(guest.grant.messaging ?? { publish: [] }, topic);
    if ('denied' in resolved) return { case: resolved.denied, message: resolved.message };
    try {
      await this.#direct.publish(resolved.topic, payload, resolved.qos, resolved.retain);
      return undefined;
    } catch (error) {
      return { case: 'connection', message: errorLine(error) };
    }
  }
}

/** Prints what the module publishes: `topic payload`, a line each. */
export class PrintingPublisher implements Publisher {
  readonly #print: (line: string) => void;

  constructor(print: (line: string) => void) {
    this.#print = print;
  }

  async publish(guest: Guest, { topic, payload }: Publication): Promise<PublishOutcome> {
    const resolved = resolveTopic(guest.grant.messaging ?? { publish: [] }, topic);
    if ('denied' in resolved) return { case: resolved.denied, message: resolved.message };
    this.#print(`${resolved.topic} ${shown(payload)}\n`);
    return undefined;
  }
}

/** Text as it is, if it can't disturb a terminal; else hexadecimal. */
function shown(payload: Uint8Array): string {
  const text = Buffer.from(payload).toString();
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  return /[\u0000-\u001f\u007f-\u009f\ufffd]/.test(text) ? `0x${Buffer.from(payload).toString('hex')}` : text;
}
