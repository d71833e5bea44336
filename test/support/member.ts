import { networkInterfaces } from 'node:os';
import { ClusterMembership, type MembershipOptions } from '../../src/cluster/membership.ts';
import { chooseAddress } from '../../src/cluster/node-facts.ts';
import { ContainerLogsError, type ContainerLogs } from '../../src/kubelet/container-logs.ts';
import type { ControlPlane } from './control-plane.ts';
import { tempFolder } from './temp-folder.ts';
import { TestLog } from './test-log.ts';

export const noLogs: ContainerLogs = {
  open: () => Promise.reject(new ContainerLogsError('LOGS_NOT_FOUND', 'there is no such container')),
};

/** Not a loopback one where the machine has another: the API server's proxy refuses to dial those. */
export const hostAddress = chooseAddress(networkInterfaces(), undefined) ?? '127.0.0.1';

export interface Member extends AsyncDisposable {
  readonly membership: ClusterMembership;
  readonly log: TestLog;
  readonly options: MembershipOptions;
}

/** A node that begins to join with the cluster's bootstrap token, in a state folder of its own. */
export async function becomeMember(
  cluster: ControlPlane,
  overrides: Partial<MembershipOptions> & { readonly nodeName: string },
): Promise<Member> {
  const folder = await tempFolder();
  const log = new TestLog();
  const options: MembershipOptions = {
    bootstrapKubeconfig: cluster.bootstrapKubeconfig,
    stateDirectory: folder.path,
    resources: new Map(),
    address: hostAddress,
    kubeletPort: 0,
    version: '0.1.0',
    logs: noLogs,
    log: log.log,
    ...overrides,
  };
  let membership: ClusterMembership;
  try {
    membership = await ClusterMembership.join(options, new AbortController().signal);
  } catch (error) {
    await folder[Symbol.asyncDispose]();
    throw error;
  }
  return {
    membership,
    log,
    options,
    async [Symbol.asyncDispose]() {
      await membership[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}
