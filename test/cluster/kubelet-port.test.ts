import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import { connect } from 'node:tls';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadIdentity } from '../../src/cluster/node-identity.ts';
import {
  ContainerLogsError,
  type ContainerLogs,
  type ContainerRef,
  type LogOptions,
} from '../../src/kubelet/container-logs.ts';
import { useControlPlane } from '../support/control-plane.ts';
import { becomeMember, hostAddress, type Member } from '../support/member.ts';
import { serverIdentity } from '../support/certificates.ts';

const cluster = useControlPlane();

/** One container's log that a test writes to. */
class WrittenLogs implements ContainerLogs {
  readonly asked: Array<{ ref: ContainerRef; options: LogOptions }> = [];
  readonly #lines: string[] = [];
  #ended = false;
  #wake = Promise.withResolvers<void>();
  /** Followers that have been let go. */
  left = 0;

  write(line: string): void {
    this.#lines.push(`${line}\n`);
    this.#notify();
  }

  end(): void {
    this.#ended = true;
    this.#notify();
  }

  async open(ref: ContainerRef, options: LogOptions, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    await Promise.resolve();
    this.asked.push({ ref, options });
    if (options.previous)
      throw new ContainerLogsError(
        'LOGS_NOT_AVAILABLE',
        `container ${ref.container} of pod ${ref.pod} has no earlier run`,
      );
    if (ref.pod !== 'talks')
      throw new ContainerLogsError('LOGS_NOT_FOUND', `there is no pod ${ref.namespace}/${ref.pod} on this node`);
    return this.#read(options, signal);
  }

  async *#read({ tailLines, follow }: LogOptions, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    try {
      const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      for (let at = tailLines === undefined ? 0 : Math.max(0, this.#lines.length - tailLines); !signal.aborted;) {
        const wake = this.#wake.promise;
        for (; at < this.#lines.length; at++) yield Buffer.from(this.#lines[at] ?? '');
        if (!follow || this.#ended) return;
        await Promise.race([wake, aborted]);
      }
    } finally {
      this.left++;
    }
  }

  #notify(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }
}

async function bind(name: string, nodeName: string): Promise<void> {
  const spec = { nodeName, containers: [{ name: 'c', image: 'soil:1' }], tolerations: [{ operator: 'Exists' }] };
  await cluster().admin.post('/api/v1/namespaces/default/pods', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec,
  });
}

/** As an operator: `kubectl get csr`, `kubectl certificate approve`. */
async function approve(member: Member): Promise<void> {
  await expect.poll(() => cluster().approveServing(member.options.nodeName), { timeout: 20_000 }).toBe(true);
  await expect
    .poll(() => member.log.lines.map(({ msg }) => msg), { timeout: 20_000 })
    .toContain('serving certificate approved');
}

interface Answer {
  status: number;
  text: string;
}

async function ask(member: Member, path: string, tls: https.RequestOptions, method = 'GET'): Promise<Answer> {
  const agent = new https.Agent();
  try {
    const request = https.request({
      host: '127.0.0.1',
      port: member.membership.kubeletPort,
      path,
      method,
      rejectUnauthorized: false,
      agent,
      ...tls,
    });
    request.end();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return { status: response.statusCode ?? 0, text: Buffer.concat(await response.toArray()).toString() };
  } finally {
    agent.destroy();
  }
}

async function apiServer(): Promise<{ cert: Buffer; key: Buffer }> {
  const pki = join(cluster().directory, 'pki');
  return {
    cert: await readFile(join(pki, 'kubelet-client.crt')),
    key: await readFile(join(pki, 'kubelet-client.key')),
  };
}

test('kubectl logs shows the lines, the last ones, and follows', async () => {
  const logs = new WrittenLogs();
  await using member = await becomeMember(cluster(), { nodeName: 'loam-logs', logs });
  await member.membership.joined;
  await bind('talks', 'loam-logs');
  logs.write('one');
  logs.write('two');
  logs.write('three');
  // Nobody has approved the node yet, and the API server verifies it.
  await expect(cluster().kubectl('logs', 'talks')).rejects.toThrow(/certificate/);
  await approve(member);
  expect(await cluster().kubectl('logs', 'talks')).toBe('one\ntwo\nthree\n');
  expect(await cluster().kubectl('logs', 'talks', '--tail=2', '--timestamps', '--since=1h', '--limit-bytes=1000')).toBe(
    'two\nthree\n',
  );
  const [, second] = logs.asked;
  expect(second?.ref).toEqual({ namespace: 'default', pod: 'talks', container: 'c' });
  expect(second?.options).toMatchObject({
    follow: false,
    tailLines: 2,
    timestamps: true,
    limitBytes: 1000,
    previous: false,
  });
  expect(Math.abs((second?.options.since?.getTime() ?? 0) - (Date.now() - 3_600_000))).toBeLessThan(30_000);

  const follower = cluster().startKubectl('logs', '-f', '--tail=1', 'talks');
  let seen = '';
  follower.stdout.on('data', (bytes: Buffer) => (seen += bytes.toString()));
  await expect.poll(() => seen, { timeout: 10_000 }).toBe('three\n');
  logs.write('four');
  await expect.poll(() => seen, { timeout: 10_000 }).toBe('three\nfour\n');
  const left = logs.left;
  follower.kill();
  await expect.poll(() => logs.left, { timeout: 10_000 }).toBe(left + 1);

  const last = cluster().startKubectl('logs', '-f', '--tail=0', 'talks');
  await expect.poll(() => logs.asked.length, { timeout: 10_000 }).toBe(4);
  logs.end();
  const [code] = (await once(last, 'exit')) as [number];
  expect(code).toBe(0);
});

