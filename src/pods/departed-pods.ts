/** What is remembered at most; the oldest is forgotten first. */
const maxDeparted = 10_000;

/**
 * Pods of the API that have gone from this node while their objects are still there: until the last status and the
 * DELETE have arrived, and then for as long as somebody's finalizer holds them. What a watch tells of them meanwhile is
 * history: taken for a new pod it would get a new last status, without the exit code.
 */
export class DepartedPods {
  readonly #uids = new Set<string>();

  add(uid: string): void {
    this.#uids.add(uid);
    if (this.#uids.size <= maxDeparted) return;
    for (const oldest of this.#uids) {
      this.#uids.delete(oldest);
      break;
    }
  }

  has(uid: string): boolean {
    return this.#uids.has(uid);
  }

  /** Its object is gone too. */
  remove(uid: string): void {
    this.#uids.delete(uid);
  }

  /** Forgets those that the API no longer has. */
  keep(uids: ReadonlySet<string>): void {
    for (const uid of this.#uids) if (!uids.has(uid)) this.#uids.delete(uid);
  }
}
