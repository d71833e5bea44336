import { Container, type ContainerHost } from './container.ts';
import type { ContainerLog, LogQueue } from './log-queue.ts';
import type { ContainerId, ContainerReport, ContainerStart, RunnerMessage } from './protocol.ts';
import { Readiness } from './readiness.ts';

const maxContainers = 8_000;

/**
 * Every container of the runner, until the agent forgets it. What happens is told to `report`, agent or not: one that comes
 * later is told all by `reports`. At most 8,000: their reports fit one frame, and their mappings the kernel's default.
 */
export class Containers {
  readonly #host: ContainerHost;
  readonly #logs: LogQueue;
  readonly #report: (message: RunnerMessage) => void;
  readonly #all = new Map<ContainerId, Container>();
  /** Exited, but the agent does not have all of their log yet: told as running, so that no exit comes before the last line. */
  readonly #unsaid = new Set<ContainerId>();
  #closed = false;

  constructor(host: ContainerHost, logs: LogQueue, report: (message: RunnerMessage) => void) {
    this.#host = host;
    this.#logs = logs;
    this.#report = report;
  }

  /** Running and exited ones. */
  reports(): ContainerReport[] {
    const reports: ContainerReport[] = [];
    for (const { report } of this.#all.values()) {
      if (!report) continue;
      const { id, startedAtMs } = report;
      reports.push(this.#unsaid.has(id) ? { id, state: 'running', startedAtMs } : report);
    }
    return reports;
  }

  /** A container that is known already is left as it is. */
  start(spec: ContainerStart): void {
    const { id } = spec;
    if (this.#all.has(id)) return;
    const fail = (message: string): void =>
      this.#report({ type: 'startFailed', id, reason: 'CreateContainerError', message });
    if (this.#closed) return fail('the runner is shutting down');
    if (this.#all.size >= maxContainers) return fail(`the runner has ${maxContainers} containers, which is the most`);
    const log = this.#logs.open(id);
    const readiness = new Readiness((ready) => this.#report({ type: 'ready', id, ready }));
    const container = new Container(spec, this.#host, {
      started: (startedAtMs) => this.#report({ type: 'started', id, startedAtMs }),
      startFailed: (reason, message) => {
        this.#all.delete(id);
        this.#report({ type: 'startFailed', id, reason, message });
      },
      exited: (exit) => {
        readiness[Symbol.dispose]();
        this.#unsaid.add(id);
        if (exit.reason !== 'Killed' && exit.message !== '')
          this.#logs.write(log, 'stderr', Buffer.from(`${exit.message}\n`));
        this.#logs.close(log, () => {
          this.#unsaid.delete(id);
          this.#report({ type: 'exited', id, ...exit });
        });
      },
      ready: (ready) => readiness.set(ready),
    });
    this.#all.set(id, container);
    void container.start({ output: outputTo(this.#logs, log) });
  }

  stop(id: ContainerId, graceMs: number): void {
    this.#all.get(id)?.stop(graceMs);
  }

  /** Forgets one that has exited. */
  forget(id: ContainerId): void {
    if (this.#all.get(id)?.report?.state === 'exited' && !this.#unsaid.has(id)) this.#all.delete(id);
  }

  /** Stops all, takes no new ones, and resolves when every one has ended. */
  async close(graceMs: number): Promise<void> {
    this.#closed = true;
    const all = [...this.#all.values()];
    for (const container of all) container.stop(graceMs);
    await Promise.all(all.map(({ ended }) => ended));
  }
}

function outputTo(logs: LogQueue, log: ContainerLog): { write(stream: 'stdout' | 'stderr', bytes: Uint8Array): void } {
  return { write: (stream, bytes) => logs.write(log, stream, bytes) };
}
