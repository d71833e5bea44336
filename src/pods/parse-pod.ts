import { createHash } from 'node:crypto';
import { isDnsLabel, resourcePrefix } from '../base/names.ts';
import { LoamletError } from '../base/errors.ts';
import { parseQuantity } from '../base/quantity.ts';
import type { ContainerSpec, EnvVariable, Pod } from './pod.ts';

/** ManifestInvalid: it is no Pod, or lacks what identifies one. */
export class ManifestError extends LoamletError<'ManifestInvalid'> {
  constructor(message: string, remedy?: string) {
    super('ManifestInvalid', 'operator', message, remedy === undefined ? {} : { remedy });
  }
}

const maxContainers = 32;
/** What a timer can hold (24 days); a grace beyond it would be over at once. */
const maxGraceSeconds = 2_000_000;

type Json = Readonly<Record<string, unknown>>;

/**
 * Fields that are taken into account, or that make no difference to a wasm module: a module has no root, no kernel, no
 * network namespace. Anything else a manifest says is named as a problem, never passed over.
 */
const podFields = words(`
  containers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds nodeName nodeSelector
  tolerations affinity topologySpreadConstraints schedulerName schedulingGates priority priorityClassName
  preemptionPolicy runtimeClassName overhead dnsPolicy dnsConfig serviceAccountName serviceAccount
  automountServiceAccountToken enableServiceLinks imagePullSecrets hostname subdomain hostAliases
  securityContext readinessGates os volumes setHostnameAsFQDN shareProcessNamespace
`);
const containerFields = words(`
  name image imagePullPolicy command args env resources resizePolicy ports terminationMessagePath
  terminationMessagePolicy securityContext volumeMounts stdin stdinOnce tty
`);

/**
 * Reads a Pod object. What this node can't do becomes a sentence in `problems`.
 * @throws ManifestError when it has no identity to hang such sentences on
 */
export function parsePod(raw: unknown, source: Pod['source'], nodeName: string): Pod {
  if (!isObject(raw)) throw new ManifestError('the manifest is not an object');
  if (raw.kind !== undefined && raw.kind !== 'Pod') {
    throw new ManifestError(
      `the manifest is a ${text(raw.kind) ?? 'thing'} and not a Pod`,
      'this node runs pods; others need a cluster',
    );
  }
  const metadata = isObject(raw.metadata) ? raw.metadata : {};
  const spec = isObject(raw.spec) ? raw.spec : undefined;
  const name = text(metadata.name);
  if (name === undefined || !/^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/.test(name)) {
    throw new ManifestError('metadata.name is missing or not a lower case DNS name');
  }
  if (spec === undefined) throw new ManifestError(`pod ${name} has no spec`);
  const namespace = text(metadata.namespace) ?? 'default';
  if (!isDnsLabel(namespace)) throw new ManifestError(`metadata.namespace of pod ${name} is not a DNS label`);
  const uid = source === 'static' ? manifestHash(raw, nodeName) : text(metadata.uid);
  if (uid === undefined || !/^[-a-zA-Z0-9]{1,64}$/.test(uid))
    throw new ManifestError(`pod ${name} has no metadata.uid`);

  const problems: string[] = [];
  const terminationGraceSeconds = Math.min(number(spec.terminationGracePeriodSeconds) ?? 30, maxGraceSeconds);
  const graceSeconds = Math.min(
    number(metadata.deletionGracePeriodSeconds) ?? terminationGraceSeconds,
    maxGraceSeconds,
  );
  const deletedAt = Date.parse(text(metadata.deletionTimestamp) ?? '');
  const labels = strings(metadata.labels);
  for (const key of Object.keys(spec))
    if (!podFields.has(key) && !isEmpty(spec[key])) problems.push(`spec.${key} is not supported`);
  if (text((isObject(spec.os) ? spec.os : {}).name) !== undefined)
    problems.push('spec.os.name asks for another system than wasm');
  const volumes = checkVolumes(spec, problems);
  const restartPolicy = spec.restartPolicy ?? 'Always';
  if (restartPolicy !== 'Always' && restartPolicy !== 'OnFailure' && restartPolicy !== 'Never')
    problems.push('spec.restartPolicy is not Always, OnFailure or Never');
  const rawContainers = Array.isArray(spec.containers) ? spec.containers : [];
  if (rawContainers.length === 0) throw new ManifestError(`pod ${name} has no containers`);
  // A problem and not an error: the API server takes such a pod, so it needs a status and must be able to go.
  if (rawContainers.length > maxContainers) problems.push(`the pod has more than ${maxContainers} containers`);
  const identity = { namespace, name, uid };
  const containers = rawContainers.map((container, index) =>
    parseContainer(container, index, identity, volumes, problems),
  );
  if (new Set(containers.map((container) => container.name)).size < containers.length)
    throw new ManifestError(`pod ${name} has two containers of one name`);

  return {
    source,
    ...identity,
    generation: number(metadata.generation),
    annotations: strings(metadata.annotations),
    topicName: [labels['app.kubernetes.io/name'], ownerName(metadata)].find(isTopicLevel) ?? name,
    restartPolicy: restartPolicy === 'OnFailure' || restartPolicy === 'Never' ? restartPolicy : 'Always',
    terminationGraceSeconds,
    activeDeadlineSeconds: number(spec.activeDeadlineSeconds),
    containers,
    deletion: Number.isNaN(deletedAt) ? undefined : { deadlineMs: deletedAt, graceSeconds },
    problems,
    knownPhase: text((isObject(raw.status) ? raw.status : {}).phase),
  };
}

