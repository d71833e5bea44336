import type { WaitingMessage } from './source.ts';

/**
 * Finds the message over which a broker ends the connection (too large for a broker of MQTT 3.1.1, say): it would stop
 * everything behind it for ever. A connection that ends with nothing acknowledged is suspicious; the next one sends one
 * message at a time; when `limit` of those in a row end on the same message, the message is to blame.
 */
export class Suspicion {
  static readonly limit = 3;
  #seq: number | undefined;
  #times = 0;

  /** The next connection is to have one message in flight at most. */
  get alone(): boolean {
    return this.#times > 0;
  }

  /** Something was acknowledged: all is well. */
  clear(): void {
    this.#seq = undefined;
    this.#times = 0;
  }

  /** A connection ended with nothing acknowledged and these unanswered. @returns the message to blame, once it is sure. */
  ended(unanswered: readonly WaitingMessage[]): WaitingMessage | undefined {
    const [first] = unanswered;
    if (first === undefined) return undefined;
    const sure = unanswered.length === 1 && first.seq === this.#seq;
    this.#times = first.seq === this.#seq ? this.#times + (sure ? 1 : 0) : 1;
    this.#seq = first.seq;
    if (this.#times <= Suspicion.limit) return undefined;
    this.clear();
    return first;
  }
}
