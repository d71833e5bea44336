import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { useControlPlane } from '../support/control-plane.ts';
import { Gate } from '../support/gate.ts';
import { becomeMember } from '../support/member.ts';

const cluster = useControlPlane({ fastNodes: true });

interface WithConditions {
  metadata: { uid: string };
  spec: { taints?: Array<{ key: string }> };
  status: { conditions: Array<{ type: string; status: string; reason?: string }> };
}

test('a node that was cut off is Ready again at once, and so are its pods', async () => {
  const server = new URL(/server: "([^"]+)"/.exec(await readFile(cluster().bootstrapKubeconfig, 'utf8'))?.[1] ?? '');
  await using gate = await Gate.before(Number(server.port));
  const behindGate = join(cluster().directory, 'gate.kubeconfig');
  await writeFile(
    behindGate,
    (await readFile(cluster().bootstrapKubeconfig, 'utf8')).replace(server.port, String(gate.port)),
  );
  await using member = await becomeMember(cluster(), { nodeName: 'loam-cut-off', bootstrapKubeconfig: behindGate });
  const { membership } = member;
  await membership.joined;

  const spec = {
    nodeName: 'loam-cut-off',
    containers: [{ name: 'c', image: 'soil:1' }],
    tolerations: [{ operator: 'Exists' }],
  };
  const pods = '/api/v1/namespaces/default/pods';
  const { metadata } = await cluster().admin.post<WithConditions>(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'stays' },
    spec,
  });
  const conditions = ['Ready', 'ContainersReady'].map((type) => ({
    type,
    status: 'True',
    reason: null,
    message: null,
  }));
  membership.statuses.set({ namespace: 'default', name: 'stays', uid: metadata.uid }, { phase: 'Running', conditions });
  await membership.statuses.flush(metadata.uid);

  const ending = new AbortController();
  const events: string[] = [];
  const watching = (async () => {
    for await (const event of membership.pods(ending.signal)) events.push(event.type);
  })();
  const readyOf = async (path: string): Promise<string | undefined> =>
    (await cluster().admin.get<WithConditions>(path)).status.conditions.find(({ type }) => type === 'Ready')?.status;
  const node = '/api/v1/nodes/loam-cut-off';
  await expect.poll(() => readyOf(node), { timeout: 10_000 }).toBe('True');

  gate.shut();
  await expect.poll(() => readyOf(node), { timeout: 40_000, interval: 250 }).toBe('Unknown');
  await expect.poll(() => readyOf(`${pods}/stays`), { timeout: 20_000, interval: 250 }).toBe('False');
  expect(membership.problem).toMatchObject({ code: 'ApiUnreachable' });
  expect(events).not.toContain('deleted');

  gate.open();
  await expect.poll(() => readyOf(node), { timeout: 20_000, interval: 100 }).toBe('True');
  await expect.poll(() => readyOf(`${pods}/stays`), { timeout: 20_000, interval: 100 }).toBe('True');
  await expect
    .poll(async () => (await cluster().admin.get<WithConditions>(node)).spec.taints?.map(({ key }) => key), {
      timeout: 20_000,
    })
    .not.toContain('node.kubernetes.io/unreachable');
  expect(membership.problem).toBeUndefined();
  ending.abort();
  await watching;
});
