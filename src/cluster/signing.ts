import { Backoff } from './retry.ts';
import type { ApiClient } from './api-client.ts';
import { ClusterError, hasCode, isTransient } from './errors.ts';

export type Signer = 'kubernetes.io/kube-apiserver-client-kubelet' | 'kubernetes.io/kubelet-serving';

const path = '/apis/certificates.k8s.io/v1/certificatesigningrequests';

interface SigningRequest {
  readonly metadata: { readonly name: string };
  readonly status?: {
    readonly certificate?: string;
    readonly conditions?: ReadonlyArray<{ type: string; reason?: string; message?: string }>;
  };
}

/** Files a certificate request with the cluster; resolves to its name. */
export async function fileRequest(
  client: ApiClient,
  signer: Signer,
  pem: string,
  signal: AbortSignal,
): Promise<string> {
  const serving = signer === 'kubernetes.io/kubelet-serving';
  const body = {
    apiVersion: 'certificates.k8s.io/v1',
    kind: 'CertificateSigningRequest',
    metadata: { generateName: serving ? 'node-serving-' : 'node-csr-' },
    spec: {
      signerName: signer,
      request: Buffer.from(pem).toString('base64'),
      usages: ['digital signature', serving ? 'server auth' : 'client auth'],
    },
  };
  return (await client.post<SigningRequest>(path, body, { signal })).metadata.name;
}

/**
 * Waits for the certificate of a request, asking again after 0.25 s to 10 s.
 * @returns the chain in PEM
 * @throws ClusterError CertificateDenied; CertificatePending after `limitMs`; ApiNotFound when the request is gone
 */
export async function awaitCertificate(
  client: ApiClient,
  name: string,
  limitMs: number,
  signal: AbortSignal,
): Promise<string> {
  const limit = AbortSignal.timeout(limitMs);
  const backoff = new Backoff(250, 10_000);
  while (!limit.aborted) {
    const request = await getRequest(client, name, signal);
    if (request?.status?.certificate !== undefined)
      return Buffer.from(request.status.certificate, 'base64').toString('utf8');
    const refusal = request?.status?.conditions?.find(({ type }) => type === 'Denied' || type === 'Failed');
    if (refusal !== undefined) {
      throw new ClusterError(
        'CertificateDenied',
        `the certificate request ${name} was refused (${refusal.message || refusal.reason})`,
        {
          remedy: 'ask who runs the cluster; a new request follows',
        },
      );
    }
    await backoff.wait(signal);
  }
  throw new ClusterError(
    'CertificatePending',
    `nobody approved the certificate request ${name} in ${Math.round(limitMs / 1000)} s`,
    {
      remedy: `kubectl certificate approve ${name}`,
    },
  );
}

async function getRequest(client: ApiClient, name: string, signal: AbortSignal): Promise<SigningRequest | undefined> {
  try {
    return await client.get<SigningRequest>(`${path}/${name}`, { signal });
  } catch (error) {
    signal.throwIfAborted();
    if (isTransient(error) && !hasCode(error, 'ApiNotFound')) return undefined;
    throw error;
  }
}
