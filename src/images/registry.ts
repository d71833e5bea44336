import { createHash } from 'node:crypto';
import { errorLine, systemCode } from '../base/errors.ts';
import { answerChallenge, parseChallenge } from './authorizer.ts';
import { readCredentials, type Credentials } from './credentials.ts';
import { ImageError } from './errors.ts';
import { discard, HttpSession, readBody, type HttpAnswer, type HttpRequest } from './http-session.ts';
import { acceptedManifests, ociManifest, type Descriptor } from './manifest.ts';
import { isDigest, speaksPlainHttp, type Digest, type ImageReference } from './reference.ts';

export interface RegistryOptions {
  /** Registries (`host` or `host:port`) spoken to over plain HTTP; those on this machine always are. @default [] */
  readonly insecureRegistries?: readonly string[];
  /** A docker config.json with credentials, read at each use. */
  readonly dockerConfig?: string;
  /** PEM of certificate authorities besides the usual ones. */
  readonly ca?: string;
}

export interface FetchedManifest {
  readonly body: Buffer;
  readonly digest: Digest;
}

const maxManifestBytes = 4 << 20;
const maxErrorBytes = 16 << 10;

/** One repository of a registry, in the OCI distribution protocol, for the length of a pull or push. */
export class Repository implements Disposable {
  readonly reference: ImageReference;
  readonly #base: URL;
  readonly #session: HttpSession;
  readonly #options: RegistryOptions;
  readonly #action: 'pull' | 'push';
  #credentials: Promise<Credentials | undefined> | undefined;
  #authorization: string | undefined;

  constructor(reference: ImageReference, action: 'pull' | 'push', options: RegistryOptions, signal: AbortSignal) {
    this.reference = reference;
    this.#action = action;
    this.#options = options;
    const scheme = speaksPlainHttp(reference.registry, options.insecureRegistries ?? []) ? 'http' : 'https';
    this.#base = new URL(`${scheme}://${reference.registry}/v2/${reference.repository}/`);
    this.#session = new HttpSession({ signal, ...(options.ca === undefined ? {} : { ca: options.ca }) });
  }

  [Symbol.dispose](): void {
    this.#session[Symbol.dispose]();
  }

  /** The digest that the reference has now, without fetching; undefined when the registry does not say. @throws ImageError */
  async head(target: string): Promise<Digest | undefined> {
    const answer = await this.#send(`manifests/${target}`, { method: 'HEAD', headers: { accept: acceptedManifests } });
    discard(answer);
    const digest = answer.headers['docker-content-digest'];
    if (answer.status === 200) return isDigest(digest) ? digest : undefined;
    // An answer to HEAD has no text, and some registries don't know it: GET says what is wrong.
    return undefined;
  }

