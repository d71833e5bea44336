/** What a wheel holds: links are the wheel's own, so that a sleep allocates nothing. One wait at a time each. */
export interface WheelEntry {
  /** Whole milliseconds. */
  due: number;
  wheelSlot: number;
  wheelNext: WheelEntry | null;
  wheelPrev: WheelEntry | null;
}

/** Slots per level, and milliseconds per slot of the far level. */
const slots = 4096;

/**
 * A hierarchical timer wheel: 4096 near slots of 1 ms, and 4096 far slots of 4.096 s that empty into the near ones. What is
 * due later than 4.6 hours waits in the last far slot and goes round again. Time is what the caller says it is; it never
 * fires early.
 */
export class TimerWheel<Entry extends WheelEntry> {
  readonly #heads = Array.from<Entry | null>({ length: 2 * slots }).fill(null);
  #near = 0;
  #far = 0;
  /** The next millisecond to look at. Near slots hold only what is due in its block of 4096. */
  #at: number;

  constructor(nowMs: number) {
    this.#at = Math.floor(nowMs);
  }

  get size(): number {
    return this.#near + this.#far;
  }

  /** @param due in whole milliseconds; what is past fires at the next `advance` */
  add(entry: Entry, due: number): void {
    entry.due = due;
    const at = Math.max(due, this.#at);
    const block = Math.floor(this.#at / slots);
    const blocksAhead = Math.min(Math.floor(at / slots) - block, slots - 1);
    const slot = blocksAhead === 0 ? at % slots : slots + ((block + blocksAhead) % slots);
    if (blocksAhead === 0) this.#near++;
    else this.#far++;
    const head = this.#heads[slot]!;
    entry.wheelSlot = slot;
    entry.wheelPrev = null;
    entry.wheelNext = head;
    if (head) head.wheelPrev = entry;
    this.#heads[slot] = entry;
  }

  /** Does nothing for an entry that is not in the wheel. */
  remove(entry: Entry): void {
    const slot = entry.wheelSlot;
    if (slot < 0) return;
    if (entry.wheelPrev) entry.wheelPrev.wheelNext = entry.wheelNext;
    else this.#heads[slot] = entry.wheelNext as Entry | null;
    if (entry.wheelNext) entry.wheelNext.wheelPrev = entry.wheelPrev;
    entry.wheelSlot = -1;
    entry.wheelNext = entry.wheelPrev = null;
    if (slot < slots) this.#near--;
    else this.#far--;
  }

  /** Takes out everything due up to and including `nowMs`, in order of time to the millisecond. */
  advance(nowMs: number, fire: (entry: Entry) => void): void {
    const now = Math.floor(nowMs);
    while (this.#at <= now) {
      if (this.#at % slots === 0) this.#cascade();
      if (this.#near === 0) {
        this.#at = Math.min(now + 1, (Math.floor(this.#at / slots) + 1) * slots);
        continue;
      }
      const slot = this.#at % slots;
      this.#at++;
      for (let entry = this.#heads[slot]; entry; entry = this.#heads[slot]) {
        this.remove(entry);
        fire(entry);
      }
    }
  }

  /** When `advance` has next something to do, in milliseconds; Infinity when empty. */
  nextDue(): number {
    const unread = this.#at % slots === 0 && this.#heads[slots + (Math.floor(this.#at / slots) % slots)];
    if (unread) return this.#at; // a block just reached has not been emptied into the near slots yet
    if (this.#near > 0) {
      const block = this.#at - (this.#at % slots);
      for (let slot = this.#at % slots; slot < slots; slot++) if (this.#heads[slot]) return block + slot;
    }
    if (this.#far > 0) {
      const block = Math.floor(this.#at / slots);
      for (let ahead = 1; ahead < slots; ahead++) {
        if (this.#heads[slots + ((block + ahead) % slots)]) return (block + ahead) * slots;
      }
    }
    return Infinity;
  }

  #cascade(): void {
    const slot = slots + (Math.floor(this.#at / slots) % slots);
    let entry = this.#heads[slot] as Entry | null;
    while (entry) {
      const next = entry.wheelNext as Entry | null;
      this.remove(entry);
      this.add(entry, entry.due);
      entry = next;
    }
  }
}