/** A static pod changes its identity with its manifest, as in a kubelet. */
function manifestHash(raw: Json, nodeName: string): string {
  const { status: _, ...manifest } = raw;
  return createHash('sha256').update(JSON.stringify(manifest)).update(nodeName).digest('hex').slice(0, 32);
}

function ownerName(metadata: Json): string | undefined {
  const owners = Array.isArray(metadata.ownerReferences) ? metadata.ownerReferences.filter(isObject) : [];
  const owner = owners.find(({ controller }) => controller === true) ?? owners[0];
  const name = text(owner?.name);
  if (name === undefined || owner === undefined) return undefined;
  // A ReplicaSet's name is its Deployment's and the template's hash, which changes with every rollout.
  const hash = strings(metadata.labels)['pod-template-hash'];
  return owner.kind === 'ReplicaSet' && hash !== undefined && name.endsWith(`-${hash}`)
    ? name.slice(0, -hash.length - 1)
    : name;
}

/** Whoever creates a pod may write any owner name into it, and a static pod any label. */
function isTopicLevel(value: string | undefined): value is string {
  return value !== undefined && /^[A-Za-z0-9]([-_.A-Za-z0-9]{0,251}[A-Za-z0-9])?$/.test(value);
}

/** The names of volumes that may be mounted without harm: the service account token, which a module can't read anyway. */
function checkVolumes(spec: Json, problems: string[]): ReadonlySet<string> {
  const harmless = new Set<string>();
  for (const volume of Array.isArray(spec.volumes) ? spec.volumes : []) {
    const name = isObject(volume) ? (text(volume.name) ?? '') : '';
    if (isObject(volume) && isObject(volume.projected) && name.startsWith('kube-api-access-')) harmless.add(name);
    else problems.push(`volume ${name} is not supported: this version gives modules no files`);
  }
  return harmless;
}

function parseContainer(
  raw: unknown,
  index: number,
  pod: Pick<Pod, 'namespace' | 'name' | 'uid'>,
  volumes: ReadonlySet<string>,
  problems: string[],
): ContainerSpec {
  const container = isObject(raw) ? raw : {};
  const name = text(container.name);
  if (name === undefined || !isDnsLabel(name)) {
    throw new ManifestError(`spec.containers[${index}].name of pod ${pod.name} is missing or not a DNS label`);
  }
  const image = text(container.image) ?? '';
  if (image === '') problems.push(`container ${name} has no image`);
  for (const key of Object.keys(container)) {
    if (!containerFields.has(key) && !isEmpty(container[key]))
      problems.push(`container ${name}: ${key} is not supported`);
  }
  if ((isObject(container.securityContext) ? container.securityContext : {}).privileged === true) {
    problems.push(`container ${name}: privileged means nothing here, grant a device instead`);
  }
  for (const mount of Array.isArray(container.volumeMounts) ? container.volumeMounts : []) {
    const volume = isObject(mount) ? (text(mount.name) ?? '') : '';
    if (!volumes.has(volume)) problems.push(`container ${name}: volumeMount ${volume} is not supported`);
  }
  const policy = container.imagePullPolicy;
  const command = list(container.command);
  const args = [...(command.length > 0 ? command : [name]), ...list(container.args)];
  if (args.some((argument) => argument.includes('\0'))) problems.push(`container ${name}: args hold a NUL byte`);
  return {
    name,
    image,
    imagePullPolicy:
      policy === 'Always' || policy === 'Never' || policy === 'IfNotPresent' ? policy : defaultPullPolicy(image),
    args,
    env: parseEnv(container.env, name, pod, problems),
    ...parseResources(container.resources, name, problems),
  };
}

