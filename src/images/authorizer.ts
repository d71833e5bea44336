import type { Credentials } from './credentials.ts';
import { readBody, type HttpSession } from './http-session.ts';

/** How a registry wants to be asked, from its `WWW-Authenticate`. */
export type Challenge =
  | { readonly scheme: 'basic' }
  | {
      readonly scheme: 'bearer';
      readonly realm: string;
      readonly service: string | undefined;
      readonly scope: string | undefined;
    };

/** Undefined when it asks for something we don't know. */
export function parseChallenge(header: string | undefined): Challenge | undefined {
  const [, scheme, rest = ''] = /^\s*(basic|bearer)\b(.*)$/is.exec(header ?? '') ?? [];
  if (scheme?.toLowerCase() === 'basic') return { scheme: 'basic' };
  const parameters = new Map<string, string>();
  for (const match of rest.matchAll(/(?<![a-z])([a-z]+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))/gi)) {
    parameters.set((match[1] ?? '').toLowerCase(), match[2] ?? match[3] ?? '');
  }
  const realm = parameters.get('realm');
  if (scheme?.toLowerCase() !== 'bearer' || realm === undefined) return undefined;
  return { scheme: 'bearer', realm, service: parameters.get('service'), scope: parameters.get('scope') };
}

const maxTokenBytes = 64 << 10;

/**
 * Answers a registry's challenge: the value of `Authorization`, or undefined when we have nothing to say. A token comes
 * from the realm the registry names, which gets the credentials and must be as safe as the registry itself.
 */
export async function answerChallenge(
  challenge: Challenge,
  session: HttpSession,
  registry: URL,
  scope: string,
  credentials: Credentials | undefined,
): Promise<string | undefined> {
  const basic = credentials === undefined ? undefined : basicHeader(credentials);
  if (challenge.scheme === 'basic') return basic;
  const url = new URL(challenge.realm, registry);
  if (url.protocol !== 'https:' && registry.protocol === 'https:')
    throw new Error(`its tokens come from ${url.host} without HTTPS`);
  if (challenge.service !== undefined) url.searchParams.set('service', challenge.service);
  url.searchParams.set('scope', challenge.scope ?? scope);
  const answer = await session.send(url, {
    method: 'GET',
    headers: basic === undefined ? {} : { authorization: basic },
  });
  const body = await readBody(answer, maxTokenBytes);
  if (answer.status !== 200 || body === undefined) return undefined;
  const token = tokenIn(body);
  return token === undefined ? undefined : `Bearer ${token}`;
}

function basicHeader({ username, password }: Credentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function tokenIn(body: Buffer): string | undefined {
  try {
    const { token, access_token: accessToken } = JSON.parse(body.toString()) as Record<string, unknown>;
    const found = token ?? accessToken;
    return typeof found === 'string' && /^[\x21-\x7e]+$/.test(found) ? found : undefined;
  } catch {
    return undefined;
  }
}
