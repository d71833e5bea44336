import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { ApiClient } from '../../src/cluster/api-client.ts';
import { ControlPlane } from '../../test/support/control-plane.ts';
import { hostAddress } from '../../test/support/member.ts';
import { Mosquitto } from '../../test/support/mosquitto.ts';
import { Registry } from '../../test/support/registry.ts';
import { eventually } from '../lib/demo-world.ts';
import { output } from '../lib/processes.ts';
import { AgentProcess } from './agent-process.ts';
import type { Bench } from './figure.ts';
import { buildGuest } from './guests.ts';

const nodeName = 'bench-1';

interface NodeObject {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

/** A node of a real cluster: control plane, registry with one module, broker, and the shipped bundle as `loamlet node`. */
export class NodeWorld implements AsyncDisposable {
  readonly node: AgentProcess;
  readonly api: ApiClient;
  /** What a pod names as its image. */
  readonly image: string;
  readonly #cluster: ControlPlane;
  readonly #parts: AsyncDisposableStack;

  private constructor(node: AgentProcess, cluster: ControlPlane, image: string, parts: AsyncDisposableStack) {
    this.node = node;
    this.#cluster = cluster;
    this.api = cluster.admin;
    this.image = image;
    this.#parts = parts;
  }

  static async open({ folder, signal }: Bench): Promise<NodeWorld> {
    const parts = new AsyncDisposableStack();
    try {
      const cluster = parts.use(await ControlPlane.start());
      const registry = parts.use(await Registry.start());
      const broker = parts.use(await Mosquitto.start());
      const image = `${registry.host}/sensor:1`;
      const root = new URL('../..', import.meta.url).pathname;
      await output(process.execPath, [`${root}dist/loamlet.mjs`, 'push', await buildGuest('sensor', folder), image]);
      const runtimeClass = parseAllDocuments(await readFile(`${root}deploy/runtimeclass.yaml`, 'utf8'));
      await cluster.apply(...runtimeClass.map((document) => document.toJSON() as object));
      const { bootstrapKubeconfig } = cluster;
      const node = parts.use(
        await AgentProcess.start(join(folder, 'node'), {
          nodeName,
          cluster: { bootstrapKubeconfig, address: hostAddress, kubeletPort: 0 },
          mqtt: { url: broker.url },
        }),
      );
      const world = new NodeWorld(node, cluster, image, parts);
      await world.ready(signal);
      return world;
    } catch (error) {
      await parts.disposeAsync();
      throw error;
    }
  }

  /** Resolves when the API has the node as Ready; approves what it asks for meanwhile, as an operator would. */
  ready(signal: AbortSignal): Promise<void> {
    return eventually('the node', 60, signal, async () => {
      await this.#cluster.approveServing(nodeName);
      const { status } = await this.api.get<NodeObject>(`/api/v1/nodes/${nodeName}`);
      if (!(status?.conditions ?? []).some((each) => each.type === 'Ready' && each.status === 'True'))
        throw new Error(`it is not Ready: ${this.node.lastLine}`);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
  }
}
