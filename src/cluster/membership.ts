import { readFile } from 'node:fs/promises';
import { errorLine } from '../base/errors.ts';
import { Authorizer } from '../kubelet/authorizer.ts';
import type { ContainerLogs } from '../kubelet/container-logs.ts';
import { KubeletServer } from '../kubelet/server.ts';
import type { Logger } from '../observe/logger.ts';
import { accessReview } from './access-review.ts';
import { ApiClient } from './api-client.ts';
import { clusterAddress, keepRenewed, obtainAccess, type CredentialOptions } from './credentials.ts';
import { ClusterError } from './errors.ts';
import { EventRecorder, type ObjectRef } from './events.ts';
import { keepAlive } from './heartbeat.ts';
import { NodeLease } from './lease.ts';
import { readFacts } from './node-facts.ts';
import {
  checkDescription,
  defaultTaints,
  type CapacityOverrides,
  type NodeDescription,
  type Readiness,
  type Taint,
} from './node-object.ts';
import { NodeRegistrar } from './node-registrar.ts';
import { podEvents } from './pod-source.ts';
import type { PodEvent } from './raw-pod.ts';
import { Backoff } from './retry.ts';
import { ServingCertificate } from './serving-certificate.ts';
import { StatusWriter } from './status-writer.ts';

export interface MembershipOptions {
  readonly nodeName: string;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Set when the node is created, never later. @default Krustlet's two */
  readonly taints?: readonly Taint[] | undefined;
  /** Path of a kubeconfig with a bootstrap token, for a node that has no certificate yet. */
  readonly bootstrapKubeconfig?: string | undefined;
  /** Path of a kubeconfig with the node's own credentials, instead. */
  readonly kubeconfig?: string | undefined;
  /** PEM file of the CA of those who may call the kubelet port. @default the kubeconfig's CA */
  readonly clientCaFile?: string | undefined;
  /** Exists; `pki/` in it is ours. */
  readonly stateDirectory: string;
  /** Devices by resource name without prefix. */
  readonly resources: ReadonlyMap<string, number>;
  readonly capacity?: CapacityOverrides | undefined;
  /** IP address to be reached by. @default that of the default route's interface */
  readonly address?: string | undefined;
  /** Where the kubelet port listens. @default '0.0.0.0' */
  readonly kubeletHost?: string | undefined;
  /** 0 takes a free one. */
  readonly kubeletPort: number;
  /** Loamlet's version, `0.1.0`. */
  readonly version: string;
  readonly logs: ContainerLogs;
  /** The pods here as objects, for `/pods` on the kubelet port. @default none */
  readonly runningPods?: (() => readonly unknown[]) | undefined;
  /** Asked every 10 s. @default ready */
  readonly readiness?: (() => Readiness) | undefined;
  /** How long a certificate request waits for approval before another is made. @default 15 minutes */
  readonly approvalLimitMs?: number | undefined;
  readonly log: Logger;
}

/**
 * This machine's life as a node: joins when it can, stays, and is found again after every outage. It never ends by
 * itself and never holds up its owner: until the API server has been reached, statuses and Events wait (bounded) and
 * `pods` yields nothing.
 */
export class ClusterMembership {
  readonly client: ApiClient;
  readonly statuses: StatusWriter;
  readonly events: EventRecorder;
  /** Resolves when the Node object first is in the cluster; never rejects. */
  readonly joined: Promise<void>;
  /** Why the node is not in touch with its cluster; undefined when it is. */
  problem: ClusterError | Error | undefined;

  readonly #options: MembershipOptions;
  readonly #credentials: CredentialOptions;
  readonly #registrar: NodeRegistrar;
  readonly #server: KubeletServer;
  readonly #serving: ServingCertificate;
  readonly #ending = new AbortController();
  readonly #signal: AbortSignal;
  readonly #markJoined: () => void;
  readonly #tasks: Array<Promise<void>> = [];
  #servingAddress: string | undefined;
  #servingTask = new AbortController();

