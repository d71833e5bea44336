import { errorLine } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import type { ApiClient, Query } from './api-client.ts';
import { ClusterError, hasCode } from './errors.ts';
import { asRawPod, isObject, type PodEvent, type RawPod } from './raw-pod.ts';
import { Backoff, sleep } from './retry.ts';
import { watchFrames, type WatchFrame } from './watch-stream.ts';

export interface PodSourceOptions {
  readonly client: ApiClient;
  readonly nodeName: string;
  readonly log: Logger;
  /** A watch without a byte for so long is taken for dead; bookmarks come about every minute. @default 300_000 */
  readonly idleMs?: number;
  /** @default Math.random */
  readonly random?: () => number;
  /** @default a timer */
  readonly sleep?: typeof sleep;
}

/** Where a watch stands: what a new connection needs to go on. */
interface Position {
  /** Of the last frame; undefined: begin with all pods. */
  version: string | undefined;
}

/**
 * The pods bound to this node, for as long as the signal allows; ends without an error when it is aborted.
 *
 * A connection that ends, breaks or falls silent is made again from the last version seen. When that version is gone
 * (always after a restart of the API server) everything is sent anew and ends in a `sync`. Nothing follows from an
 * error but another try, 0.25 s to 10 s later: "no pods" is said only by a complete `sync`.
 */
export async function* podEvents(
  options: PodSourceOptions,
  signal: AbortSignal,
): AsyncGenerator<PodEvent, void, undefined> {
  const { log, sleep: wait = sleep } = options;
  const backoff = new Backoff(250, 10_000, options.random);
  const position: Position = { version: undefined };
  let outage = false;
  let initialEvents = true;
  while (!signal.aborted) {
    try {
      const source =
        position.version === undefined && !initialEvents
          ? listed(options, position, signal)
          : watched(options, position, signal);
      for await (const event of source) {
        backoff.reset();
        if (outage) log.info({}, 'pods are watched again');
        outage = false;
        yield event;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (hasCode(error, 'ApiExpired')) {
        log.debug({ version: position.version }, 'the version to watch from is gone: asking for all pods');
        // It answers: what the outage has made of the delay is over with it.
        if (position.version !== undefined) backoff.reset();
        position.version = undefined;
      } else if (hasCode(error, 'ApiInvalid') && position.version === undefined && initialEvents) {
        // API servers before 1.34 may have WatchList off.
        initialEvents = false;
        continue;
      } else {
        if (!outage) log.warn({ error: errorLine(error) }, 'pods are not watched: trying again');
        outage = true;
      }
    }
    try {
      await wait(backoff.next(), signal);
    } catch {
      return;
    }
  }
}

async function* watched(
  options: PodSourceOptions,
  position: Position,
  signal: AbortSignal,
): AsyncGenerator<PodEvent, void, undefined> {
  const { client, nodeName, idleMs = 300_000, random = Math.random } = options;
  const begin: Query =
    position.version === undefined
      ? { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' }
      : { resourceVersion: position.version };
  const query = {
    ...begin,
    watch: 1,
    fieldSelector: `spec.nodeName=${nodeName}`,
    allowWatchBookmarks: true,
    // Not the same for all nodes, or they would all come back at once.
    timeoutSeconds: Math.round(300 + 300 * random()),
  };
  let initial: Map<string, RawPod> | undefined = position.version === undefined ? new Map() : undefined;
  const response = await client.stream('/api/v1/pods', query, idleMs, signal);
  try {
    for await (const frame of watchFrames(response)) {
      if (initial === undefined) {
        const event = eventOf(frame);
        if (event !== undefined) yield event;
      } else if (frame.type !== 'BOOKMARK') {
        collect(initial, frame);
        continue;
      } else if (endsInitialEvents(frame)) {
        const pods = [...initial.values()];
        initial = undefined;
        yield { type: 'sync', pods };
      }
      // After the yield: what was not taken over yet comes again.
      if (initial === undefined) position.version = versionOf(frame) ?? position.version;
    }
  } catch (error) {
    if (error instanceof ClusterError) throw error;
    throw new ClusterError('ApiUnreachable', `the API server ended the watch (${errorLine(error)})`, { cause: error });
  } finally {
    response.destroy();
  }
}

async function* listed(
  { client, nodeName }: PodSourceOptions,
  position: Position,
  signal: AbortSignal,
): AsyncGenerator<PodEvent, void, undefined> {
  const query = { fieldSelector: `spec.nodeName=${nodeName}` };
  const list = await client.get<{ metadata: { resourceVersion: string }; items?: unknown[] }>('/api/v1/pods', {
    query,
    signal,
    timeoutMs: 60_000,
  });
  yield { type: 'sync', pods: (list.items ?? []).map(asRawPod).filter((pod) => pod !== undefined) };
  position.version = list.metadata.resourceVersion;
}

function collect(pods: Map<string, RawPod>, { type, object }: WatchFrame): void {
  const pod = asRawPod(object);
  if (pod === undefined) return;
  if (type === 'DELETED') pods.delete(pod.metadata.uid);
  else pods.set(pod.metadata.uid, pod);
}

function eventOf({ type, object }: WatchFrame): PodEvent | undefined {
  if (type === 'BOOKMARK') return undefined;
  const pod = asRawPod(object);
  if (pod === undefined) return undefined;
  return type === 'DELETED' ? { type: 'deleted', uid: pod.metadata.uid } : { type: 'upsert', pod };
}

function endsInitialEvents({ object }: WatchFrame): boolean {
  const annotations = isObject(object.metadata) ? object.metadata.annotations : undefined;
  return isObject(annotations) && annotations['k8s.io/initial-events-end'] === 'true';
}

function versionOf({ object }: WatchFrame): string | undefined {
  const version = isObject(object.metadata) ? object.metadata.resourceVersion : undefined;
  return typeof version === 'string' && version !== '' ? version : undefined;
}
