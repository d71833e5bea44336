import { ImageError } from './errors.ts';

/** `sha256:` and 64 hexadecimal digits; the only algorithm that registries use. */
export type Digest = `sha256:${string}`;

export interface ImageReference {
  /** Host and port as HTTP dials them. */
  readonly registry: string;
  readonly repository: string;
  /** What to ask the registry for: the digest where there is one, else the tag. */
  readonly target: string;
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
  /** In full: registry, repository, tag, digest. Equal for equal references. */
  readonly text: string;
}

const digestPattern = /^sha256:[0-9a-f]{64}$/;
const host = /^([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(:\d{1,5})?$/;
const component = /^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const dockerHub = 'registry-1.docker.io';

export function isDigest(text: unknown): text is Digest {
  return typeof text === 'string' && digestPattern.test(text);
}

/**
 * Reads `[host[:port]/]name[:tag][@digest]` as Docker does: without a host it is Docker Hub, without tag and digest the
 * tag is `latest`.
 * @throws ImageError InvalidImageName
 */
export function parseReference(text: string): ImageReference {
  const invalid = (why: string): ImageError =>
    new ImageError('InvalidImageName', `image ${JSON.stringify(text.slice(0, 200))} ${why}`, {
      remedy: 'write it as registry.example:5000/name:tag or registry.example/name@sha256:...',
    });
  if (text.length > 512) throw invalid('is too long');
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  if (digest !== undefined && !isDigest(digest))
    throw invalid('has a digest that is not sha256: and 64 hexadecimal digits');
  const named = at < 0 ? text : text.slice(0, at);
  const slash = named.indexOf('/');
  const first = slash < 0 ? '' : named.slice(0, slash);
  const hasHost = /[.:[]/.test(first) || first === 'localhost';
  const path = hasHost ? named.slice(slash + 1) : named;
  const colon = path.indexOf(':');
  const name = colon < 0 ? path : path.slice(0, colon);
  const tag = colon < 0 ? undefined : path.slice(colon + 1);
  if (hasHost && !host.test(first)) throw invalid('has a registry that is no host name');
  if (tag !== undefined && !tagPattern.test(tag)) throw invalid('has a tag with characters that a tag can not have');
  if (name.length > 255 || !name.split('/').every((part) => component.test(part))) {
    throw invalid('has a name that is not made of lower case letters, digits and . _ - between slashes');
  }
  const onHub = !hasHost || first === 'docker.io' || first === 'index.docker.io';
  const registry = onHub ? dockerHub : first.toLowerCase();
  const repository = onHub && !name.includes('/') ? `library/${name}` : name;
  const usedTag = tag ?? (digest === undefined ? 'latest' : undefined);
  return {
    registry,
    repository,
    tag: usedTag,
    digest,
    target: digest ?? usedTag ?? 'latest',
    text: `${registry}/${repository}${usedTag === undefined ? '' : `:${usedTag}`}${digest === undefined ? '' : `@${digest}`}`,
  };
}

/** Whether a registry is spoken to over HTTP: on this machine, or where the operator says so. */
export function speaksPlainHttp(registry: string, insecureRegistries: readonly string[]): boolean {
  const name = registry.replace(/:\d+$/, '').toLowerCase();
  const loopback = name === 'localhost' || name === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(name);
  return loopback || insecureRegistries.some((listed) => [registry, name].includes(listed.toLowerCase()));
}
