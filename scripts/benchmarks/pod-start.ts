import { watchFrames } from '../../src/cluster/watch-stream.ts';
import type { NodeWorld } from './node-world.ts';

interface Pod {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly nodeName?: string };
  readonly status?: {
    readonly phase?: string;
    readonly containerStatuses?: readonly { readonly state?: { readonly running?: object } }[];
  };
}

export interface PodTimes {
  /** Bound to running, created to bound, in milliseconds. */
  readonly startMs: number;
  readonly boundMs: number;
}

const path = '/api/v1/namespaces/default/pods';
const idleMs = 60_000;

/**
 * Creates pods one after the other, each gone before the next. Both moments are taken where one watch sees them, so the
 * API server's own part of telling us is in both.
 */
export async function timePods(world: NodeWorld, count: number, signal: AbortSignal): Promise<PodTimes[]> {
  const ended = new AbortController();
  const both = AbortSignal.any([signal, ended.signal]);
  const { metadata } = await world.api.get<{ metadata: { resourceVersion: string } }>(path);
  const query = { watch: 1, resourceVersion: metadata.resourceVersion };
  const stream = await world.api.stream(path, query, idleMs, both);
  const frames = watchFrames(stream);
  const times: PodTimes[] = [];
  try {
    for (let n = 0; n < count; n++) times.push(await timePod(world, `bench-${n}`, frames));
  } finally {
    ended.abort();
    stream.destroy();
  }
  return times;
}

async function timePod(world: NodeWorld, name: string, frames: ReturnType<typeof watchFrames>): Promise<PodTimes> {
  const created = performance.now();
  const posted = world.api.post(path, manifest(name, world.image));
  let bound: number | undefined;
  let running: number | undefined;
  for (;;) {
    const { value: frame, done } = await frames.next();
    if (done) throw new Error('the watch ended');
    const now = performance.now();
    const pod = frame.object as unknown as Pod;
    if (pod.metadata.name !== name) continue;
    if (frame.type === 'DELETED') break;
    if (pod.spec.nodeName !== undefined) bound ??= now;
    if (running === undefined && pod.status?.phase === 'Running' && pod.status.containerStatuses?.[0]?.state?.running) {
      running = now;
      await posted;
      await world.api.delete(`${path}/${name}`, { gracePeriodSeconds: 1 });
    }
  }
  if (bound === undefined || running === undefined) throw new Error(`pod ${name} was deleted before it ran`);
  return { startMs: running - bound, boundMs: bound - created };
}

function manifest(name: string, image: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      runtimeClassName: 'loamlet',
      automountServiceAccountToken: false,
      containers: [{ name: 'sensor', image, args: ['3600000'] }],
    },
  };
}
