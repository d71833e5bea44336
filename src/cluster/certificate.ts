import { createPrivateKey, X509Certificate } from 'node:crypto';

/** A certificate with its key, both PEM; the first of a chain is its own. */
export interface KeyedCertificate {
  readonly certificate: string;
  readonly key: string;
}

export interface CertificateFacts {
  readonly commonName: string | undefined;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Lower case; IPv6 in the form of `X509Certificate.subjectAltName`. */
  coversHost(name: string): boolean;
  coversAddress(ip: string): boolean;
}

/** @throws Error when a part can't be read or the key is another's */
export function inspect({ certificate, key }: KeyedCertificate): CertificateFacts {
  const x509 = new X509Certificate(certificate);
  if (!x509.checkPrivateKey(createPrivateKey(key))) throw new Error('the key does not belong to the certificate');
  return {
    commonName: /^CN=(.*)$/m.exec(x509.subject)?.[1],
    notBefore: new Date(x509.validFrom),
    notAfter: new Date(x509.validTo),
    coversHost: (name) => x509.checkHost(name, { subject: 'never' }) !== undefined,
    coversAddress: (ip) => x509.checkIP(ip) !== undefined,
  };
}

/** When to renew: at 70 to 90 % of the lifetime, another moment for each node. */
export function renewalTime({ notBefore, notAfter }: CertificateFacts, random: () => number = Math.random): Date {
  const lifetime = notAfter.getTime() - notBefore.getTime();
  return new Date(notBefore.getTime() + lifetime * (0.7 + 0.2 * random()));
}