/** As the API server defaults it. */
function defaultPullPolicy(image: string): ContainerSpec['imagePullPolicy'] {
  const last = image.slice(image.lastIndexOf('/') + 1);
  return !image.includes('@') && (!last.includes(':') || last.endsWith(':latest')) ? 'Always' : 'IfNotPresent';
}

function parseEnv(
  raw: unknown,
  container: string,
  pod: Pick<Pod, 'namespace' | 'name' | 'uid'>,
  problems: string[],
): EnvVariable[] {
  const variables: EnvVariable[] = [];
  for (const entry of Array.isArray(raw) ? raw : []) {
    const name = isObject(entry) ? text(entry.name) : undefined;
    if (!isObject(entry) || name === undefined || name === '' || /[=\0]/.test(name)) {
      problems.push(`container ${container}: an env entry has no valid name`);
      continue;
    }
    if (!isObject(entry.valueFrom)) {
      const value = text(entry.value) ?? '';
      if (value.includes('\0')) problems.push(`container ${container}: env ${name} holds a NUL byte`);
      variables.push({ name, value });
      continue;
    }
    const field = isObject(entry.valueFrom.fieldRef) ? text(entry.valueFrom.fieldRef.fieldPath) : undefined;
    if (field === 'metadata.name') variables.push({ name, value: pod.name });
    else if (field === 'metadata.namespace') variables.push({ name, value: pod.namespace });
    else if (field === 'metadata.uid') variables.push({ name, value: pod.uid });
    else if (field === 'spec.nodeName') variables.push({ name, field: 'nodeName' });
    else if (field === 'status.hostIP') variables.push({ name, field: 'hostIP' });
    else
      problems.push(
        `container ${container}: env ${name}: ${field ?? Object.keys(entry.valueFrom)[0] ?? 'valueFrom'} is not supported`,
      );
  }
  return variables;
}

function parseResources(
  raw: unknown,
  container: string,
  problems: string[],
): Pick<ContainerSpec, 'memoryLimitBytes' | 'devices'> {
  const limits = isObject(raw) && isObject(raw.limits) ? raw.limits : {};
  const devices = new Map<string, number>();
  let memoryLimitBytes: number | undefined;
  for (const [resource, quantity] of Object.entries(limits)) {
    const value = typeof quantity === 'string' || typeof quantity === 'number' ? parseQuantity(quantity) : undefined;
    if (value === undefined) problems.push(`container ${container}: resources.limits.${resource} is not a quantity`);
    else if (value === 0) {
      // As if it were not there: no device, no limit of its own.
    } else if (resource === 'memory') memoryLimitBytes = Math.floor(value);
    else if (resource.startsWith(resourcePrefix)) {
      if (Number.isInteger(value) && value <= 64) devices.set(resource.slice(resourcePrefix.length), value);
      else problems.push(`container ${container}: resources.limits.${resource} must be a whole number up to 64`);
    } else if (resource !== 'cpu' && resource !== 'ephemeral-storage') {
      problems.push(`container ${container}: resources.limits.${resource} is not a resource of this node`);
    }
  }
  return { memoryLimitBytes, devices };
}

function words(text: string): ReadonlySet<string> {
  return new Set(text.trim().split(/\s+/));
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** False, null, an empty list or an empty object say nothing. */
function isEmpty(value: unknown): boolean {
  return (
    value === undefined ||
    value === null ||
    value === false ||
    (typeof value === 'object' && Object.keys(value).length === 0)
  );
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined;
}

function list(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

function strings(value: unknown): Record<string, string> {
  const entries = isObject(value) ? Object.entries(value) : [];
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}
