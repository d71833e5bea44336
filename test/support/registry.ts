import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface RegistryOptions {
  /** Certificate and key in PEM: the registry then speaks HTTPS. */
  readonly tls?: { readonly certificate: string; readonly key: string };
  /** Ask for Basic credentials: `testCredentials` is let in. */
  readonly basicAuth?: boolean;
  /** @default 127.0.0.1 */
  readonly address?: string;
}

export const testCredentials = { username: 'gardener', password: 'compost' };
/** bcrypt of that password. */
const passwordHash = '$2y$04$abcdefghijklmnopqrstuuGCCww1/VeZmmM0iVusIZNnBe2FwXomK';

/** Debian's docker-registry on a free port, its storage in a folder that ends with it. */
export class Registry implements AsyncDisposable {
  readonly #folder: string;
  readonly #scheme: 'http' | 'https';
  #child: ChildProcess | undefined;
  /** `host:port`, for references. */
  host = '';
  /** What it wrote, for a failing test. */
  log = '';

  private constructor(folder: string, scheme: 'http' | 'https') {
    this.#folder = folder;
    this.#scheme = scheme;
  }

  static async start(options: RegistryOptions = {}): Promise<Registry> {
    const folder = mkdtempSync(join(tmpdir(), 'loamlet-registry-'));
    const registry = new Registry(folder, options.tls === undefined ? 'http' : 'https');
    try {
      await registry.#start(options);
    } catch (error) {
      await registry[Symbol.asyncDispose]();
      throw error;
    }
    return registry;
  }

  get url(): string {
    return `${this.#scheme}://${this.host}`;
  }

  /** The file in which the registry keeps a blob. */
  blobPath(digest: string): string {
    const hex = digest.replace(/^sha256:/, '');
    return join(this.#folder, 'storage/docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data');
  }

  /** Puts a blob through the API of an open HTTP registry, and gives its digest. */
  async putBlob(repository: string, content: Uint8Array): Promise<string> {
    const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`;
    const begun = await fetch(`${this.url}/v2/${repository}/blobs/uploads/`, { method: 'POST' });
    const url = new URL(begun.headers.get('location') ?? '', this.url);
    url.searchParams.set('digest', digest);
    const done = await fetch(url, {
      method: 'PUT',
      body: Uint8Array.from(content),
      headers: { 'content-type': 'application/octet-stream' },
    });
    if (done.status !== 201) throw new Error(`the registry took no blob: ${done.status} ${await done.text()}`);
    return digest;
  }

  /** Puts a manifest through the API, and gives its digest. */
  async putManifest(repository: string, tag: string, mediaType: string, manifest: object): Promise<string> {
    const body = JSON.stringify({ schemaVersion: 2, mediaType, ...manifest });
    const done = await fetch(`${this.url}/v2/${repository}/manifests/${tag}`, {
      method: 'PUT',
      body,
      headers: { 'content-type': mediaType },
    });
    if (done.status !== 201) throw new Error(`the registry took no manifest: ${done.status} ${await done.text()}`);
    return `sha256:${createHash('sha256').update(body).digest('hex')}`;
  }

  /** Ends the process; its port is free then. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #start({ tls, basicAuth = false, address = '127.0.0.1' }: RegistryOptions): Promise<void> {
    const file = (name: string, content: string): string => {
      const path = join(this.#folder, name);
      writeFileSync(path, content, { mode: 0o600 });
      return path;
    };
    mkdirSync(join(this.#folder, 'storage'));
    // JSON is YAML.
    const config = {
      version: 0.1,
      log: { level: 'info', formatter: 'json' },
      storage: { filesystem: { rootdirectory: join(this.#folder, 'storage') }, delete: { enabled: true } },
      http: {
        addr: `${address}:0`,
        secret: 'for tests',
        ...(tls === undefined
          ? {}
          : { tls: { certificate: file('tls.crt', tls.certificate), key: file('tls.key', tls.key) } }),
      },
      ...(basicAuth
        ? {
            auth: {
              htpasswd: { realm: 'test', path: file('htpasswd', `${testCredentials.username}:${passwordHash}\n`) },
            },
          }
        : {}),
    };
    const child = spawn('docker-registry', ['serve', file('config.yml', JSON.stringify(config))], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child = child;
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`docker-registry ended with ${code}:\n${this.log}`)));
    createInterface(child.stderr).on('line', (line) => {
      this.log = `${this.log}${line}\n`.slice(-1_000_000);
      const listening = /"msg":"listening on ([^", ]+)/.exec(line);
      if (listening?.[1] !== undefined) resolve(listening[1]);
    });
    this.host = await promise;
  }
}
