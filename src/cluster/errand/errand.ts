/**
 * Rare work that needs large libraries: making keys and certificate requests, reading a kubeconfig with all that it may
 * say. It is done once in months, and its libraries would keep 20 MB for all that time, so a short-lived child does it.
 */
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { entryPoint } from '../../base/entry.ts';
import { LoamletError } from '../../base/errors.ts';

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

/** What a kubeconfig says, its plugins asked, good for one use. */
export interface KubeconfigOnce {
  readonly server: string;
  readonly ca?: string;
  readonly tlsServerName?: string;
  /** A proxy, or a server nobody vouches for: a certificate of the node's own could not be used this way. */
  readonly special?: 'proxy-url' | 'insecure-skip-tls-verify';
  readonly headers: Readonly<Record<string, string>>;
  readonly certificate?: string;
  readonly key?: string;
}

export type Errand =
  | { readonly type: 'request'; readonly nodeName: string; readonly names?: SubjectAlternatives }
  | { readonly type: 'self-signed'; readonly nodeName: string; readonly names: SubjectAlternatives }
  | { readonly type: 'kubeconfig'; readonly path: string };

export type ErrandAnswer = { readonly ok: unknown } | { readonly error: string };

/** A plugin of a kubeconfig may ask a person or a network. */
const timeoutMs = 60_000;

/** A PKCS#10 request of a node: `O=system:nodes, CN=system:node:<name>`, with a new P-256 key. */
export function certificateRequest(nodeName: string, names?: SubjectAlternatives): Promise<KeyedPem> {
  return run({ type: 'request', nodeName, ...(names && { names }) }) as Promise<KeyedPem>;
}

/** Stands in until a certificate is approved; valid for a year. */
export function selfSigned(nodeName: string, names: SubjectAlternatives): Promise<KeyedPem> {
  return run({ type: 'self-signed', nodeName, names }) as Promise<KeyedPem>;
}

/** @throws LoamletError `ErrandFailed` with the reason alone, for the caller to name the file */
export function readKubeconfigOnce(path: string): Promise<KubeconfigOnce> {
  return run({ type: 'kubeconfig', path }) as Promise<KubeconfigOnce>;
}

async function run(errand: Errand): Promise<unknown> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', entryPoint('errand')], {
    stdio: ['pipe', 'pipe', 'ignore'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  const failed = new Promise<never>((_, reject) => child.once('error', reject));
  child.stdin.on('error', () => {}); // it ended before it read: the missing answer says so
  child.stdin.end(JSON.stringify(errand));
  const answer = parseAnswer(await Promise.race([text(child.stdout), failed]));
  if ('ok' in answer) return answer.ok;
  throw new LoamletError('ErrandFailed', 'operator', answer.error);
}

function parseAnswer(line: string): ErrandAnswer {
  try {
    return JSON.parse(line) as ErrandAnswer;
  } catch {
    return { error: 'the child process ended without an answer' };
  }
}
