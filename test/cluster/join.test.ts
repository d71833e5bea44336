import { readFile, stat, writeFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ClusterMembership } from '../../src/cluster/membership.ts';
import { identityPath } from '../../src/cluster/node-identity.ts';
import { certificateAccess } from '../../src/cluster/api-access.ts';
import { ApiClient } from '../../src/cluster/api-client.ts';
import { loadIdentity } from '../../src/cluster/node-identity.ts';
import { useControlPlane } from '../support/control-plane.ts';
import { becomeMember, hostAddress } from '../support/member.ts';
import { tempFolder } from '../support/temp-folder.ts';

const cluster = useControlPlane();

interface Node {
  metadata: { uid: string; labels: Record<string, string> };
  spec: { taints?: Array<{ key: string; value?: string; effect: string }> };
  status: {
    capacity: Record<string, string>;
    allocatable: Record<string, string>;
    addresses: Array<{ type: string; address: string }>;
    conditions: Array<{ type: string; status: string; reason: string }>;
    nodeInfo: Record<string, string>;
    daemonEndpoints: { kubeletEndpoint: { Port: number } };
    declaredFeatures: string[];
  };
}

interface Lease {
  spec: { holderIdentity: string; leaseDurationSeconds: number; renewTime: string };
  metadata: { ownerReferences: Array<{ uid: string }> };
}

const getNode = (name: string): Promise<Node> => cluster().admin.get<Node>(`/api/v1/nodes/${name}`);
const getLease = (name: string): Promise<Lease> =>
  cluster().admin.get<Lease>(`/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/${name}`);

test('a machine with a bootstrap token becomes a Ready node that says truthfully what it is', async () => {
  await using member = await becomeMember(cluster(), {
    nodeName: 'loam-1',
    labels: { 'loamlet.dev/bed': 'north' },
    resources: new Map([['soil-moisture', 2]]),
    capacity: { pods: 500 },
  });
  await member.membership.joined;
  const node = await getNode('loam-1');
  expect(node.metadata.labels).toMatchObject({
    'kubernetes.io/arch': 'wasm32-wasi',
    'kubernetes.io/os': 'wasm32-wasi',
    'kubernetes.io/hostname': 'loam-1',
    'loamlet.dev/bed': 'north',
  });
  expect(node.spec.taints).toEqual(
    expect.arrayContaining([
      { key: 'kubernetes.io/arch', value: 'wasm32-wasi', effect: 'NoSchedule' },
      { key: 'kubernetes.io/arch', value: 'wasm32-wasi', effect: 'NoExecute' },
    ]),
  );
  expect(node.status.capacity).toMatchObject({ 'loamlet.dev/soil-moisture': '2', pods: '500' });
  const memory = Number.parseInt(node.status.capacity.memory ?? '', 10) * 1024;
  expect(memory).toBeGreaterThan(0);
  expect(memory).toBeLessThanOrEqual(totalmem());
  expect(Number.parseInt(node.status.allocatable.memory ?? '', 10) * 1024).toBeLessThan(memory);
  expect(node.status.nodeInfo).toMatchObject({
    machineID: (await readFile('/etc/machine-id', 'utf8').catch(() => '')).trim(),
    operatingSystem: 'linux',
    containerRuntimeVersion: 'loamlet://0.1.0',
    kubeletVersion: 'v1.37.2-loamlet.0.1.0',
  });
  expect(node.status.addresses).toEqual([
    { type: 'InternalIP', address: hostAddress },
    { type: 'Hostname', address: 'loam-1' },
  ]);
  expect(node.status.daemonEndpoints.kubeletEndpoint.Port).toBe(member.membership.kubeletPort);
  expect(node.status.declaredFeatures).toContain('ExtendWebSocketsToKubelet');
  expect(Object.fromEntries(node.status.conditions.map(({ type, status }) => [type, status]))).toEqual({
    MemoryPressure: 'False',
    DiskPressure: expect.stringMatching(/True|False/) as string,
    PIDPressure: 'False',
    Ready: 'True',
  });
  // The controller that takes this taint away believes our Ready.
  await expect
    .poll(async () => (await getNode('loam-1')).spec.taints?.map(({ key }) => key), { timeout: 20_000, interval: 200 })
    .not.toContain('node.kubernetes.io/not-ready');
  expect(await cluster().kubectl('get', 'nodes', '-o', 'wide')).toMatch(/^loam-1\s+Ready\s/m);
});

test('renews its lease, which belongs to the Node object', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-lease' });
  await member.membership.joined;
  const node = await getNode('loam-lease');
  const first = await getLease('loam-lease');
  expect(first.spec).toMatchObject({ holderIdentity: 'loam-lease', leaseDurationSeconds: 40 });
  expect(first.metadata.ownerReferences.map(({ uid }) => uid)).toEqual([node.metadata.uid]);
  await expect
    .poll(async () => (await getLease('loam-lease')).spec.renewTime, { timeout: 20_000, interval: 500 })
    .not.toBe(first.spec.renewTime);
});

