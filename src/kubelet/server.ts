import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';
import type { TLSSocket } from 'node:tls';
import { errorLine, LoamletError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import type { Logger } from '../observe/logger.ts';
import { subresourcesOf, verbOf, type Authorizer, type Caller } from './authorizer.ts';
import { ContainerLogsError, type ContainerLogs } from './container-logs.ts';
import { BadRequest, parseLogOptions, parseLogPath } from './log-request.ts';

export interface KubeletServerOptions {
  /** @default '0.0.0.0' */
  readonly host?: string | undefined;
  /** 0 takes a free one. */
  readonly port: number;
  /** PEM. */
  readonly certificate: string;
  readonly key: string;
  /** PEM: whoever shows a certificate of this authority is known by it. */
  readonly clientCa: string;
  readonly authorizer: Authorizer;
  readonly logs: ContainerLogs;
  /** The pods of this node, for `/pods`. */
  readonly pods: () => readonly unknown[];
  readonly log: Logger;
}

export type KubeletServerErrorCode =
  /** The port is in use or not ours to take. */
  'KubeletPortUnavailable';

/**
 * What a kubelet serves over HTTPS, for the API server: `/containerLogs`, `/pods`, `/healthz`.
 *
 * Everybody must show a client certificate of the cluster (401) and be allowed by it to do this to our Node (403); the
 * names in the certificate decide nothing by themselves.
 *
 * Bounds: 128 connections, 16 KiB of headers, 10 s for a handshake, 15 s for a request to come in, bodies not read.
 */
export class KubeletServer {
  readonly #server: Server;
  readonly #options: KubeletServerOptions;
  readonly #closing = new AbortController();

  private constructor(options: KubeletServerOptions) {
    this.#options = options;
    this.#server = createServer(
      {
        ...this.#tls(options.certificate, options.key),
        // Whoever shows none is answered, not cut off: a token may become the second way in.
        requestCert: true,
        rejectUnauthorized: false,
        minVersion: 'TLSv1.2',
        handshakeTimeout: 10_000,
        maxHeaderSize: 16 * 1024,
        headersTimeout: 10_000,
        requestTimeout: 15_000,
        keepAliveTimeout: 60_000,
      },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.maxConnections = 128;
    // Anybody can send bytes that are no TLS: not worth a line in the log.
    this.#server.on('tlsClientError', (_, socket) => socket.destroy());
  }

  /** @throws LoamletError KubeletPortUnavailable */
  static async open(options: KubeletServerOptions): Promise<KubeletServer> {
    const kubelet = new KubeletServer(options);
    const { host = '0.0.0.0', port } = options;
    kubelet.#server.listen(port, host);
    try {
      await once(kubelet.#server, 'listening');
    } catch (error) {
      throw new LoamletError<KubeletServerErrorCode>(
        'KubeletPortUnavailable',
        'operator',
        `the kubelet port ${host}:${port} can't be opened (${errorLine(error)})`,
        {
          cause: error,
          remedy: 'is a kubelet or another Loamlet running here? Otherwise set cluster.kubeletPort',
        },
      );
    }
    kubelet.#server.on('error', (error) => options.log.error({ error: errorLine(error) }, 'kubelet port failed'));
    return kubelet;
  }

  /** The port it listens on. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** New connections see this certificate; those that are open stay. Both PEM. */
  useCertificate(certificate: string, key: string): void {
    this.#server.setSecureContext(this.#tls(certificate, key));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  #tls(certificate: string, key: string) {
    return { cert: certificate, key, ca: this.#options.clientCa };
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    response.on('error', () => gone.abort());
    const signal = AbortSignal.any([gone.signal, this.#closing.signal]);
    try {
      // No endpoint of ours has a use for a body.
      request.resume();
      const caller = callerOf(request.socket as TLSSocket);
      if (caller === undefined) {
        // A stranger keeps no connection: there are few.
        response.setHeader('connection', 'close');
        reply(response, 401, "Unauthorized: show a client certificate of this node's cluster");
        return;
      }
      const url = requestUrl(request);
      const verb = verbOf(request.method ?? '', url.pathname);
      if (!(await this.#isAllowed(caller, verb, url.pathname, response, signal))) return;
      await this.#serve(request, response, url, signal);
    } catch (error) {
      if (signal.aborted) {
        response.destroy();
        return;
      }
      const status = error instanceof BadRequest ? 400 : 500;
      if (status === 500) this.#options.log.error({ error: errorLine(error) }, 'kubelet request failed');
      if (response.headersSent) response.destroy();
      else
        reply(
          response,
          status,
          status === 400 ? errorLine(error) : 'internal error: see the log of loamlet on the node',
        );
    }
  }

  async #isAllowed(
    caller: Caller,
    verb: string,
    path: string,
    response: ServerResponse,
    signal: AbortSignal,
  ): Promise<boolean> {
    const subresources = subresourcesOf(path);
    try {
      if (await this.#options.authorizer.allows(caller, verb, subresources, signal)) return true;
    } catch (error) {
      if (signal.aborted) throw error;
      this.#options.log.warn({ error: errorLine(error), user: caller.user }, 'access could not be reviewed');
      reply(response, 503, 'the node could not ask the cluster whether you may do this: try again');
      return false;
    }
    this.#options.log.warn({ user: caller.user, verb, subresources }, 'kubelet request forbidden');
    reply(
      response,
      403,
      `Forbidden (user=${printable(caller.user)}, verb=${verb}, resource=nodes, subresource(s)=[${subresources.join(' ')}])`,
    );
    return false;
  }

  async #serve(request: IncomingMessage, response: ServerResponse, url: URL, signal: AbortSignal): Promise<void> {
    const container = parseLogPath(url.pathname);
    const known = container !== undefined || url.pathname === '/healthz' || url.pathname === '/pods';
    if (!known) {
      reply(response, 404, `this node does not serve ${printable(url.pathname.split('/', 2).join('/'))}`);
      return;
    }
    if (request.method !== 'GET') {
      response.setHeader('allow', 'GET');
      reply(response, 405, 'only GET is served here');
      return;
    }
    if (container === undefined) {
      if (url.pathname === '/healthz') reply(response, 200, 'ok');
      else
        reply(
          response,
          200,
          JSON.stringify({ kind: 'PodList', apiVersion: 'v1', metadata: {}, items: this.#options.pods() }),
          'application/json',
        );
      return;
    }
    const options = parseLogOptions(url.searchParams, Date.now());
    let lines: AsyncIterable<Uint8Array>;
    try {
      lines = await this.#options.logs.open(container, options, signal);
    } catch (error) {
      if (!(error instanceof ContainerLogsError)) throw error;
      // Never 404: kubectl would show words of its own for it instead of ours.
      reply(response, 400, error.line);
      return;
    }
    response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
    // Before the first line, or a follower of a silent container would wait for the answer itself.
    response.flushHeaders();
    await pipeline(lines, response, { signal });
  }
}

function requestUrl(request: IncomingMessage): URL {
  const target = request.url ?? '';
  // Only the path counts: Host is the API server's own for some requests.
  if (!target.startsWith('/') || target.startsWith('//') || target.length > 4096)
    throw new BadRequest('the request target is not a path');
  let url: URL;
  try {
    url = new URL(target, 'https://node.invalid');
  } catch {
    throw new BadRequest('the request target is not a path');
  }
  // What the URL parser tidied up (`..`, back slashes) might be authorised as one thing and served as another.
  if (url.pathname !== target.split('?', 1)[0]) throw new BadRequest('the request path is not in its plain form');
  return url;
}

function callerOf(socket: TLSSocket): Caller | undefined {
  if (!socket.authorized) return undefined;
  // Repeated attributes come as an array.
  const subject = socket.getPeerCertificate().subject as unknown as
    Readonly<Record<string, string | string[] | undefined>> | undefined;
  const names = [subject?.CN ?? []].flat();
  const [user] = names;
  if (user === undefined || user === '' || names.length !== 1) return undefined;
  return { user, groups: [...[subject?.O ?? []].flat(), 'system:authenticated'] };
}

function reply(response: ServerResponse, status: number, text: string, type = 'text/plain; charset=utf-8'): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, { 'content-type': type, 'x-content-type-options': 'nosniff' });
  response.end(type.startsWith('text/') ? `${text}\n` : text);
}