  /** A manifest or index, its digest checked. @throws ImageError */
  async manifest(target: string): Promise<FetchedManifest> {
    const answer = await this.#send(`manifests/${target}`, { method: 'GET', headers: { accept: acceptedManifests } });
    if (answer.status !== 200) throw await this.#refused(answer);
    const body = await this.#read(answer, maxManifestBytes);
    if (body === undefined)
      throw this.#error(
        `has a manifest over ${maxManifestBytes >> 20} MiB`,
        'push the module again, with loamlet push MODULE REF',
      );
    const digest: Digest = `sha256:${createHash('sha256').update(body).digest('hex')}`;
    const promised = isDigest(target) ? target : answer.headers['docker-content-digest'];
    if (promised !== undefined && promised !== digest && String(promised).startsWith('sha256:')) {
      throw digestError(`the manifest of ${this.reference.text}`, String(promised), digest);
    }
    return { body, digest };
  }

  /** A blob's bytes, unchecked. @throws ImageError, and its iteration too */
  async *blob(digest: Digest): AsyncGenerator<Buffer> {
    const answer = await this.#send(`blobs/${digest}`, { method: 'GET' });
    if (answer.status !== 200) throw await this.#refused(answer);
    try {
      for await (const chunk of answer.body as AsyncIterable<Buffer>) yield chunk;
    } catch (error) {
      throw this.#unreachable(error);
    }
  }

  /** Uploads a blob in one piece, unless the registry has it. @throws ImageError */
  async putBlob({ digest, size }: Pick<Descriptor, 'digest' | 'size'>, body: Buffer): Promise<void> {
    const known = await this.#send(`blobs/${digest}`, { method: 'HEAD' });
    discard(known);
    if (known.status === 200) return;
    const begun = await this.#send('blobs/uploads/', { method: 'POST', headers: { 'content-length': '0' } });
    const location = begun.headers.location;
    if (begun.status !== 202 || location === undefined) throw await this.#refused(begun);
    discard(begun);
    const url = new URL(location, begun.url);
    url.searchParams.set('digest', digest);
    const headers = { 'content-type': 'application/octet-stream', 'content-length': String(size) };
    const done = await this.#send(url, { method: 'PUT', headers, body });
    if (done.status !== 201 && done.status !== 204) throw await this.#refused(done);
    discard(done);
  }

  /** @throws ImageError */
  async putManifest(body: Buffer, target: string): Promise<Digest> {
    const headers = { 'content-type': ociManifest, 'content-length': String(body.byteLength) };
    const answer = await this.#send(`manifests/${target}`, { method: 'PUT', headers, body });
    if (answer.status !== 201) throw await this.#refused(answer);
    discard(answer);
    return `sha256:${createHash('sha256').update(body).digest('hex')}`;
  }

  async #send(path: string | URL, request: HttpRequest): Promise<HttpAnswer> {
    const url = typeof path === 'string' ? new URL(path, this.#base) : path;
    try {
      const answer = await this.#session.send(url, this.#authorized(url, request));
      if (answer.status !== 401 || url.host !== this.#base.host) return answer;
      const challenge = parseChallenge(answer.headers['www-authenticate']);
      if (challenge === undefined) return answer;
      const scope = `repository:${this.reference.repository}:${this.#action === 'push' ? 'pull,push' : 'pull'}`;
      const authorization = await answerChallenge(
        challenge,
        this.#session,
        this.#base,
        scope,
        await this.#readCredentials(),
      );
      if (authorization === undefined || authorization === this.#authorization) return answer;
      discard(answer);
      this.#authorization = authorization;
      return await this.#session.send(url, this.#authorized(url, request));
    } catch (error) {
      throw this.#unreachable(error);
    }
  }

  #authorized(url: URL, request: HttpRequest): HttpRequest {
    // An upload may go to another host, which has no business with our credentials.
    if (this.#authorization === undefined || url.host !== this.#base.host) return request;
    return { ...request, headers: { ...request.headers, authorization: this.#authorization } };
  }

  #readCredentials(): Promise<Credentials | undefined> {
    const { dockerConfig } = this.#options;
    this.#credentials ??=
      dockerConfig === undefined ? Promise.resolve(undefined) : readCredentials(dockerConfig, this.reference.registry);
    return this.#credentials;
  }

  async #read(answer: HttpAnswer, maxBytes: number): Promise<Buffer | undefined> {
    try {
      return await readBody(answer, maxBytes);
    } catch (error) {
      throw this.#unreachable(error);
    }
  }

  async #refused(answer: HttpAnswer): Promise<ImageError> {
    const { registry, text } = this.reference;
    const said = (await readBody(answer, maxErrorBytes).catch(() => undefined))?.toString() ?? '';
    const why = `HTTP ${answer.status}${registryMessage(said)}`;
    switch (answer.status) {
      case 401:
      case 403:
        return this.#error(
          `is refused by the registry (${why})`,
          `check the credentials for ${registry} in the docker config, or its access rules`,
        );
      case 404:
        return this.#error(
          `is not in the registry (${why})`,
          `check name and tag, or push it with loamlet push MODULE ${text}`,
        );
      default:
        return this.#error(
          `can't be ${this.#action}ed (${why})`,
          `look into the log of the registry ${registry}`,
          answer.status >= 500 || answer.status === 429,
        );
    }
  }

  #error(what: string, remedy: string, unreachable = false): ImageError {
    return new ImageError(this.#code, `${this.reference.text} ${what}`, { remedy, unreachable });
  }

  get #code(): 'ErrImagePull' | 'ErrImagePush' {
    return this.#action === 'push' ? 'ErrImagePush' : 'ErrImagePull';
  }

  #unreachable(error: unknown): unknown {
    if (error instanceof ImageError || (error instanceof Error && error.name === 'AbortError')) return error;
    const { registry } = this.reference;
    const message = `registry ${registry} can't be reached for ${this.reference.text} (${systemCode(error) ?? errorLine(error)})`;
    return new ImageError(this.#code, message, {
      remedy: connectRemedy(error, registry),
      cause: error,
      unreachable: true,
    });
  }
}

export function digestError(what: string, promised: string, found: string): ImageError {
  return new ImageError('ErrImageDigest', `${what} is not what its digest promises (${promised}, but it is ${found})`, {
    remedy: 'do not trust this registry or the network before it until it is known why; then push the module again',
    context: { promised, found },
  });
}

/** The first message of an OCI error body, cut to one short line. */
function registryMessage(body: string): string {
  try {
    const { errors } = JSON.parse(body) as { errors?: { message?: unknown }[] };
    const message = errors?.[0]?.message;
    return typeof message === 'string' ? `, ${message.replaceAll(/[^\x20-\x7e]+/g, ' ').slice(0, 120)}` : '';
  } catch {
    return '';
  }
}

function connectRemedy(error: unknown, registry: string): string {
  const code = systemCode(error) ?? '';
  if (code === 'EPROTO' || code.startsWith('ERR_SSL')) {
    return `if it speaks plain HTTP, list ${registry} in images.insecureRegistries (loamlet push --plain-http)`;
  }
  if (code === 'CERT_NOT_YET_VALID' || code === 'CERT_HAS_EXPIRED')
    return "check this machine's clock, then the registry's certificate";
  if (code.includes('CERT') || code.includes('SIGNATURE')) {
    return 'set images.caFile to the authority that signed it (loamlet push and pull: --ca-file)';
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'check the name and the DNS of this machine';
  return 'check that it runs and that this machine has a way to it';
}