  private constructor(
    options: MembershipOptions,
    parts: { client: ApiClient; server: KubeletServer; serving: ServingCertificate },
    signal: AbortSignal,
  ) {
    const { nodeName, log } = options;
    this.#options = options;
    this.#credentials = options;
    this.client = parts.client;
    this.#server = parts.server;
    this.#serving = parts.serving;
    this.#signal = AbortSignal.any([signal, this.#ending.signal]);
    this.statuses = new StatusWriter(this.client, nodeName, log, this.#signal);
    this.events = new EventRecorder(this.client, nodeName, log, this.#signal);
    this.#registrar = new NodeRegistrar(this.client, describe(options), {
      stateDirectory: options.stateDirectory,
      address: options.address,
      kubeletPort: this.kubeletPort,
      readiness:
        options.readiness ?? (() => ({ ready: true, reason: 'LoamletReady', message: 'loamlet runs modules' })),
      log,
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.joined = promise;
    this.#markJoined = resolve;
  }

  /**
   * Opens the kubelet port and begins to join; resolves at once, the cluster reachable or not.
   * @param signal ends all that goes on with the cluster; only disposing closes the port
   * @throws ClusterError KubeconfigInvalid, NodeInvalid; LoamletError KubeletPortUnavailable: what an operator has to mend
   */
  static async join(options: MembershipOptions, signal: AbortSignal): Promise<ClusterMembership> {
    const { nodeName, stateDirectory, log } = options;
    checkDescription(describe(options));
    const address = await clusterAddress(options);
    const clientCa = await readClientCa(options, address.ca);
    const serving = new ServingCertificate({ nodeName, stateDirectory, log });
    const { certificate, key } = await serving.current(await currentAddress(options));
    const client = new ApiClient({
      server: address.server,
      authorize: () => Promise.reject(new Error('this node has not joined yet')),
      close: () => {},
    });
    const server = await KubeletServer.open({
      host: options.kubeletHost,
      port: options.kubeletPort,
      certificate,
      key,
      clientCa,
      authorizer: new Authorizer(accessReview(client, nodeName)),
      logs: options.logs,
      pods: options.runningPods ?? (() => []),
      log,
    });
    const membership = new ClusterMembership(options, { client, server, serving }, signal);
    membership.#spawn('membership', membership.#run());
    return membership;
  }

  /** The port the API server dials. */
  get kubeletPort(): number {
    return this.#server.port;
  }

  /** The address this node is reached by (a pod's hostIP); undefined until it has one. */
  get address(): string | undefined {
    return this.#registrar.address;
  }

  /** This node as what Events are about. */
  get nodeRef(): ObjectRef {
    // By name, as kubelets do: `kubectl describe node` looks for both.
    return { kind: 'Node', name: this.#options.nodeName, uid: this.#options.nodeName };
  }

  /**
   * The pods bound to this node, from the time it has joined; one reader. Ends when the membership or the signal does.
   * See `podEvents`.
   */
  async *pods(signal: AbortSignal): AsyncGenerator<PodEvent, void, undefined> {
    const both = AbortSignal.any([signal, this.#signal]);
    await Promise.race([this.joined, aborted(both)]);
    const { nodeName, log } = this.#options;
    for await (const event of podEvents({ client: this.client, nodeName, log }, both)) {
      if (event.type === 'deleted') this.statuses.forget(event.uid);
      else for (const pod of event.type === 'sync' ? event.pods : [event.pod]) this.statuses.observe(pod);
      yield event;
    }
  }

  /** The devices there are now; told to the cluster within 10 s. @throws ClusterError NodeInvalid */
  setResources(resources: ReadonlyMap<string, number>): void {
    checkDescription({ ...describe(this.#options), resources });
    this.#registrar.setResources(resources);
  }

  /** Ends every request and the kubelet port. The Node object stays: the agent may be back in a moment. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort(new Error('the membership has ended'));
    this.#servingTask.abort();
    await Promise.all(this.#tasks);
    await this.#server[Symbol.asyncDispose]();
    this.client.close();
  }

  async #run(): Promise<void> {
    const { access, identity } = await this.#obtainAccess();
    this.client.use(access);
    if (identity !== undefined)
      this.#spawn('renewal', keepRenewed(this.client, identity, this.#credentials, this.#signal));
    await keepAlive(
      {
        registrar: this.#registrar,
        lease: new NodeLease(this.client, this.#options.nodeName),
        log: this.#options.log,
        onBeat: () => this.#beaten(),
        onReturn: () => this.statuses.resendAll(),
        onFailure: (error) => (this.problem = error instanceof Error ? error : new Error(String(error))),
      },
      this.#signal,
    );
  }

  async #obtainAccess(): ReturnType<typeof obtainAccess> {
    const backoff = new Backoff(500, 30_000);
    let last = '';
    for (;;) {
      try {
        return await obtainAccess(this.#credentials, this.#signal);
      } catch (error) {
        this.#signal.throwIfAborted();
        this.problem = error instanceof Error ? error : new Error(String(error));
        const line = errorLine(error);
        // Each new reason once; the tries go on without a word.
        if (line !== last)
          this.#options.log.error({ error: line }, 'this node has not joined its cluster: trying again');
        last = line;
        await backoff.wait(this.#signal);
      }
    }
  }

  #beaten(): void {
    this.problem = undefined;
    this.#markJoined();
    const { address } = this.#registrar;
    if (address === undefined || address === this.#servingAddress) return;
    // The certificate names the address.
    this.#servingAddress = address;
    this.#servingTask.abort();
    this.#servingTask = new AbortController();
    const signal = AbortSignal.any([this.#signal, this.#servingTask.signal]);
    const use = ({ certificate, key }: { certificate: string; key: string }): void =>
      this.#server.useCertificate(certificate, key);
    this.#spawn('serving certificate', this.#serving.keepSigned(this.client, address, use, signal), signal);
  }

  #spawn(name: string, task: Promise<void>, signal: AbortSignal = this.#signal): void {
    this.#tasks.push(
      task.catch((error: unknown) => {
        if (!signal.aborted) this.#options.log.error({ task: name, error: errorLine(error) }, 'cluster task failed');
      }),
    );
  }
}

function describe({
  nodeName,
  labels = {},
  taints = defaultTaints,
  resources,
  capacity = {},
  version,
}: MembershipOptions): NodeDescription {
  return { nodeName, labels, taints, resources, capacity, version };
}

async function readClientCa({ clientCaFile }: MembershipOptions, clusterCa: string | undefined): Promise<string> {
  try {
    const pem = clientCaFile === undefined ? clusterCa : await readFile(clientCaFile, 'utf8');
    if (pem?.includes('-----BEGIN CERTIFICATE-----') === true) return pem;
  } catch (error) {
    throw new ClusterError('KubeconfigInvalid', `the client CA ${clientCaFile} can't be read (${errorLine(error)})`, {
      cause: error,
    });
  }
  throw new ClusterError(
    'KubeconfigInvalid',
    `${clientCaFile ?? 'the kubeconfig'} has no CA certificate to know callers of the kubelet port by`,
    {
      remedy: "set cluster.clientCAFile to the cluster's CA in PEM",
    },
  );
}

/** For the first certificate; without a network there is none yet, and that must not hold up the start. */
async function currentAddress({ stateDirectory, address }: MembershipOptions): Promise<string | undefined> {
  try {
    return (await readFacts(stateDirectory, address)).address;
  } catch (error) {
    if (address !== undefined) throw error;
    return undefined;
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
