import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import { systemCode } from '../base/errors.ts';
import { ClusterError, type ClusterErrorCode } from './errors.ts';

/** Who we are to an API server, and how it is reached. */
export interface ApiAccess {
  /** Like `https://10.0.0.1:6443`, a path allowed. */
  readonly server: string;
  /** For each request anew, since tokens and certificates change. */
  authorize(): Promise<{ readonly agent: http.Agent; readonly headers: Readonly<Record<string, string>> }>;
  /** Closes idle connections; requests under way end by themselves. */
  close(): void;
}

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface RequestOptions {
  readonly query?: Query;
  readonly signal?: AbortSignal | undefined;
  /** For the whole answer. @default 15_000 */
  readonly timeoutMs?: number;
}

export type PatchType = 'merge' | 'strategic-merge';

const maxAnswerBytes = 64 * 1024 * 1024;

/**
 * Requests to the API server as this node, in JSON. The generated classes of client-node would cost 11 MB of memory for
 * calls that are one line each here; its KubeConfig stays in charge of kubeconfigs and their credentials.
 *
 * Bounds: 15 s a request unless told otherwise, 64 MiB an answer.
 * @throws ClusterError from every method
 */
export class ApiClient {
  #access: ApiAccess;

  constructor(access: ApiAccess) {
    this.#access = access;
  }

  /** Later requests go out as somebody else; those under way end as they began. */
  use(access: ApiAccess): void {
    const before = this.#access;
    this.#access = access;
    before.close();
  }

  close(): void {
    this.#access.close();
  }

  async get<T>(path: string, options?: RequestOptions): Promise<T> {
    return (await this.#json('GET', path, undefined, options)) as T;
  }

  async post<T>(path: string, body: unknown, options?: RequestOptions): Promise<T> {
    return (await this.#json('POST', path, { type: 'application/json', value: body }, options)) as T;
  }

  async patch<T>(path: string, type: PatchType, body: unknown, options?: RequestOptions): Promise<T> {
    return (await this.#json('PATCH', path, { type: `application/${type}-patch+json`, value: body }, options)) as T;
  }

  async delete(path: string, body: unknown, options?: RequestOptions): Promise<void> {
    await this.#json('DELETE', path, { type: 'application/json', value: body }, options);
  }

  /** The body of a GET as it comes; the caller ends it with the signal. `idleMs` without a byte end it with an error. */
  async stream(path: string, query: Query, idleMs: number, signal: AbortSignal): Promise<IncomingMessage> {
    const response = await this.#send('GET', path, undefined, query, idleMs, signal);
    if (response.statusCode !== 200) throw answerError('GET', path, response, await text(response));
    return response;
  }

  async #json(
    method: string,
    path: string,
    body: { type: string; value: unknown } | undefined,
    { query = {}, signal, timeoutMs = 15_000 }: RequestOptions = {},
  ): Promise<unknown> {
    const timeout = AbortSignal.timeout(timeoutMs);
    const both = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
    try {
      const response = await this.#send(method, path, body, query, timeoutMs, both);
      const answer = await text(response);
      const status = response.statusCode ?? 0;
      if (status < 200 || status > 299) throw answerError(method, path, response, answer);
      return answer === '' ? undefined : JSON.parse(answer);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof ClusterError) throw error;
      throw this.#connectionError(timeout.aborted ? new Error(`no answer in ${timeoutMs / 1000} s`) : error);
    }
  }

  async #send(
    method: string,
    path: string,
    body: { type: string; value: unknown } | undefined,
    query: Query,
    idleMs: number,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    signal.throwIfAborted();
    const url = new URL(this.#access.server.replace(/\/+$/, '') + path);
    for (const [name, value] of Object.entries(query))
      if (value !== undefined) url.searchParams.set(name, String(value));
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body.value));
    try {
      const { agent, headers } = await this.#access.authorize();
      return await new Promise<IncomingMessage>((resolve, reject) => {
        const request = (url.protocol === 'http:' ? http : https).request(
          url,
          {
            method,
            agent,
            signal,
            headers: {
              accept: 'application/json',
              'user-agent': 'loamlet',
              ...(payload && { 'content-type': body?.type, 'content-length': payload.length }),
              ...headers,
            },
          },
          resolve,
        );
        request.setTimeout(idleMs, () => request.destroy(new Error(`silent for ${Math.round(idleMs / 1000)} s`)));
        request.on('error', reject);
        request.end(payload);
      });
    } catch (error) {
      signal.throwIfAborted();
      throw this.#connectionError(error);
    }
  }

  #connectionError(error: unknown): ClusterError {
    const message = error instanceof Error ? error.message : String(error);
    const code = error instanceof AggregateError ? systemCode(error.errors[0]) : systemCode(error);
    const remedy = connectionRemedies[code ?? ''];
    return new ClusterError(
      'ApiUnreachable',
      `the API server ${this.#access.server} can't be reached (${message || code})`,
      {
        cause: error,
        ...(remedy === undefined ? {} : { remedy }),
      },
    );
  }
}

const clock = "set this machine's clock (a Pi has none of its own: is systemd-timesyncd running?)";
const foreign = "the certificate-authority of the kubeconfig is not this cluster's: fetch the kubeconfig again";
const connectionRemedies: Readonly<Record<string, string>> = {
  CERT_NOT_YET_VALID: clock,
  CERT_HAS_EXPIRED: `${clock}, else the API server's certificate needs renewal`,
  SELF_SIGNED_CERT_IN_CHAIN: foreign,
  DEPTH_ZERO_SELF_SIGNED_CERT: foreign,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: foreign,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: foreign,
  CERT_SIGNATURE_FAILURE: foreign,
  ENOTFOUND: "the kubeconfig's server name does not resolve",
};

const statusCodes: Readonly<Record<number, ClusterErrorCode>> = {
  401: 'ApiUnauthorized',
  403: 'ApiForbidden',
  404: 'ApiNotFound',
  409: 'ApiConflict',
  410: 'ApiExpired',
  422: 'ApiInvalid',
  429: 'ApiBusy',
};

/** The error for a Status object, from an answer or from within a watch. */
export function statusError(what: string, status: number, message: string): ClusterError {
  const expired = status === 504 && message.includes('Too large resource version');
  const code = expired ? 'ApiExpired' : (statusCodes[status] ?? (status >= 500 ? 'ApiBusy' : 'ApiFailed'));
  return new ClusterError(code, `${what}: ${status} ${message}`, { status });
}

function answerError(method: string, path: string, response: IncomingMessage, answer: string): ClusterError {
  let message = answer.slice(0, 300).replaceAll(/\s+/g, ' ').trim();
  try {
    const status: unknown = JSON.parse(answer);
    if (typeof status === 'object' && status !== null && 'message' in status) message = String(status.message);
  } catch {
    // A proxy's own page: its beginning is all we have.
  }
  return statusError(`${method} ${path}`, response.statusCode ?? 0, message);
}

async function text(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxAnswerBytes)
      throw new ClusterError('ApiFailed', `the API server's answer is over ${maxAnswerBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
