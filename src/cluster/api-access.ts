import https from 'node:https';
import type { ApiAccess } from './api-client.ts';

/** An API server and the CA that vouches for it. */
export interface ClusterAddress {
  readonly server: string;
  /** PEM; undefined: the machine's own authorities. */
  readonly ca: string | undefined;
  readonly tlsServerName: string | undefined;
}

/** As a client that shows a certificate: no more than Node's own TLS. */
export function certificateAccess(address: ClusterAddress, identity: { certificate: string; key: string }): ApiAccess {
  return fixedAccess(address, identity, {});
}

/** With credentials that do not change: a certificate, a token in the headers, or both. */
export function fixedAccess(
  address: ClusterAddress,
  identity: { certificate: string; key: string } | undefined,
  headers: Readonly<Record<string, string>>,
): ApiAccess {
  const agent = new https.Agent({
    ...agentOptions,
    ...(address.ca !== undefined && { ca: address.ca }),
    ...(address.tlsServerName !== undefined && { servername: address.tlsServerName }),
    ...(identity !== undefined && { cert: identity.certificate, key: identity.key }),
  });
  return {
    server: address.server,
    authorize: () => Promise.resolve({ agent, headers: { ...headers } }),
    close: () => closeIdle(agent),
  };
}

/** Few connections, kept: a heartbeat every 10 s shall not need a handshake. The watch has one of them for itself. */
export const agentOptions = { keepAlive: true, maxSockets: 8, maxFreeSockets: 2, timeout: 60_000 } as const;

export function closeIdle(agent: https.Agent): void {
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}
