import { readFile } from 'node:fs/promises';
import https from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node';
import { errorLine } from '../base/errors.ts';
import { agentOptions, closeIdle, type ClusterAddress } from './api-access.ts';
import type { ApiAccess } from './api-client.ts';
import { ClusterError } from './errors.ts';

export interface Kubeconfig {
  readonly address: ClusterAddress;
  /** A proxy, or a server nobody vouches for: a certificate of the node's own could not be used this way. */
  readonly special: 'proxy-url' | 'insecure-skip-tls-verify' | undefined;
  readonly access: ApiAccess;
}

/**
 * Reads a kubeconfig with everything it may say: token, certificate, exec plugin, proxy. client-node is loaded only
 * here (15 MB of memory), so a node that has its certificate already does without it.
 * @throws ClusterError KubeconfigInvalid
 */
export async function readKubeconfig(path: string): Promise<Kubeconfig> {
  try {
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
      address: { server: cluster.server, ca: ca || undefined, tlsServerName: cluster.tlsServerName },
      special:
        cluster.proxyUrl !== undefined ? 'proxy-url' : cluster.skipTLSVerify ? 'insecure-skip-tls-verify' : undefined,
      access: kubeconfigAccess(config, cluster.server, cluster.proxyUrl !== undefined),
    };
  } catch (error) {
    throw new ClusterError('KubeconfigInvalid', `the kubeconfig ${path} can't be used (${errorLine(error)})`, {
      cause: error,
      remedy: 'see cluster.bootstrapKubeconfig and cluster.kubeconfig in the configuration',
    });
  }
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

function plainHeaders(options: https.RequestOptions): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {}))
    if (value !== undefined) headers[name] = String(value);
  if (options.auth) headers.authorization ??= `Basic ${Buffer.from(options.auth).toString('base64')}`;
  return headers;
}