test('kubectl logs says why there is no log', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-nologs', logs: new WrittenLogs() });
  await member.membership.joined;
  await bind('silent', 'loam-nologs');
  await approve(member);
  await expect(cluster().kubectl('logs', 'silent')).rejects.toThrow('there is no pod default/silent on this node');
  await expect(cluster().kubectl('logs', 'silent', '--previous')).rejects.toThrow(
    'container c of pod silent has no earlier run',
  );
});

test('an approval given while the agent was away is found', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-approved', logs: new WrittenLogs() });
  await member.membership.joined;
  await expect
    .poll(() => member.log.lines.map(({ msg }) => msg), { timeout: 10_000 })
    .toContain('kubectl logs needs somebody to approve this node');
  await member.membership[Symbol.asyncDispose]();
  expect(await cluster().approveServing('loam-approved')).toBe(true);
  const { ClusterMembership } = await import('../../src/cluster/membership.ts');
  await using again = await ClusterMembership.join(member.options, new AbortController().signal);
  await again.joined;
  await expect
    .poll(() => member.log.lines.map(({ msg }) => msg), { timeout: 10_000 })
    .toContain('serving certificate approved');
});

test('who shows no certificate of the cluster is refused', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-door' });
  await member.membership.joined;
  const refused = { status: 401, text: "Unauthorized: show a client certificate of this node's cluster\n" };
  expect(await ask(member, '/healthz', {})).toEqual(refused);
  expect(await ask(member, '/containerLogs/default/talks/c', {})).toEqual(refused);
  // The right names on a certificate of another authority.
  const other = await serverIdentity('127.0.0.1');
  expect(await ask(member, '/healthz', { cert: other.certificate, key: other.key })).toEqual(refused);
  // A bearer token counts for nothing.
  expect(await ask(member, '/pods', { headers: { authorization: 'Bearer aaaaaa.bbbbbbbbbbbbbbbb' } })).toEqual(refused);
});

test('who is known but not allowed is refused', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-allowed' });
  await member.membership.joined;
  const identity = await loadIdentity(member.options.stateDirectory, 'loam-allowed');
  if (identity === undefined) throw new Error('no identity');
  // A node, also this one, may not read the logs of a node.
  const answer = await ask(member, '/containerLogs/default/talks/c', { cert: identity.certificate, key: identity.key });
  expect(answer.status).toBe(403);
  expect(answer.text).toContain('user=system:node:loam-allowed, verb=get, resource=nodes, subresource(s)=[proxy]');
});

test('serves the API server health and pods, and says what it does not serve', async () => {
  const running = [{ metadata: { name: 'talks' } }];
  await using member = await becomeMember(cluster(), { nodeName: 'loam-serves', runningPods: () => running });
  await member.membership.joined;
  const identity = await apiServer();
  expect(await ask(member, '/healthz', identity)).toEqual({ status: 200, text: 'ok\n' });
  expect(JSON.parse((await ask(member, '/pods', identity)).text)).toMatchObject({ kind: 'PodList', items: running });
  expect(await ask(member, '/exec/default/talks/c?command=ls', identity)).toEqual({
    status: 404,
    text: 'this node does not serve /exec\n',
  });
  expect((await ask(member, '/healthz', identity, 'POST')).status).toBe(405);
  expect(await ask(member, '/containerLogs/default/talks/c?tailLines=many', identity)).toEqual({
    status: 400,
    text: 'tailLines must be a whole number of at least 0\n',
  });
  expect((await ask(member, '/containerLogs/default/../x', identity)).status).toBe(400);
  expect((await ask(member, '/containerLogs/default/talks/c%2f..%2fd', identity)).status).toBe(400);
  expect((await ask(member, `/healthz?${'x'.repeat(20_000)}`, identity)).status).toBe(431);
});

test('a new certificate is shown to new connections, and the open ones stay', async () => {
  const logs = new WrittenLogs();
  await using member = await becomeMember(cluster(), { nodeName: 'loam-swap', logs });
  await member.membership.joined;
  logs.write('before');
  const identity = await apiServer();
  const options = { host: '127.0.0.1', port: member.membership.kubeletPort, rejectUnauthorized: false, ...identity };
  const request = https.get({ ...options, path: '/containerLogs/default/talks/c?follow=true', agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  let seen = '';
  response.on('data', (bytes: Buffer) => (seen += bytes.toString()));
  await approve(member);
  logs.write('after');
  await expect.poll(() => seen, { timeout: 10_000 }).toBe('before\nafter\n');
  response.destroy();
  // Verified now: by the cluster's authority, for the address.
  const socket = connect({
    host: '127.0.0.1',
    port: member.membership.kubeletPort,
    ca: await readFile(cluster().clientCa),
    servername: 'loam-swap',
    ...identity,
  });
  await once(socket, 'secureConnect');
  expect(socket.authorized).toBe(true);
  expect(socket.getPeerCertificate().subjectaltname).toContain(`IP Address:${hostAddress}`);
  socket.destroy();
});
