import { errorLine } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import { ClusterError, isTransient } from './errors.ts';
import type { NodeLease } from './lease.ts';
import type { NodeRegistrar } from './node-registrar.ts';
import { Backoff, sleep } from './retry.ts';

export interface HeartbeatOptions {
  readonly lease: Pick<NodeLease, 'renew' | 'create'>;
  readonly registrar: Pick<NodeRegistrar, 'uid' | 'update' | 'forget' | 'refresh'>;
  readonly log: Logger;
  /** After each success. */
  readonly onBeat: () => void;
  /** After a success that followed `silenceMs` or more of failures: the cluster may have given us up meanwhile. */
  readonly onReturn: () => void;
  readonly onFailure: (error: unknown) => void;
  /** Between beats. @default 10_000 */
  readonly intervalMs?: number;
  /** @default a timer */
  readonly sleep?: typeof sleep;
}

const silenceMs = 30_000;

/**
 * Renews the lease and keeps the Node object true every 10 s, for as long as the signal allows. No failure ends it: it
 * tries again after 0.5 s to 10 s.
 */
export async function keepAlive(options: HeartbeatOptions, signal: AbortSignal): Promise<void> {
  const { log, registrar, intervalMs = 10_000, sleep: wait = sleep } = options;
  const backoff = new Backoff(500, intervalMs);
  let lastBeatMs = performance.now();
  let failing: string | undefined;
  while (!signal.aborted) {
    const startedMs = performance.now();
    let waitMs: number;
    try {
      await beat(options, signal);
      if (failing !== undefined) log.info({}, 'the API server is back');
      if (failing !== undefined && performance.now() - lastBeatMs >= silenceMs) options.onReturn();
      failing = undefined;
      lastBeatMs = performance.now();
      backoff.reset();
      options.onBeat();
      waitMs = Math.max(0, intervalMs - (performance.now() - startedMs));
    } catch (error) {
      if (signal.aborted) return;
      const code = error instanceof ClusterError ? error.code : 'other';
      // Once for each kind of trouble, not for each try.
      if (code !== failing) {
        const level = isTransient(error) ? 'warn' : 'error';
        log[level]({ error: errorLine(error) }, 'heartbeat failed: trying again');
      }
      failing = code;
      registrar.refresh();
      options.onFailure(error);
      waitMs = backoff.next();
    }
    await wait(waitMs, signal).catch(() => {});
  }
}

async function beat({ lease, registrar }: HeartbeatOptions, signal: AbortSignal): Promise<void> {
  // The lease goes with its Node object, so a missing lease is how we hear of a deleted node.
  const renewed = registrar.uid !== undefined && (await lease.renew(signal));
  if (!renewed) registrar.forget();
  const registered = await registrar.update(signal);
  if (registered && registrar.uid !== undefined) await lease.create(registrar.uid, signal);
}
