import http from 'node:http';
import https from 'node:https';
import { rootCertificates } from 'node:tls';

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Where the answer came from, after redirects. */
  readonly url: URL;
  /** To be read to its end or destroyed. */
  readonly body: http.IncomingMessage;
}

export interface HttpSessionOptions {
  /** PEM of certificate authorities besides the usual ones. */
  readonly ca?: string;
  readonly signal: AbortSignal;
  /** A connection silent for so long is given up. @default 30_000 */
  readonly idleMs?: number;
}

const maxRedirects = 5;

/**
 * HTTP for one pull or push: connections kept alive between its requests and closed with it. Not `fetch`, which would
 * bring a second HTTP stack into an agent that has this one loaded, and takes no CA. Proxies come from the environment.
 */
export class HttpSession implements Disposable {
  readonly #options: HttpSessionOptions;
  readonly #http: http.Agent;
  readonly #https: https.Agent;

  constructor(options: HttpSessionOptions) {
    this.#options = options;
    const { ca } = options;
    const agent = { keepAlive: true, maxSockets: 4, proxyEnv: process.env };
    this.#http = new http.Agent(agent);
    this.#https = new https.Agent({ ...agent, ...(ca === undefined ? {} : { ca: [...rootCertificates, ca] }) });
  }

  /**
   * Sends a request and follows redirects, without its credentials to another host and never from HTTPS to HTTP.
   * Rejects with the system's error when there is no answer.
   */
  async send(url: URL, request: HttpRequest): Promise<HttpAnswer> {
    let target = url;
    let headers = request.headers ?? {};
    for (let redirects = 0; ; redirects += 1) {
      const answer = await this.#once(target, { ...request, headers });
      const location = answer.headers.location;
      if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) return answer;
      discard(answer);
      const next = new URL(location, target);
      if (redirects >= maxRedirects) throw new Error(`more than ${maxRedirects} redirects`);
      if (next.protocol !== 'https:' && (next.protocol !== 'http:' || target.protocol === 'https:')) {
        throw new Error(`a redirect to ${next.protocol}//${next.host}, which is not HTTPS`);
      }
      if (next.host !== target.host)
        headers = Object.fromEntries(
          Object.entries(headers).filter(([name]) => name.toLowerCase() !== 'authorization'),
        );
      target = next;
    }
  }

  [Symbol.dispose](): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  #once(url: URL, { method, headers, body }: HttpRequest): Promise<HttpAnswer> {
    const { signal, idleMs = 30_000 } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
    const secure = url.protocol === 'https:';
    const request = (secure ? https : http).request(url, {
      method,
      headers: { 'user-agent': 'loamlet', ...headers },
      agent: secure ? this.#https : this.#http,
      signal,
      maxHeaderSize: 32 << 10,
    });
    request.setTimeout(idleMs, () => request.destroy(new Error(`no answer for ${idleMs / 1000} s`)));
    // Also after the answer, when it is the body's reader who is told.
    request.on('error', reject);
    request.once('response', (message) => {
      resolve({ status: message.statusCode ?? 0, headers: message.headers, url, body: message });
    });
    request.end(body);
    return promise;
  }
}

/** Lets go of a body that nobody wants, so that the connection is free. */
export function discard({ body }: HttpAnswer): void {
  body.on('error', () => undefined).resume();
}

/** Reads a body of at most so many bytes; undefined when it has more. */
export async function readBody({ body }: HttpAnswer, maxBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
