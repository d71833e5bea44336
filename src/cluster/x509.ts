import type { webcrypto } from 'node:crypto';
import type * as X509 from '@peculiar/x509';

/**
 * Makes keys, certificate requests and self-signed certificates: ECDSA P-256, SHA-256. The library behind it (9 MB of
 * memory) is loaded at the first call; reading certificates is node:crypto's work and needs none of it.
 */

export interface SubjectAlternatives {
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
}

export interface KeyedPem {
  /** PEM, of the request or the certificate. */
  readonly pem: string;
  /** PKCS#8 PEM. */
  readonly key: string;
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** A PKCS#10 request of a node: `O=system:nodes, CN=system:node:<name>`. */
export async function certificateRequest(nodeName: string, names?: SubjectAlternatives): Promise<KeyedPem> {
  const x509 = await load();
  const keys = await generate();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: nodeSubject(nodeName),
    keys,
    signingAlgorithm: algorithm,
    extensions: names === undefined ? [] : [new x509.SubjectAlternativeNameExtension(generalNames(names))],
  });
  return { pem: request.toString('pem'), key: await exportKey(keys.privateKey) };
}

/** Stands in until a certificate is approved; valid for a year. */
export async function selfSigned(nodeName: string, names: SubjectAlternatives): Promise<KeyedPem> {
  const x509 = await load();
  const keys = await generate();
  const now = Date.now();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: nodeSubject(nodeName),
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(now - 300_000),
    notAfter: new Date(now + 365 * 86_400_000),
    extensions: [
      new x509.SubjectAlternativeNameExtension(generalNames(names)),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
    ],
  });
  return { pem: certificate.toString('pem'), key: await exportKey(keys.privateKey) };
}

async function load(): Promise<typeof X509> {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  x509.cryptoProvider.set(crypto);
  return x509;
}

function nodeSubject(nodeName: string): Array<Record<string, string[]>> {
  return [{ O: ['system:nodes'] }, { CN: [`system:node:${nodeName}`] }];
}

function generalNames({ dnsNames, ipAddresses }: SubjectAlternatives): Array<{ type: 'dns' | 'ip'; value: string }> {
  return [
    ...dnsNames.map((value) => ({ type: 'dns' as const, value })),
    ...ipAddresses.map((value) => ({ type: 'ip' as const, value })),
  ];
}

async function generate(): Promise<webcrypto.CryptoKeyPair> {
  return await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
}

async function exportKey(key: CryptoKey): Promise<string> {
  const der = Buffer.from(await crypto.subtle.exportKey('pkcs8', key)).toString('base64');
  return `-----BEGIN PRIVATE KEY-----\n${der.replaceAll(/.{64}(?=.)/g, '$&\n')}\n-----END PRIVATE KEY-----\n`;
}
