import type { Pod } from './pod.ts';

/** Pods without room that are remembered; what comes after waits for its source to name it again. */
const maxWaiting = 10_000;

/** Pods that a full node turned away, first come first served. */
export class WaitingRoom {
  readonly #pods = new Map<string, { readonly source: Pod['source']; readonly manifest: unknown }>();

  /** Whether it was not here before. */
  add({ uid, source }: Pod, manifest: unknown): boolean {
    const isNews = !this.#pods.has(uid);
    if (!isNews || this.#pods.size < maxWaiting) this.#pods.set(uid, { source, manifest });
    return isNews;
  }

  remove(uid: string): void {
    this.#pods.delete(uid);
  }

  /** Lets those of a source go that it no longer has. */
  keep(source: Pod['source'], uids: ReadonlySet<string>): void {
    for (const [uid, pod] of this.#pods) if (pod.source === source && !uids.has(uid)) this.#pods.delete(uid);
  }

  /** Takes the first one out. */
  next(): { readonly source: Pod['source']; readonly manifest: unknown } | undefined {
    for (const [uid, pod] of this.#pods) {
      this.#pods.delete(uid);
      return pod;
    }
    return undefined;
  }
}
