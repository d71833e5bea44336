/** Who can reach the kubelet port, with and without a certificate. */
import 'reflect-metadata';
import { once } from 'node:events';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import * as x509 from '@peculiar/x509';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Authorizer } from '../../../src/kubelet/authorizer.ts';
import { KubeletServer } from '../../../src/kubelet/server.ts';
import { serverIdentity } from '../../support/certificates.ts';
import { TestLog } from '../../support/test-log.ts';

/** A certificate that signs itself: its own authority and its client at once. */
async function clientIdentity(subject: string): Promise<{ cert: string; key: string }> {
  x509.cryptoProvider.set(crypto);
  const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    name: subject,
    keys,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
  });
  const key = x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY');
  return { cert: cert.toString('pem'), key };
}

const log = new TestLog();
const asked: string[] = [];
const opened: string[] = [];
let server: KubeletServer;
let ca: string;
let known: { cert: string; key: string };
let stranger: { cert: string; key: string };

beforeAll(async () => {
  const identity = await serverIdentity('127.0.0.1');
  known = await clientIdentity('CN=reader,O=readers');
  stranger = await clientIdentity('CN=reader,O=readers');
  ca = identity.ca;
  server = await KubeletServer.open({
    host: '127.0.0.1',
    port: 0,
    certificate: identity.certificate,
    key: identity.key,
    clientCa: known.cert,
    // May read metrics alone.
    authorizer: new Authorizer((caller, verb, subresource) => {
      asked.push(`${caller.user} ${verb} ${subresource}`);
      return Promise.resolve(subresource === 'metrics');
    }),
    logs: {
      open: (ref) => {
        opened.push(JSON.stringify(ref));
        return Promise.reject(new Error('secret of the inside\n    at server.ts:1:1'));
      },
    },
    pods: () => ['secret'],
    log: log.log,
  });
});
afterAll(() => server[Symbol.asyncDispose]());

/** Sends bytes as they are; all that comes until the server ends the connection. */
async function say(text: string, options: ConnectionOptions = known): Promise<string> {
  const socket: TLSSocket = connect({ port: server.port, host: '127.0.0.1', ca, ...options });
  socket.on('error', () => {});
  let answer = '';
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
  await once(socket, 'secureConnect');
  // Not `once`: a reset is an end too.
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write(text);
  await closed;
  return answer;
}
const get = (path: string, options?: ConnectionOptions): Promise<string> =>
  say(`GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`, options);

it.each([
  ['no certificate', () => ({})],
  ['a certificate of the same name by another authority', () => stranger],
])('%s gets nothing, and no connection to keep', async (_, options) => {
  const answer = await say('GET /pods HTTP/1.1\r\nhost: x\r\n\r\n', options());
  expect(answer).toMatch(/^HTTP\/1\.1 401 /);
  expect(answer).not.toContain('secret');
  expect(asked).toEqual([]);
});

it.each([
  '/metrics/../pods',
  '/metrics/%2e%2e/pods',
  '/metrics/..%2fpods',
  '/metrics/.%2e/containerLogs/a/b/c',
  '/metrics\\..\\pods',
  '//pods',
  '/./pods',
  '/pods/',
  '/%70ods',
  '/metrics/cadvisor',
  '/metrics?/pods',
  '/containerLogs/a/b/c',
  '/containerLogs/a/../b',
  '/containerLogs/a/%2e%2e/b',
  '/containerLogs/a%2fb/c/d',
  'https://x/pods',
  '*',
])('who may read metrics gets no pods and no logs by %s', async (path) => {
  const answer = await get(path);
  expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /);
  expect(answer).not.toMatch(/secret|\.ts:/);
  expect(opened).toEqual([]);
});

it.each([
  ['a head without end', `GET /pods HTTP/1.1\r\nx: ${'a'.repeat(64 << 10)}`],
  [
    'a name in two lengths',
    'POST /pods HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n',
  ],
  ['no HTTP', '\0\x01\x02 nonsense\r\n\r\n'],
  ['a target without end', `GET /${'a'.repeat(8_000)} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`],
])('%s ends with a plain answer', async (_, text) => {
  const answer = await say(text);
  // Whoever still writes may hear of the end before the answer.
  expect(answer).toMatch(/^(HTTP\/1\.1 4\d\d |$)/);
  expect(answer).not.toMatch(/secret|\.ts:|\.js:/);
});
