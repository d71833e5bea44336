import type { Grant } from '../../hostcalls/grant.ts';
import type { ContainerId, ContainerStart } from '../runner/protocol.ts';
import { podLabel, type ContainerSpec, type Pod } from './pod.ts';
import type { PodServices, PreparedModule } from './pod-services.ts';

type NodeFacts = Pick<PodServices, 'nodeName' | 'hostIP' | 'defaultMemoryLimitBytes'>;

/** All that the runner has to know of one run. */
export function containerStart(
  id: ContainerId,
  pod: Pod,
  spec: ContainerSpec,
  module: PreparedModule,
  grant: Grant,
  node: NodeFacts,
): ContainerStart {
  const valueOf = (variable: ContainerSpec['env'][number]): string => {
    if ('value' in variable) return variable.value;
    return variable.field === 'nodeName' ? node.nodeName : (node.hostIP() ?? '');
  };
  return {
    id,
    name: `${podLabel(pod)}/${spec.name}`,
    modulePath: module.modulePath,
    moduleDigest: module.moduleDigest,
    args: spec.args,
    env: spec.env.map((variable) => `${variable.name}=${valueOf(variable)}`),
    memoryLimitBytes: memoryLimit(spec, node),
    grant,
  };
}

/** Bytes. */
export function memoryLimit(spec: ContainerSpec, node: Pick<NodeFacts, 'defaultMemoryLimitBytes'>): number {
  return spec.memoryLimitBytes ?? node.defaultMemoryLimitBytes;
}
