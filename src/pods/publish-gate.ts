/**
 * The agent's side of a publish: what a runner says a module published is held against the agent's own copy of the
 * grant before it reaches the outbox, so that a runner can send nothing that no module of it was granted.
 */
import type { Grant } from '../../hostcalls/grant.ts';
import { resolveTopic, type TopicDenial } from '../../hostcalls/topics.ts';
import type { Outbox, OutboxItem } from '../mqtt/outbox.ts';
import type { ContainerId, PublishItem, PublishResult } from '../runner/protocol.ts';

/** One item of a publish frame with its payload. */
export interface Published {
  readonly item: PublishItem;
  readonly payload: Uint8Array;
}

/** Answers every publish once it is on disk or refused, in the order of `published`. Never rejects. */
export async function storePublishes(
  runnerId: string,
  published: readonly Published[],
  grantOf: (id: ContainerId) => Grant | undefined,
  outbox: Pick<Outbox, 'append'>,
): Promise<PublishResult[]> {
  const checked = published.map((publish) => check(runnerId, publish, grantOf(publish.item.id)));
  const allowed = checked.filter((answer) => 'runnerId' in answer);
  const appended = allowed.length === 0 ? [] : await outbox.append(allowed);
  let next = 0;
  return checked.map((answer, index): PublishResult => {
    const publishNo = published[index]?.item.publishNo ?? 0;
    if ('denied' in answer) return { publishNo, error: { case: answer.denied, message: answer.message } };
    const result = appended[next++];
    switch (result?.state) {
      case 'committed':
        return { publishNo };
      case 'full':
        return { publishNo, error: { case: 'full' } };
      case 'refused':
      case 'failed':
        return { publishNo, error: { case: 'other', message: result.message } };
      case undefined:
        return { publishNo, error: { case: 'other', message: 'the outbox gave no answer' } };
      default:
        return result satisfies never;
    }
  });
}

function check(runnerId: string, { item, payload }: Published, grant: Grant | undefined): OutboxItem | TopicDenial {
  if (grant?.messaging === undefined) return { denied: 'permission-denied', message: 'no topic is granted' };
  const resolved = resolveTopic(grant.messaging, item.topic);
  if ('denied' in resolved) return resolved;
  const { publishNo, atMs, expiryMs } = item;
  return { runnerId, publishNo, ...resolved, payload, atMs, ...(expiryMs === undefined ? {} : { expiryMs }) };
}