test('keeps its certificate to itself and starts with it again, needing no token', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-again', resources: new Map([['pump', 1]]) });
  await member.membership.joined;
  const { stateDirectory } = member.options;
  expect((await stat(identityPath(stateDirectory))).mode & 0o777).toBe(0o600);
  expect((await stat(join(stateDirectory, 'pki'))).mode & 0o777).toBe(0o700);
  const { uid } = (await getNode('loam-again')).metadata;
  await member.membership[Symbol.asyncDispose]();

  const options = { ...member.options, resources: new Map([['valve', 3]]), bootstrapKubeconfig: undefined };
  await using second = await ClusterMembership.join(options, new AbortController().signal);
  await second.joined;
  const node = await getNode('loam-again');
  expect(node.metadata.uid).toBe(uid);
  // A device that is no more is offered no more.
  expect(node.status.capacity).toMatchObject({ 'loamlet.dev/valve': '3' });
  expect(Object.keys(node.status.capacity)).not.toContain('loamlet.dev/pump');
  expect(Object.keys(node.status.allocatable)).not.toContain('loamlet.dev/pump');
  expect(node.status.daemonEndpoints.kubeletEndpoint.Port).toBe(second.kubeletPort);
});

test('another bootstrap kubeconfig counts when it names another cluster, and not when only its token is new', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-moved' });
  await member.membership.joined;
  await member.membership[Symbol.asyncDispose]();
  const { stateDirectory } = member.options;
  const first = await loadIdentity(stateDirectory, 'loam-moved');
  const text = await readFile(cluster().bootstrapKubeconfig, 'utf8');
  const path = join(stateDirectory, 'bootstrap');
  const startWith = async (kubeconfig: string): Promise<string | undefined> => {
    await writeFile(path, kubeconfig);
    const options = { ...member.options, bootstrapKubeconfig: path };
    await using again = await ClusterMembership.join(options, new AbortController().signal);
    await again.joined;
    return (await loadIdentity(stateDirectory, 'loam-moved'))?.certificate;
  };
  expect(await startWith(text.replace(/token: [^}]*/, 'token: aaaaaa.bbbbbbbbbbbbbbbb'))).toBe(first?.certificate);
  expect(await startWith(text.replace('https://127.0.0.1', 'https://localhost'))).not.toBe(first?.certificate);
  expect((await loadIdentity(stateDirectory, 'loam-moved'))?.address.server).toContain('localhost');
});

test('says that a token is wrong, and joins once the file has a right one', async () => {
  const path = await cluster().bootstrapKubeconfigWith('aaaaaa.bbbbbbbbbbbbbbbb');
  await using member = await becomeMember(cluster(), { nodeName: 'loam-wrong', bootstrapKubeconfig: path });
  await expect.poll(() => member.log.atLeast(50), { timeout: 20_000 }).toHaveLength(1);
  const [line] = member.log.atLeast(50);
  expect(line?.error).toContain(`the bootstrap token in ${path} is wrong or has expired: make a new one`);
  expect(member.membership.problem).toMatchObject({ code: 'ApiUnauthorized' });
  await expect(getNode('loam-wrong')).rejects.toMatchObject({ code: 'ApiNotFound' });

  await writeFile(path, await readFile(cluster().bootstrapKubeconfig));
  await member.membership.joined;
  expect(member.membership.problem).toBeUndefined();
  await expect(getNode('loam-wrong')).resolves.toBeDefined();
});

test('says that a token has expired', async () => {
  // The cleaner removes expired tokens sooner or later; both ways the answer is the same.
  await cluster().apply({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'bootstrap-token-cccccc', namespace: 'kube-system' },
    type: 'bootstrap.kubernetes.io/token',
    stringData: {
      'token-id': 'cccccc',
      'token-secret': 'dddddddddddddddd',
      'usage-bootstrap-authentication': 'true',
      expiration: new Date(Date.now() - 60_000).toISOString(),
    },
  });
  const path = await cluster().bootstrapKubeconfigWith('cccccc.dddddddddddddddd');
  await using member = await becomeMember(cluster(), { nodeName: 'loam-late', bootstrapKubeconfig: path });
  await expect.poll(() => member.membership.problem?.message, { timeout: 20_000 }).toContain('is wrong or has expired');
});

test('says which request somebody has to approve when nobody does', async () => {
  // A token of a group that may ask, but whose requests are not approved by themselves.
  await cluster().kubectl('delete', 'clusterrolebinding', 'loamlet:approve-bootstrap');
  try {
    await using member = await becomeMember(cluster(), { nodeName: 'loam-pending', approvalLimitMs: 1_500 });
    await expect
      .poll(() => member.membership.problem, { timeout: 20_000 })
      .toMatchObject({ code: 'CertificatePending' });
    expect(member.log.atLeast(50)[0]?.error).toMatch(
      /^nobody approved the certificate request (node-csr-\w+) in 2 s: kubectl certificate approve \1$/,
    );
  } finally {
    await cluster().apply({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'loamlet:approve-bootstrap' },
      roleRef: {
        apiGroup: 'rbac.authorization.k8s.io',
        kind: 'ClusterRole',
        name: 'system:certificates.k8s.io:certificatesigningrequests:nodeclient',
      },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'system:bootstrappers' }],
    });
  }
});

