/** What the agent says of itself on its socket, and `loamlet status` shows. */
export interface NodeStatus {
  readonly nodeName: string;
  readonly version: string;
  /** Milliseconds since the epoch. */
  readonly startedAtMs: number;
  readonly cluster: { readonly state: string; readonly message?: string } | undefined;
  readonly runner: { readonly state: 'running' | 'restarting'; readonly pid: number | undefined };
  readonly pods: readonly PodLine[];
  readonly devices: readonly DeviceLine[];
  readonly outbox:
    | { readonly waiting: number; readonly refused: number; readonly bytes: number; readonly oldestAgeMs?: number }
    | undefined;
  readonly broker: { readonly url: string; readonly state: string; readonly message?: string } | undefined;
}

export interface PodLine {
  readonly namespace: string;
  readonly name: string;
  readonly source: string;
  readonly phase: string;
  readonly ready: string;
  readonly restarts: number;
  /** Why a container waits or ended. */
  readonly reason: string;
  /** The same for a person, one line. */
  readonly message: string;
}

export interface DeviceLine {
  readonly name: string;
  readonly resource: string;
  readonly driver: string;
  readonly heldBy: string;
  readonly healthy: boolean;
  readonly message: string;
}

/** For a terminal. */
export function formatStatus(status: NodeStatus): string {
  const { cluster, broker, outbox } = status;
  const facts: [string, string][] = [
    ['node', `${status.nodeName}, loamlet ${status.version}, up ${formatAge(Date.now() - status.startedAtMs)}`],
    ['cluster', cluster === undefined ? 'none: static pods only' : withMessage(cluster.state, cluster.message)],
    [
      'runner',
      status.runner.pid === undefined ? status.runner.state : `${status.runner.state}, pid ${status.runner.pid}`,
    ],
    [
      'broker',
      broker === undefined
        ? 'none: publishing is refused'
        : `${broker.url} ${withMessage(broker.state, broker.message)}`,
    ],
    ['outbox', outbox === undefined ? '-' : outboxLine(outbox)],
  ];
  return [
    ...facts.map(([key, value]) => `${key.padEnd(8)} ${value}`),
    '',
    ...table(
      ['NAMESPACE', 'POD', 'SOURCE', 'READY', 'STATUS', 'RESTARTS'],
      status.pods.map((pod) => [
        pod.namespace,
        pod.name,
        pod.source,
        pod.ready,
        pod.reason || pod.phase,
        String(pod.restarts),
      ]),
    ),
    ...status.pods
      .filter(({ message }) => message !== '')
      .map(({ namespace, name, message }) => `${namespace}/${name}: ${message}`),
    '',
    ...table(
      ['DEVICE', 'RESOURCE', 'DRIVER', 'HELD BY', 'HEALTH'],
      status.devices.map((device) => [
        device.name,
        device.resource,
        device.driver,
        device.heldBy || '-',
        device.healthy ? 'ok' : device.message,
      ]),
    ),
    '',
  ].join('\n');
}

function withMessage(state: string, message: string | undefined): string {
  return message === undefined || message === '' ? state : `${state}: ${message}`;
}

function outboxLine(outbox: NonNullable<NodeStatus['outbox']>): string {
  if (outbox.waiting === 0 && outbox.refused === 0) return 'empty';
  const oldest = outbox.oldestAgeMs === undefined ? '' : `, oldest ${formatAge(outbox.oldestAgeMs)}`;
  const refused = outbox.refused === 0 ? '' : `, ${outbox.refused} refused by the broker`;
  return `${outbox.waiting} waiting (${outbox.bytes} bytes${oldest})${refused}`;
}

/** `5s`, `3m`, `2h`, `4d`, as kubectl has it. */
function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('   ')
      .trimEnd(),
  );
}
