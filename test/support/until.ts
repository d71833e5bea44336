import { setTimeout as delay } from 'node:timers/promises';

/** A generous bound for a machine under load; a test that is right never waits for it. */
const limitMs = 40_000;

/**
 * Resolves when `check` is true: for what has no event to wait for, such as another process. An error of `check` counts
 * as not yet, unless its cause is 'final'.
 * @throws Error naming what did not come, with `detail`
 */
export async function until(
  what: string,
  check: () => Promise<boolean> | boolean,
  detail: () => string = () => '',
): Promise<void> {
  const end = performance.now() + limitMs;
  let last: unknown;
  for (;;) {
    try {
      if (await check()) return;
    } catch (error) {
      if (error instanceof Error && error.cause === 'final') throw error;
      last = error;
    }
    if (performance.now() > end)
      throw new Error(`waited ${limitMs / 1000} s until ${what}\n${detail()}`, { cause: last });
    await delay(25);
  }
}