test('does not take over the name of another machine', async () => {
  await cluster().apply({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'loam-taken' } });
  const theirs = { status: { nodeInfo: { ...emptyNodeInfo, machineID: 'f00f00f00f00f00f' } } };
  await cluster().admin.patch('/api/v1/nodes/loam-taken/status', 'strategic-merge', theirs);
  await using member = await becomeMember(cluster(), { nodeName: 'loam-taken' });
  await expect.poll(() => member.membership.problem, { timeout: 20_000 }).toMatchObject({ code: 'NodeNameTaken' });
  expect((await getNode('loam-taken')).status.nodeInfo.machineID).toBe('f00f00f00f00f00f');
  await cluster().kubectl('delete', 'node', 'loam-taken');
  await member.membership.joined;
});

test('a deleted node is back with a lease of its own', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-deleted' });
  await member.membership.joined;
  const { uid } = (await getNode('loam-deleted')).metadata;
  await cluster().kubectl('delete', 'node', 'loam-deleted');
  const uidNow = async (): Promise<string> =>
    (await getNode('loam-deleted').catch(() => undefined))?.metadata.uid ?? uid;
  await expect.poll(uidNow, { timeout: 45_000, interval: 250 }).not.toBe(uid);
  const node = await getNode('loam-deleted');
  expect(node.spec.taints?.map(({ effect }) => effect)).toEqual(expect.arrayContaining(['NoSchedule', 'NoExecute']));
  const owners = async (): Promise<string[]> =>
    (await getLease('loam-deleted')).metadata.ownerReferences.map((owner) => owner.uid);
  await expect.poll(owners, { timeout: 10_000 }).toEqual([node.metadata.uid]);
});

test('renews its certificate while the old one still holds', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-renew' });
  await member.membership.joined;
  const { obtainAccess, keepRenewed } = await import('../../src/cluster/credentials.ts');
  const { identity } = await obtainAccess(member.options, AbortSignal.timeout(10_000));
  if (identity === undefined) throw new Error('no identity');
  await using folder = await tempFolder();
  const client = new ApiClient(certificateAccess(identity.address, identity));
  const ending = new AbortController();
  // As if it were nearly over.
  const old = {
    ...identity,
    facts: { ...identity.facts, notBefore: new Date(0), notAfter: new Date(Date.now() + 1_000) },
  };
  const renewing = keepRenewed(
    client,
    old,
    { ...member.options, stateDirectory: folder.path, bootstrapKubeconfig: undefined },
    ending.signal,
  );
  await expect.poll(() => loadIdentity(folder.path, 'loam-renew'), { timeout: 20_000 }).toBeDefined();
  ending.abort();
  await expect(renewing).rejects.toThrow();
  const renewed = await loadIdentity(folder.path, 'loam-renew');
  expect(renewed?.certificate).not.toBe(identity.certificate);
  await expect(client.get('/api/v1/nodes/loam-renew')).resolves.toBeDefined();
  client.close();
});

test('starts while the API server is away, and joins when it is there', async () => {
  await cluster().pause();
  let resumed = false;
  try {
    await using member = await becomeMember(cluster(), { nodeName: 'loam-early' });
    await expect.poll(() => member.membership.problem, { timeout: 10_000 }).toMatchObject({ code: 'ApiUnreachable' });
    await cluster().resume();
    resumed = true;
    await member.membership.joined;
    await expect(getNode('loam-early')).resolves.toBeDefined();
  } finally {
    if (!resumed) await cluster().resume();
  }
});

test('refuses at once what only an operator can mend', async () => {
  await expect(becomeMember(cluster(), { nodeName: 'Loam_1' })).rejects.toMatchObject({ code: 'NodeInvalid' });
  await expect(
    becomeMember(cluster(), { nodeName: 'loam-x', resources: new Map([['soil moisture', 1]]) }),
  ).rejects.toMatchObject({ code: 'NodeInvalid' });
  await expect(
    becomeMember(cluster(), { nodeName: 'loam-x', bootstrapKubeconfig: '/nowhere/kubeconfig' }),
  ).rejects.toMatchObject({ code: 'KubeconfigInvalid' });
  await expect(becomeMember(cluster(), { nodeName: 'loam-x', bootstrapKubeconfig: undefined })).rejects.toMatchObject({
    code: 'KubeconfigInvalid',
  });
});

const emptyNodeInfo = Object.fromEntries(
  [
    'bootID',
    'systemUUID',
    'kernelVersion',
    'osImage',
    'containerRuntimeVersion',
    'kubeletVersion',
    'kubeProxyVersion',
    'operatingSystem',
    'architecture',
  ].map((key) => [key, '']),
);
