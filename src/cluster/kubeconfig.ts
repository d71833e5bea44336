import { readFile } from 'node:fs/promises';
import https from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node';
import { errorLine } from '../base/errors.ts';
import { agentOptions, closeIdle, fixedAccess, type ClusterAddress } from './api-access.ts';
import type { ApiAccess } from './api-client.ts';
import { readKubeconfigOnce } from './errand/errand.ts';
import { ClusterError } from './errors.ts';

export interface Kubeconfig {
  readonly address: ClusterAddress;
  /** A proxy, or a server nobody vouches for: a certificate of the node's own could not be used this way. */
  readonly special: 'proxy-url' | 'insecure-skip-tls-verify' | undefined;
  readonly access: ApiAccess;
}

/**
 * Reads a kubeconfig for use over time: its plugins are asked again when their answer has expired. client-node is loaded
 * for it (15 MB of memory), so what is needed once goes through `readKubeconfigForOnce`.
 * @throws ClusterError KubeconfigInvalid
 */
export async function readKubeconfig(path: string): Promise<Kubeconfig> {
  try {
    const { config, address, special } = await loadKubeconfig(path);
    return { address, special, access: kubeconfigAccess(config, address.server, special === 'proxy-url') };
  } catch (error) {
    throw invalid(path, error);
  }
}

/** Reads a kubeconfig for the moment, in a short-lived child: nothing of it stays. @throws ClusterError KubeconfigInvalid */
export async function readKubeconfigForOnce(path: string): Promise<Kubeconfig> {
  try {
    const { server, ca, tlsServerName, special, headers, certificate, key } = await readKubeconfigOnce(path);
    const address = { server, ca, tlsServerName };
    const identity = certificate !== undefined && key !== undefined ? { certificate, key } : undefined;
    return { address, special, access: fixedAccess(address, identity, headers) };
  } catch (error) {
    throw invalid(path, error);
  }
}

/** What a kubeconfig says of its current context. @throws Error */
export async function loadKubeconfig(
  path: string,
): Promise<{ config: KubeConfig; address: ClusterAddress; special: Kubeconfig['special'] }> {
  const { KubeConfig } = await import('./client-node.ts');
  const config = new KubeConfig();
  config.loadFromFile(path);
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error(`its current-context '${config.getCurrentContext()}' names no cluster`);
  if (config.getCurrentUser() === null)
    throw new Error(`its current-context '${config.getCurrentContext()}' names no user`);
  const server = new URL(cluster.server);
  if (server.protocol !== 'https:') throw new Error(`its server ${cluster.server} is not https`);
  const ca =
    cluster.caData !== undefined
      ? Buffer.from(cluster.caData, 'base64').toString()
      : cluster.caFile && (await readFile(cluster.caFile, 'utf8'));
  return {
    config,
    address: { server: cluster.server, ca: ca || undefined, tlsServerName: cluster.tlsServerName },
    special:
      cluster.proxyUrl !== undefined ? 'proxy-url' : cluster.skipTLSVerify ? 'insecure-skip-tls-verify' : undefined,
  };
}

function invalid(path: string, error: unknown): ClusterError {
  return new ClusterError('KubeconfigInvalid', `the kubeconfig ${path} can't be used (${errorLine(error)})`, {
    cause: error,
    remedy: 'see cluster.bootstrapKubeconfig and cluster.kubeconfig in the configuration',
  });
}

function kubeconfigAccess(config: KubeConfig, server: string, proxied: boolean): ApiAccess {
  let agent: https.Agent | undefined;
  let shown = '';
  return {
    server,
    async authorize() {
      const options: https.RequestOptions = {};
      await config.applyToHTTPSOptions(options);
      const headers = plainHeaders(options);
      // Its own agents keep no connection; they are needed for proxies alone.
      if (proxied && options.agent) return { agent: options.agent as https.Agent, headers };
      const { ca, cert, key, servername, rejectUnauthorized, passphrase } = options;
      const showing = JSON.stringify([cert, key]);
      if (agent === undefined || showing !== shown) {
        const given = Object.entries({ ca, cert, key, servername, rejectUnauthorized, passphrase });
        agent = new https.Agent({
          ...agentOptions,
          ...Object.fromEntries(given.filter(([, value]) => value !== undefined)),
        });
        shown = showing;
      }
      return { agent, headers };
    },
    close: () => agent && closeIdle(agent),
  };
}

export function plainHeaders(options: https.RequestOptions): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {}))
    if (value !== undefined) headers[name] = String(value);
  if (options.auth) headers.authorization ??= `Basic ${Buffer.from(options.auth).toString('base64')}`;
  return headers;
}
