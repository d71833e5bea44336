import type { Deletion } from './pod.ts';

/** What is left of the grace, in milliseconds: the timestamp is the deadline, but the node's clock may be wrong. */
export function graceLeftMs(deletion: Deletion, nowMs: number): number {
  return Math.max(0, Math.min(deletion.graceSeconds * 1000, deletion.deadlineMs - nowMs));
}

/** Whether a newer request shortens an earlier one. */
export function isSooner(deletion: Deletion, before: Deletion | undefined): boolean {
  if (before === undefined) return true;
  return deletion.graceSeconds < before.graceSeconds || deletion.deadlineMs < before.deadlineMs;
}
