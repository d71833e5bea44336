import { createHash } from 'node:crypto';
import { errorLine } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import { certificateAccess, type ClusterAddress } from './api-access.ts';
import { ApiClient, type ApiAccess } from './api-client.ts';
import { renewalTime } from './certificate.ts';
import { certificateRequest } from './errand/errand.ts';
import { ClusterError, hasCode } from './errors.ts';
import { readKubeconfig, readKubeconfigForOnce } from './kubeconfig.ts';
import { loadIdentity, saveIdentity, toIdentity, type NodeIdentity } from './node-identity.ts';
import { readIfThere } from './private-file.ts';
import { Backoff, sleepUntil } from './retry.ts';
import { awaitCertificate, fileRequest } from './signing.ts';

export interface CredentialOptions {
  readonly nodeName: string;
  readonly stateDirectory: string;
  /** Path of a kubeconfig with a bootstrap token. */
  readonly bootstrapKubeconfig?: string | undefined;
  /** Path of a kubeconfig with the node's own credentials; then nothing is requested, stored or renewed. */
  readonly kubeconfig?: string | undefined;
  /** How long to wait for somebody to approve the node. @default 15 minutes */
  readonly approvalLimitMs?: number | undefined;
  readonly log: Logger;
}

/**
 * Makes this machine a known client of the cluster: with the certificate of an earlier start, else by TLS bootstrap.
 * One attempt; the caller tries again, and the bootstrap kubeconfig is read anew each time so that a fresh token helps.
 * @returns also the identity to keep renewed; undefined where a kubeconfig is the operator's own
 * @throws ClusterError
 */
export async function obtainAccess(
  options: CredentialOptions,
  signal: AbortSignal,
): Promise<{ access: ApiAccess; identity: NodeIdentity | undefined }> {
  if (options.kubeconfig !== undefined) {
    return { access: (await readKubeconfig(options.kubeconfig)).access, identity: undefined };
  }
  const identity = (await storedIdentity(options)) ?? (await bootstrap(options, signal));
  return { access: certificateAccess(identity.address, identity), identity };
}

/** The API server and its CA as far as they are known before any request. @throws ClusterError KubeconfigInvalid */
export async function clusterAddress(options: CredentialOptions): Promise<ClusterAddress> {
  if (options.kubeconfig !== undefined) return (await readKubeconfig(options.kubeconfig)).address;
  const identity = await storedIdentity(options);
  if (identity !== undefined) return identity.address;
  return (await readBootstrap(options)).address;
}

/**
 * Renews the certificate at 70 to 90 % of its life for as long as the signal allows, and lets the client use it.
 * Once it has expired, only the bootstrap token helps; both ways are tried again with growing delays, up to 10 minutes.
 */
export async function keepRenewed(
  client: ApiClient,
  first: NodeIdentity,
  options: CredentialOptions,
  signal: AbortSignal,
): Promise<void> {
  let identity = first;
  const backoff = new Backoff(5_000, 600_000);
  for (;;) {
    await sleepUntil(renewalTime(identity.facts), signal);
    backoff.reset();
    for (;;) {
      try {
        const expired = identity.facts.notAfter.getTime() <= Date.now();
        const address = identity.address;
        identity = expired ? await bootstrap(options, signal) : await requestIdentity(client, address, options, signal);
        break;
      } catch (error) {
        signal.throwIfAborted();
        options.log.warn(
          { error: errorLine(error), expires: identity.facts.notAfter },
          'client certificate not renewed',
        );
        await backoff.wait(signal);
      }
    }
    client.use(certificateAccess(identity.address, identity));
    options.log.info({ expires: identity.facts.notAfter }, 'client certificate renewed');
  }
}

/** The identity of an earlier start, unless the operator has since pointed the node to another cluster. */
async function storedIdentity(options: CredentialOptions): Promise<NodeIdentity | undefined> {
  const identity = await loadIdentity(options.stateDirectory, options.nodeName);
  const origin = await fingerprint(options.bootstrapKubeconfig);
  // The file may be gone by now: it has done its work.
  if (identity === undefined || origin === undefined || origin === identity.origin) return identity;
  const { address } = await readBootstrap(options);
  if (address.server !== identity.address.server || address.ca !== identity.address.ca) return undefined;
  await saveIdentity(options.stateDirectory, { ...identity, origin });
  return identity;
}

async function fingerprint(path: string | undefined): Promise<string | undefined> {
  const text = path === undefined ? undefined : await readIfThere(path);
  return text === undefined ? undefined : createHash('sha256').update(text).digest('hex');
}

async function bootstrap(options: CredentialOptions, signal: AbortSignal): Promise<NodeIdentity> {
  const { address, access, path } = await readBootstrap(options);
  const client = new ApiClient(access);
  try {
    const identity = await requestIdentity(client, address, options, signal);
    options.log.info({ expires: identity.facts.notAfter }, 'joined with the bootstrap token');
    return identity;
  } catch (error) {
    if (!hasCode(error, 'ApiUnauthorized')) throw error;
    throw new ClusterError('ApiUnauthorized', `the bootstrap token in ${path} is wrong or has expired`, {
      cause: error,
      remedy: 'make a new one (kubeadm token create) and put it into the file; it is read again at each try',
    });
  } finally {
    client.close();
  }
}

async function readBootstrap(options: CredentialOptions) {
  const path = options.bootstrapKubeconfig;
  if (path === undefined) {
    throw new ClusterError(
      'KubeconfigInvalid',
      `there is no valid certificate for node ${options.nodeName} in ${options.stateDirectory}, and no way to get one`,
      {
        remedy: 'set cluster.bootstrapKubeconfig',
      },
    );
  }
  const { address, access, special } = await readKubeconfigForOnce(path);
  if (special !== undefined) {
    throw new ClusterError(
      'KubeconfigInvalid',
      `the kubeconfig ${path} says ${special}, which does not go with a certificate of the node's own`,
      {
        remedy: 'leave it out and give certificate-authority-data, or use cluster.kubeconfig',
      },
    );
  }
  return { address, access, path };
}

async function requestIdentity(
  client: ApiClient,
  address: ClusterAddress,
  options: CredentialOptions,
  signal: AbortSignal,
): Promise<NodeIdentity> {
  const { pem, key } = await certificateRequest(options.nodeName);
  const name = await fileRequest(client, 'kubernetes.io/kube-apiserver-client-kubelet', pem, signal);
  options.log.debug({ request: name }, 'client certificate requested');
  const certificate = await awaitCertificate(client, name, options.approvalLimitMs ?? 900_000, signal);
  const identity = toIdentity(address, { certificate, key }, await fingerprint(options.bootstrapKubeconfig));
  await saveIdentity(options.stateDirectory, identity);
  return identity;
}
