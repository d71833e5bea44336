import type { DeviceGrant, Grant } from '../../hostcalls/grant.ts';

/** Admission, given what the containers have now. @throws AdmissionError */
export type Admit = (current: readonly (Grant | undefined)[]) => readonly Grant[];

/**
 * What the containers of one pod are granted. A container that runs, or is about to, keeps its grant whatever the pod
 * asks for meanwhile: the runner holds it to that one.
 */
export class PodGrants {
  readonly #grants: (Grant | undefined)[];

  constructor(containers: number, saved: readonly (Grant | null)[] = []) {
    this.#grants = Array.from({ length: containers }, (_, index) => saved[index] ?? undefined);
  }

  /** For the record. */
  get saved(): readonly (Grant | null)[] {
    return this.#grants.map((grant) => grant ?? null);
  }

  of(index: number): Grant | undefined {
    return this.#grants[index];
  }

  /** By container. */
  get devices(): readonly (readonly DeviceGrant[])[] {
    return this.#grants.map((grant) => grant?.devices ?? []);
  }

  /**
   * The grant for the next run of a container.
   * @param isIdle whether a container does nothing now, so that its grant may be another
   * @throws AdmissionError
   */
  next(index: number, admit: Admit, isIdle: (container: number) => boolean): Grant | undefined {
    admit(this.#grants).forEach((grant, container) => {
      if (container === index || this.#grants[container] === undefined || isIdle(container))
        this.#grants[container] = grant;
    });
    return this.#grants[index];
  }

  /**
   * Which of these running containers would be granted something else now than what they run with, and why. They keep
   * their devices until they have ended, and nothing more.
   */
  review(running: readonly number[], admit: Admit): readonly { readonly index: number; readonly why: string }[] {
    if (running.length === 0) return [];
    let admitted: readonly Grant[] = [];
    let why = 'the node grants it something else now';
    try {
      admitted = admit(this.#grants);
    } catch (error) {
      why = error instanceof Error ? error.message : String(error);
    }
    return running
      .filter((index) => !isSame(this.#grants[index], admitted[index]))
      .map((index) => {
        this.#grants[index] = { devices: this.#grants[index]?.devices ?? [] };
        return { index, why };
      });
  }
}

/** Grants are plain data, made in one place: equal ones are equal JSON. */
function isSame(a: Grant | undefined, b: Grant | undefined): boolean {
  return a !== undefined && b !== undefined && JSON.stringify(a) === JSON.stringify(b);
}
