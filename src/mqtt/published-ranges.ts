/** Publish numbers `first` to `last`, both included. */
export interface Range {
  first: number;
  last: number;
}

/**
 * Which publish numbers of one runner are committed, as ordered ranges. A runner counts up, so there is one range but
 * for the numbers that were answered with an error.
 *
 * Bound: `maxRanges`; past it the two oldest become one. The gap between them was answered long ago: a runner waits for
 * far fewer answers than that at a time.
 */
export class PublishedRanges {
  static readonly maxRanges = 1_024;
  readonly #ranges: Range[];
  /** By the `first` under which a range is stored. */
  readonly #changed = new Map<number, Range>();
  readonly #gone = new Set<number>();

  constructor(ranges: readonly Range[] = []) {
    this.#ranges = ranges.map((range) => ({ ...range })).toSorted((a, b) => a.first - b.first);
  }

  get ranges(): readonly Readonly<Range>[] {
    return this.#ranges;
  }

  has(publishNo: number): boolean {
    const range = this.#ranges[this.#after(publishNo) - 1];
    return range !== undefined && publishNo <= range.last;
  }

  /** @returns true when it was not there before. */
  add(publishNo: number): boolean {
    const at = this.#after(publishNo);
    const before = this.#ranges[at - 1];
    const after = this.#ranges[at];
    if (before !== undefined && publishNo <= before.last) return false;
    const joinsBefore = before?.last === publishNo - 1;
    const joinsAfter = after?.first === publishNo + 1;
    if (joinsBefore && joinsAfter) this.#join(at);
    else if (joinsBefore) {
      before.last = publishNo;
      this.#save(before);
    } else if (joinsAfter) {
      this.#drop(after.first);
      after.first = publishNo;
      this.#save(after);
    } else {
      const range = { first: publishNo, last: publishNo };
      this.#ranges.splice(at, 0, range);
      this.#save(range);
    }
    if (this.#ranges.length > PublishedRanges.maxRanges) this.#join(1);
    return true;
  }

  /** What `add` changed since the last call, for the table. */
  takeChanges(): { saved: readonly Range[]; removed: readonly number[] } {
    const changes = { saved: [...this.#changed.values()].map((range) => ({ ...range })), removed: [...this.#gone] };
    this.#changed.clear();
    this.#gone.clear();
    return changes;
  }

  /** Makes one of the range at `index` and the one before it, and all between. */
  #join(index: number): void {
    const before = this.#ranges[index - 1] as Range;
    const after = this.#ranges[index] as Range;
    before.last = after.last;
    this.#ranges.splice(index, 1);
    this.#drop(after.first);
    this.#save(before);
  }

  #save(range: Range): void {
    this.#changed.set(range.first, range);
    this.#gone.delete(range.first);
  }

  #drop(first: number): void {
    this.#changed.delete(first);
    this.#gone.add(first);
  }

  /** Index of the first range that begins after `publishNo`. */
  #after(publishNo: number): number {
    let at = this.#ranges.length;
    while (at > 0 && (this.#ranges[at - 1] as Range).first > publishNo) at -= 1;
    return at;
  }
}
