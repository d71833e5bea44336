/** One line of the table, one object of the JSON. */
export interface Figure {
  readonly name: FigureName;
  /** Null when it could not be measured; the note says why. */
  readonly value: number | null;
  readonly unit: string;
  /** Null for a figure that is only told. */
  readonly goal: number | null;
  readonly note: string;
}

interface Declared {
  readonly unit: string;
  readonly goal: number | null;
  /** A goal is a largest value, except here. */
  readonly moreIsBetter?: true;
}

/** Every figure there is, in the order of the table. */
export const figures = {
  /** From the request for one more instance of a compiled module to its first line: median. */
  instance_start_us: { unit: 'us', goal: 30 },
  instance_start_p99_us: { unit: 'us', goal: 80 },
  /** The same from the runner's container on: imports against grant, devices, log. */
  container_start_us: { unit: 'us', goal: null },
  /** Private memory of one more sleeping instance. */
  instance_bytes: { unit: 'B', goal: 30 * 1024 },
  /** The same of one more container in a real runner process. */
  container_bytes: { unit: 'B', goal: null },
  /** CPU time of a module that wakes, reads a clock, writes a line and sleeps again. */
  wake_cpu_us: { unit: 'us', goal: 9.5 },
  hostcall_ns: { unit: 'ns', goal: 10 },
  suspend_ns: { unit: 'ns', goal: 150 },
  /** Acknowledged after commit, 100 modules in a real runner process, outbox on disk. */
  publish_per_second: { unit: '/s', goal: 5_000, moreIsBetter: true },
  /** The same while the link brings them to a broker: what the broker acknowledged and the outbox deleted. */
  delivered_per_second: { unit: '/s', goal: null, moreIsBetter: true },
  /** Bound by the scheduler to running, both seen through one watch: median. */
  pod_start_ms: { unit: 'ms', goal: 100 },
  /** Agent and runner of an idle node in a cluster; pages they share counted once, pages they share with others in full. */
  idle_pss_bytes: { unit: 'B', goal: 100e6 },
} as const satisfies Record<string, Declared>;

export type FigureName = keyof typeof figures;

export function figure(name: FigureName, value: number | null, note: string): Figure {
  const { unit, goal } = figures[name];
  return { name, value: value === null ? null : Number(value.toPrecision(4)), unit, goal, note };
}

export function missed({ name, value, goal }: Figure): boolean {
  if (goal === null) return false;
  const declared: Declared = figures[name];
  return value === null || (declared.moreIsBetter ? value < goal : value > goal);
}

/** What the figures are measured with. */
export interface Bench {
  /** Gone when the bench ends. */
  readonly folder: string;
  readonly idleMinutes: number;
  readonly signal: AbortSignal;
  say(line: string): void;
}

/** Measures some figures in one go, each told as soon as it is known. */
export type Family = (bench: Bench) => AsyncIterable<Figure>;
