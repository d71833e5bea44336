import type { ContainerExit } from '../runner/protocol.ts';

/** Without what else a report or a message says. */
export function exitOf({ startedAtMs, finishedAtMs, exitCode, reason, message }: ContainerExit): ContainerExit {
  return { startedAtMs, finishedAtMs, exitCode, reason, message };
}

/** A run ended with its runner, as if killed; when exactly, nobody knows. */
export function lostExit(startedAtMs: number | undefined, nowMs: number, message: string): ContainerExit {
  return { startedAtMs: startedAtMs ?? nowMs, finishedAtMs: nowMs, exitCode: 137, reason: 'Error', message };
}
