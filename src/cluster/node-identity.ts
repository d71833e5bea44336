import { join } from 'node:path';
import type { ClusterAddress } from './api-access.ts';
import { inspect, type CertificateFacts, type KeyedCertificate } from './certificate.ts';
import { readIfThere, writePrivateFile } from './private-file.ts';

/** The node's client certificate and the cluster it is for. */
export interface NodeIdentity extends KeyedCertificate {
  readonly address: ClusterAddress;
  readonly facts: CertificateFacts;
  /** SHA-256 of the bootstrap kubeconfig it came from; another one may name another cluster. */
  readonly origin: string | undefined;
}

/**
 * Where the identity is kept: a kubeconfig (written as JSON, which is YAML), so that `kubectl --kubeconfig` can use it
 * to look at a problem, and so that one rename replaces all of it.
 */
export function identityPath(stateDirectory: string): string {
  return join(stateDirectory, 'pki', 'node.kubeconfig');
}

/** The stored identity of this node, or undefined when there is none, it is another node's, has expired or is damaged. */
export async function loadIdentity(stateDirectory: string, nodeName: string): Promise<NodeIdentity | undefined> {
  const text = await readIfThere(identityPath(stateDirectory));
  if (text === undefined) return undefined;
  try {
    const stored = JSON.parse(text) as ReturnType<typeof toKubeconfig>;
    const { cluster } = stored.clusters[0];
    const { user } = stored.users[0];
    const identity = toIdentity(
      {
        server: cluster.server,
        ca: cluster['certificate-authority-data'] && decode(cluster['certificate-authority-data']),
        tlsServerName: cluster['tls-server-name'],
      },
      { certificate: decode(user['client-certificate-data']), key: decode(user['client-key-data']) },
      stored.extensions?.[0]?.extension.sha256,
    );
    // A certificate of the future is ours all the same: it is the clock that isn't set yet.
    const usable =
      identity.facts.commonName === `system:node:${nodeName}` && identity.facts.notAfter.getTime() > Date.now();
    return usable ? identity : undefined;
  } catch {
    return undefined;
  }
}

export async function saveIdentity(stateDirectory: string, identity: NodeIdentity): Promise<void> {
  await writePrivateFile(identityPath(stateDirectory), `${JSON.stringify(toKubeconfig(identity), undefined, 2)}\n`);
}

export function toIdentity(address: ClusterAddress, pair: KeyedCertificate, origin: string | undefined): NodeIdentity {
  return { address, ...pair, facts: inspect(pair), origin };
}

function toKubeconfig({ address, certificate, key, origin }: NodeIdentity) {
  const cluster = {
    server: address.server,
    'certificate-authority-data': address.ca === undefined ? undefined : encode(address.ca),
    'tls-server-name': address.tlsServerName,
  };
  const user = { 'client-certificate-data': encode(certificate), 'client-key-data': encode(key) };
  return {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'cluster', cluster }] as const,
    users: [{ name: 'node', user }] as const,
    contexts: [{ name: 'node', context: { cluster: 'cluster', user: 'node' } }],
    'current-context': 'node',
    extensions: origin === undefined ? undefined : [{ name: 'loamlet.dev/bootstrap', extension: { sha256: origin } }],
  };
}

const encode = (text: string): string => Buffer.from(text).toString('base64');
const decode = (text: string): string => Buffer.from(text, 'base64').toString('utf8');
