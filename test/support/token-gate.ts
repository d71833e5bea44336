import { once } from 'node:events';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

/** Stands before an open registry and asks for a bearer token, which it gives for the right credentials, as Docker Hub does. */
export class TokenGate implements AsyncDisposable {
  readonly host: string;
  readonly #server: Server;
  /** Scopes that tokens were given for. */
  readonly scopes: string[] = [];

  private constructor(server: Server, host: string) {
    this.#server = server;
    this.host = host;
  }

  static async before(
    registry: string,
    { username, password }: { username: string; password: string },
  ): Promise<TokenGate> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (typeof address !== 'object' || address === null) throw new Error('no port');
    const gate = new TokenGate(server, `127.0.0.1:${address.port}`);
    const basic = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
    server.on('request', (incoming, answer) => {
      const url = new URL(incoming.url ?? '/', `http://${gate.host}`);
      if (url.pathname === '/token') gate.#token(incoming, answer, url, basic);
      else gate.#relay(incoming, answer, url, registry);
    });
    return gate;
  }

  #token(incoming: IncomingMessage, answer: ServerResponse, url: URL, basic: string): void {
    if (incoming.headers.authorization !== basic) {
      answer.writeHead(401).end();
      return;
    }
    const scope = url.searchParams.get('scope') ?? '';
    this.scopes.push(scope);
    answer.end(JSON.stringify({ token: Buffer.from(scope).toString('hex') }));
  }

  #relay(incoming: IncomingMessage, answer: ServerResponse, url: URL, registry: string): void {
    const [, repository = ''] = /^\/v2\/(.+?)\/(?:manifests|blobs)\//.exec(url.pathname) ?? [];
    const writes = !['GET', 'HEAD'].includes(incoming.method ?? '');
    const scope = `repository:${repository}:${writes ? 'pull,push' : 'pull'}`;
    const token = /^Bearer (\S+)$/.exec(incoming.headers.authorization ?? '')?.[1] ?? '';
    const granted = Buffer.from(token, 'hex').toString();
    if (granted !== scope && granted !== `repository:${repository}:pull,push`) {
      const challenge = `Bearer realm="http://${this.host}/token",service="test registry"`;
      incoming.resume();
      answer.writeHead(401, { 'www-authenticate': challenge }).end();
      return;
    }
    const { authorization: _, ...headers } = incoming.headers;
    const onward = request(
      new URL(url.pathname + url.search, registry),
      { method: incoming.method, headers },
      (reply) => {
        answer.writeHead(reply.statusCode ?? 502, reply.headers);
        reply.pipe(answer);
      },
    );
    onward.on('error', () => answer.destroy());
    incoming.pipe(onward);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }
}
