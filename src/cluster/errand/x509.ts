import 'reflect-metadata';
import type { webcrypto } from 'node:crypto';
import {
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';

import type { KeyedPem, SubjectAlternatives } from './errand.ts';

/** Makes keys, certificate requests and self-signed certificates: ECDSA P-256, SHA-256. Loaded by the child alone. */

cryptoProvider.set(crypto);

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** A PKCS#10 request of a node: `O=system:nodes, CN=system:node:<name>`. */
export async function certificateRequest(nodeName: string, names?: SubjectAlternatives): Promise<KeyedPem> {
  const keys = await generate();
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: nodeSubject(nodeName),
    keys,
    signingAlgorithm: algorithm,
    extensions: names === undefined ? [] : [new SubjectAlternativeNameExtension(generalNames(names))],
  });
  return { pem: request.toString('pem'), key: await exportKey(keys.privateKey) };
}

/** Stands in until a certificate is approved; valid for a year. */
export async function selfSigned(nodeName: string, names: SubjectAlternatives): Promise<KeyedPem> {
  const keys = await generate();
  const now = Date.now();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: nodeSubject(nodeName),
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(now - 300_000),
    notAfter: new Date(now + 365 * 86_400_000),
    extensions: [
      new SubjectAlternativeNameExtension(generalNames(names)),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
    ],
  });
  return { pem: certificate.toString('pem'), key: await exportKey(keys.privateKey) };
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
