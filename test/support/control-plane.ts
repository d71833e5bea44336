import { execFile, spawn, type ChildProcessByStdio } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { ApiClient } from '../../src/cluster/api-client.ts';
import { readKubeconfig } from '../../src/cluster/kubeconfig.ts';

const run = promisify(execFile);
const script = fileURLToPath(new URL('../../scripts/control-plane', import.meta.url));

export interface ControlPlaneOptions {
  /** A silent node is given up after 10 s instead of 50 s. */
  readonly fastNodes?: boolean;
  /** Go duration of the certificates it signs. */
  readonly signingDuration?: string;
}

/** A real Kubernetes control plane in a folder of its own; it ends with this process at the latest. Takes about 10 s. */
export class ControlPlane {
  readonly directory: string;
  /** As system:masters. */
  readonly admin: ApiClient;
  readonly #programs: string;

  private constructor(directory: string, programs: string, admin: ApiClient) {
    this.directory = directory;
    this.#programs = programs;
    this.admin = admin;
  }

  static async start({ fastNodes = false, signingDuration }: ControlPlaneOptions = {}): Promise<ControlPlane> {
    const directory = await mkdtemp(join(tmpdir(), 'loamlet-cluster-'));
    const env = {
      ...process.env,
      OWNER_PID: String(process.pid),
      ...(fastNodes && { FAST_NODES: '1' }),
      ...(signingDuration !== undefined && { SIGNING_DURATION: signingDuration }),
    };
    const { stdout } = await run(script, ['build'], { env });
    await run(script, ['start', directory], { env });
    const { access } = await readKubeconfig(join(directory, 'admin.kubeconfig'));
    return new ControlPlane(directory, stdout.trim(), new ApiClient(access));
  }

  get adminKubeconfig(): string {
    return join(this.directory, 'admin.kubeconfig');
  }

  /** With a token that may become any node. */
  get bootstrapKubeconfig(): string {
    return join(this.directory, 'bootstrap.kubeconfig');
  }

  /** PEM file: signs the API server's and the nodes' certificates. */
  get clientCa(): string {
    return join(this.directory, 'pki', 'ca.crt');
  }

  /** What kubectl prints, as the cluster's admin. @throws with its stderr in the message */
  async kubectl(...args: string[]): Promise<string> {
    const { stdout } = await run(join(this.#programs, 'kubectl'), ['--kubeconfig', this.adminKubeconfig, ...args], {
      maxBuffer: 1 << 26,
    });
    return stdout;
  }

  /** kubectl under way, for `logs -f` and the like; the caller ends it. */
  startKubectl(...args: string[]): ChildProcessByStdio<null, Readable, Readable> {
    return spawn(join(this.#programs, 'kubectl'), ['--kubeconfig', this.adminKubeconfig, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** The object as JSON. */
  async get<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.kubectl('get', ...args, '-o', 'json')) as T;
  }

  /** Creates or updates objects, with server-side defaults. */
  async apply(...objects: object[]): Promise<void> {
    const file = join(this.directory, `apply-${process.hrtime.bigint()}.json`);
    await writeFile(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
    await this.kubectl('apply', '-f', file);
  }

  /** A copy of the bootstrap kubeconfig with another token; its path. */
  async bootstrapKubeconfigWith(token: string): Promise<string> {
    const path = join(this.directory, `bootstrap-${token.slice(0, 6)}.kubeconfig`);
    const text = await readFile(this.bootstrapKubeconfig, 'utf8');
    await writeFile(path, text.replace(/token: [^}]*/, `token: ${token}`));
    return path;
  }

  /** Approves the pending serving certificate request of a node, as an operator would; false when there is none. */
  async approveServing(nodeName: string): Promise<boolean> {
    interface Requests {
      items: Array<{
        metadata: { name: string };
        spec: { signerName: string; username: string };
        status?: { conditions?: unknown[] };
      }>;
    }
    const { items } = await this.get<Requests>('csr');
    const pending = items.filter(
      ({ spec, status }) =>
        spec.signerName === 'kubernetes.io/kubelet-serving' &&
        spec.username === `system:node:${nodeName}` &&
        (status?.conditions?.length ?? 0) === 0,
    );
    if (pending.length === 0) return false;
    await this.kubectl('certificate', 'approve', ...pending.map(({ metadata }) => metadata.name));
    return true;
  }

  /** The API server is gone from one moment to the next; everything else stays. */
  async pause(): Promise<void> {
    await run(script, ['pause', this.directory]);
  }

  async resume(): Promise<void> {
    await run(script, ['resume', this.directory]);
  }

  /** Copies the logs to a folder that stays; its path. */
  async keepLogs(): Promise<string> {
    const kept = await mkdtemp(join(tmpdir(), 'loamlet-cluster-logs-'));
    await cp(join(this.directory, 'log'), kept, { recursive: true });
    return kept;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.admin.close();
    await run(script, ['clean', this.directory]);
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** One control plane for all tests of a file; its logs are kept, and named, when one of them fails. */
export function useControlPlane(options: ControlPlaneOptions = {}): () => ControlPlane {
  let cluster: ControlPlane | undefined;
  let failed = false;
  // The first start on a machine builds it.
  beforeAll(async () => (cluster = await ControlPlane.start(options)) && undefined, 20 * 60_000);
  afterEach(({ task }) => {
    failed ||= task.result?.state === 'fail';
  });
  afterAll(async () => {
    if (failed && cluster !== undefined) console.error(`the control plane's logs: ${await cluster.keepLogs()}`);
    await cluster?.[Symbol.asyncDispose]();
  }, 60_000);
  return () => {
    if (cluster === undefined) throw new Error('the control plane has not started');
    return cluster;
  };
}
