import { readFile } from 'node:fs/promises';
import { errorLine } from '../base/errors.ts';
import { ImageError } from './errors.ts';

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/**
 * The credentials of a registry in a docker config.json, as `docker login` or a pull secret has them: base64 in `auth`,
 * or `username` and `password`. Undefined when it has none for this registry.
 * @throws ImageError ErrImagePull for a file that can't be read
 */
export async function readCredentials(file: string, registry: string): Promise<Credentials | undefined> {
  let config: unknown;
  try {
    config = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    // The parser's message would quote the file, and with it a password.
    const why = error instanceof SyntaxError ? 'is no JSON' : errorLine(error);
    throw new ImageError('ErrImagePull', `registry credentials in ${file} can't be read: ${why}`, {
      remedy: 'mend the file, or make it anew with docker login',
    });
  }
  return credentialsFor(config, registry);
}

export function credentialsFor(config: unknown, registry: string): Credentials | undefined {
  const auths = field(config, 'auths');
  if (typeof auths !== 'object' || auths === null) return undefined;
  for (const [key, entry] of Object.entries(auths)) {
    if (hostOf(key) === hostOf(registry)) return credentialsIn(entry);
  }
  return undefined;
}

function credentialsIn(entry: unknown): Credentials | undefined {
  const auth = field(entry, 'auth');
  if (typeof auth === 'string' && auth !== '') {
    const text = Buffer.from(auth, 'base64').toString();
    const colon = text.indexOf(':');
    return colon < 0 ? undefined : { username: text.slice(0, colon), password: text.slice(colon + 1) };
  }
  const username = field(entry, 'username');
  const password = field(entry, 'password');
  return typeof username === 'string' && typeof password === 'string' ? { username, password } : undefined;
}

/** `https://index.docker.io/v1/` and `docker.io` are one registry. */
function hostOf(key: string): string {
  const host = key
    .replace(/^https?:\/\//, '')
    .replace(/\/.*$/, '')
    .toLowerCase();
  return ['docker.io', 'index.docker.io'].includes(host) ? 'registry-1.docker.io' : host;
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}
