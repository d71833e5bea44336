import { expect, test } from 'vitest';
import { Authorizer, subresourcesOf, verbOf } from '../../../src/kubelet/authorizer.ts';

const caller = { user: 'kube-apiserver-kubelet-client', groups: ['kubeadm:cluster-admins', 'system:authenticated'] };
const { signal } = new AbortController();

function world(allowed: ReadonlySet<string>) {
  const asked: string[] = [];
  const clock = { now: 0 };
  const review = (_: unknown, verb: string, subresource: string): Promise<boolean> => {
    asked.push(`${verb} ${subresource}`);
    return Promise.resolve(allowed.has(`${verb} ${subresource}`));
  };
  return { asked, clock, authorizer: new Authorizer(review, () => clock.now) };
}

test('the finer right is enough, the coarser one is asked next', async () => {
  const fine = world(new Set(['get healthz']));
  expect(await fine.authorizer.allows(caller, 'get', ['healthz', 'proxy'], signal)).toBe(true);
  expect(fine.asked).toEqual(['get healthz']);
  const coarse = world(new Set(['get proxy']));
  expect(await coarse.authorizer.allows(caller, 'get', ['healthz', 'proxy'], signal)).toBe(true);
  expect(coarse.asked).toEqual(['get healthz', 'get proxy']);
});

test('remembers a yes for five minutes and a no for half a minute', async () => {
  const { asked, clock, authorizer } = world(new Set(['get proxy']));
  const allows = (verb: string): Promise<boolean> => authorizer.allows(caller, verb, ['proxy'], signal);
  expect([await allows('get'), await allows('create')]).toEqual([true, false]);
  clock.now = 29_000;
  expect([await allows('get'), await allows('create')]).toEqual([true, false]);
  expect(asked).toHaveLength(2);
  clock.now = 31_000;
  expect([await allows('get'), await allows('create')]).toEqual([true, false]);
  expect(asked).toHaveLength(3);
  clock.now = 301_000;
  await allows('get');
  expect(asked).toHaveLength(4);
});

test('the answer for one caller is not another one’s', async () => {
  const { asked, authorizer } = world(new Set(['get proxy']));
  await authorizer.allows(caller, 'get', ['proxy'], signal);
  await authorizer.allows({ ...caller, groups: ['system:authenticated'] }, 'get', ['proxy'], signal);
  expect(asked).toHaveLength(2);
});

test('no answer is no yes, and is not remembered', async () => {
  let tries = 0;
  const authorizer = new Authorizer(() => Promise.reject(new Error(`away ${++tries}`)));
  await expect(authorizer.allows(caller, 'get', ['proxy'], signal)).rejects.toThrow('away 1');
  await expect(authorizer.allows(caller, 'get', ['proxy'], signal)).rejects.toThrow('away 2');
});

test('paths and methods map as a kubelet maps them, but reaching into a container always is a create', () => {
  expect(subresourcesOf('/pods')).toEqual(['pods', 'proxy']);
  expect(subresourcesOf('/stats/summary')).toEqual(['stats']);
  expect(subresourcesOf('/metrics/resource')).toEqual(['metrics']);
  expect(subresourcesOf('/containerLogs/a/b/c')).toEqual(['proxy']);
  expect(subresourcesOf('/podsX')).toEqual(['proxy']);
  expect(verbOf('GET', '/containerLogs/a/b/c')).toBe('get');
  expect(verbOf('GET', '/exec/a/b/c')).toBe('create');
  expect(verbOf('GET', '/portForward/a/b')).toBe('create');
});
