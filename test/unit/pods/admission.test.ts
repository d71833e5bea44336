import { describe, expect, it } from 'vitest';
import { admit, type Holders, type NodePolicy } from '../../../src/pods/admission.ts';
import { AdmissionError } from '../../../src/pods/admission-error.ts';
import type { Pod } from '../../../src/pods/pod.ts';
import { container, device, pod, type PodWish } from '../../support/pod-builders.ts';

const node: NodePolicy = {
  nodeName: 'greenhouse',
  devices: [device('bed-1'), device('bed-2'), device('bed-3'), device('pump-1', 'pump')],
  messaging: true,
};
const nobody: Holders = new Map();
const heldBy = (uid: string, ...devices: string[]): Holders =>
  new Map(devices.map((name) => [name, { uid, label: `pod default/${uid}` }]));

/** `logical name=device` by container. */
function names(of: Pod, holders = nobody, policy = node, current: Parameters<typeof admit>[3] = []): string[][] {
  return admit(of, policy, holders, current).map((grant) =>
    grant.devices.map(({ logicalName, device: { name } }) => `${logicalName}=${name}`),
  );
}

const asking = (devices: Record<string, number>, wish: PodWish = {}): Pod =>
  pod({ containers: [container('c', devices)], ...wish });
const named = (annotations: Record<string, string>, devices: Record<string, number> = { 'soil-moisture': 1 }): Pod =>
  asking(devices, {
    annotations: Object.fromEntries(
      Object.entries(annotations).map(([name, value]) => [`devices.loamlet.dev/${name}`, value]),
    ),
  });

function denial(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(AdmissionError);
    expect(error).toMatchObject({ code: 'GrantDenied' });
    return (error as AdmissionError).line;
  }
  return expect.fail('it was granted');
}

describe('a device', () => {
  it('is granted by the resource’s name', () =>
    expect(admit(asking({ 'soil-moisture': 1 }), node, nobody)[0]?.devices).toEqual([
      { logicalName: 'soil-moisture', device: device('bed-1'), freshnessMs: 0 },
    ]));

  it('is granted to nobody who does not ask', () => expect(names(pod())).toEqual([[]]));

  it('is numbered when there are several', () =>
    expect(names(asking({ 'soil-moisture': 2 }))).toEqual([['soil-moisture-0=bed-1', 'soil-moisture-1=bed-2']]));

  it('of another pod is not given away', () =>
    expect(names(asking({ 'soil-moisture': 1 }), heldBy('other', 'bed-1'))).toEqual([['soil-moisture=bed-2']]));

  it('that is held is denied by its holder’s name', () =>
    expect(denial(() => names(asking({ 'soil-moisture': 1 }), heldBy('other', 'bed-1', 'bed-2', 'bed-3')))).toBe(
      'every soil-moisture of this node is held by pod default/other',
    ));

  it('the pod holds itself is not in its way', () =>
    expect(names(asking({ 'soil-moisture': 1 }), heldBy('uid-soil', 'bed-1'))).toEqual([['soil-moisture=bed-1']]));

  it('is given to one container of a pod only', () => {
    const two = pod({ containers: [container('a', { 'soil-moisture': 1 }), container('b', { 'soil-moisture': 2 })] });
    expect(names(two)).toEqual([['soil-moisture=bed-1'], ['soil-moisture-0=bed-2', 'soil-moisture-1=bed-3']]);
    const both = pod({ containers: [container('a', { pump: 1 }), container('b', { pump: 1 })] });
    expect(denial(() => names(both))).toBe('every pump of this node is held by this pod already');
  });

  it('that is too few is denied', () =>
    expect(denial(() => names(asking({ pump: 2 })))).toBe('every pump of this node is held by this pod already'));

  it('that the node has not is denied, with what was meant', () => {
    expect(denial(() => names(asking({ 'soil-moistur': 1 })))).toBe(
      'this node has no soil-moistur: did you mean soil-moisture?',
    );
    expect(denial(() => names(asking({ humidity: 1 })))).toBe(
      'this node has no humidity: declare one under devices in the node config',
    );
  });
});

describe('the annotation of a device', () => {
  it('renames it', () => expect(names(named({ probe: 'soil-moisture' }))).toEqual([['probe=bed-1']]));
  it('picks one', () => expect(names(named({ probe: 'soil-moisture/bed-3' }))).toEqual([['probe=bed-3']]));
  it('names one of several', () =>
    expect(names(named({ left: 'soil-moisture' }, { 'soil-moisture': 2 }))).toEqual([
      ['left=bed-1', 'soil-moisture-1=bed-2'],
    ]));
  it('names several in their order, and none of them takes what another picks', () =>
    expect(names(named({ left: 'soil-moisture', right: 'soil-moisture/bed-1' }, { 'soil-moisture': 2 }))).toEqual([
      ['left=bed-2', 'right=bed-1'],
    ]));
  it('names the devices of several containers one after the other', () => {
    const two = pod({
      containers: [container('a', { 'soil-moisture': 1 }), container('b', { 'soil-moisture': 1 })],
      annotations: { 'devices.loamlet.dev/x': 'soil-moisture', 'devices.loamlet.dev/y': 'soil-moisture/bed-1' },
    });
    expect(names(two)).toEqual([['x=bed-2'], ['y=bed-1']]);
  });
  it.each<[string, Record<string, string>, string]>([
    [
      'of a device that is not there',
      { probe: 'soil-moisture/bed-9' },
      'this node has no soil-moisture of the name bed-9',
    ],
    [
      'of a device of another kind',
      { probe: 'soil-moisture/pump-1' },
      'this node has no soil-moisture of the name pump-1',
    ],
    [
      'without a resource',
      { probe: '/bed-1' },
      'annotation devices.loamlet.dev/probe: /bed-1 is not RESOURCE or RESOURCE/DEVICE',
    ],
    [
      'without a device',
      { probe: 'soil-moisture/' },
      'annotation devices.loamlet.dev/probe: soil-moisture/ is not RESOURCE or RESOURCE/DEVICE',
    ],
    [
      'with too much',
      { probe: 'a/b/c' },
      'annotation devices.loamlet.dev/probe: a/b/c is not RESOURCE or RESOURCE/DEVICE',
    ],
    [
      'of no DNS label',
      { 'A b': 'soil-moisture' },
      'annotation devices.loamlet.dev/A b: soil-moisture is not RESOURCE or RESOURCE/DEVICE',
    ],
    [
      'for what no container asks for',
      { probe: 'soil-moistur' },
      'annotation devices.loamlet.dev/probe names a soil-moistur that no container asks for: add soil-moistur to resources.limits, or remove the annotation',
    ],
  ])('%s is refused', (_, annotations, message) => expect(denial(() => names(named(annotations)))).toBe(message));

  it('that picks a held device is refused by the holder’s name', () =>
    expect(denial(() => names(named({ probe: 'soil-moisture/bed-1' }), heldBy('other', 'bed-1')))).toBe(
      'bed-1 is held by pod default/other',
    ));
  it('may not give two devices one name', () =>
    expect(denial(() => names(named({ pump: 'soil-moisture' }, { 'soil-moisture': 1, pump: 1 })))).toBe(
      'two devices of container c have the name pump',
    ));
  it('may not name more than is asked for', () =>
    expect(denial(() => names(named({ a: 'soil-moisture', b: 'soil-moisture' })))).toContain(
      'names a soil-moisture that no container asks for',
    ));
});

describe('a pod that is admitted again', () => {
  const two = pod({ containers: [container('a', { 'soil-moisture': 1 }), container('b', { 'soil-moisture': 1 })] });
  const first = admit(two, node, heldBy('other', 'bed-1'));
  it('keeps its devices when others become free', () => {
    expect(names(two, heldBy('other', 'bed-1'))).toEqual([['soil-moisture=bed-2'], ['soil-moisture=bed-3']]);
    expect(names(two, nobody, node, first)).toEqual([['soil-moisture=bed-2'], ['soil-moisture=bed-3']]);
  });
  it('does not get a device that another of its containers has', () =>
    expect(names(two, heldBy('other', 'bed-1'), node, [undefined, first[0]])).toEqual([
      ['soil-moisture=bed-3'],
      ['soil-moisture=bed-2'],
    ]));
  it('loses one that the node has no more', () => {
    const smaller = { ...node, devices: node.devices.filter(({ name }) => name !== 'bed-2') };
    expect(names(two, nobody, smaller, first)).toEqual([['soil-moisture=bed-1'], ['soil-moisture=bed-3']]);
  });
  it('gets the device as the config has it now', () => {
    const recalibrated = { ...device('bed-2'), options: { wet: 1 } };
    const changed = { ...node, devices: [recalibrated, device('bed-3')] };
    expect(admit(two, changed, nobody, first)[0]?.devices[0]?.device).toBe(recalibrated);
  });
});

describe('the policy of devices', () => {
  const rules = (...list: NonNullable<NodePolicy['rules']>): NodePolicy => ({ ...node, rules: list });
  const garden = { namespace: 'garden' };
  it('without rules is for namespace default and static pods', () => {
    expect(names(asking({ pump: 1 }))).toEqual([['pump=pump-1']]);
    const fixed = pod({ ...garden, containers: [container('c', { pump: 1 })] }, 'static');
    expect(names(fixed)).toEqual([['pump=pump-1']]);
    expect(denial(() => names(asking({ pump: 1 }, garden)))).toBe(
      "this node's policy gives pump to no pod of namespace garden: add a policy rule to the node config",
    );
  });
  it('is by namespace and resource', () => {
    const policy = rules(
      { namespaces: ['garden'], devices: ['pump'], publish: [] },
      { namespaces: ['*'], devices: ['soil-moisture'], publish: [] },
    );
    expect(names(asking({ pump: 1 }, garden), nobody, policy)).toEqual([['pump=pump-1']]);
    expect(names(asking({ 'soil-moisture': 1 }), nobody, policy)).toEqual([['soil-moisture=bed-1']]);
    expect(denial(() => names(asking({ pump: 1 }), nobody, policy))).toContain(
      'gives pump to no pod of namespace default',
    );
  });
  it('with * is for all', () => {
    const policy = rules({ namespaces: ['garden'], devices: ['*'], publish: [] });
    expect(names(asking({ pump: 1 }, garden), nobody, policy)).toEqual([['pump=pump-1']]);
  });
  it('that is empty is for nobody', () =>
    expect(denial(() => names(asking({ pump: 1 }), nobody, rules()))).toContain('gives pump to no pod'));
});

describe('topics', () => {
  const ask = (publish: string, wish: PodWish = {}): Pod =>
    pod({ ...wish, annotations: { 'mqtt.loamlet.dev/publish': publish } });
  const offer = (filter: string, qos: 0 | 1 = 1, retain = true) => ({ filter, qos, retain });
  const policy = (...publish: ReturnType<typeof offer>[]): NodePolicy => ({
    ...node,
    rules: [{ namespaces: ['default'], devices: [], publish }],
  });
  const messaging = (of: Pod, by = node) => admit(of, by, nobody)[0]?.messaging;

  it('are the pod’s own without asking', () => {
    const own = { prefix: 'loamlet/greenhouse/default/soil/', publish: [offer('loamlet/greenhouse/default/soil/#')] };
    expect(messaging(pod())).toEqual(own);
    expect(messaging(pod(), policy())).toEqual(own);
    expect(messaging(pod({ namespace: 'garden' }, 'static'))?.prefix).toBe('loamlet/greenhouse/garden/soil/');
  });
  it('are nobody’s where the policy is silent', () => {
    expect(messaging(pod({ namespace: 'garden' }))).toBeUndefined();
    expect(messaging(pod({ namespace: 'garden' }), policy())).toBeUndefined();
    expect(messaging(pod(), { ...node, rules: [] })).toBeUndefined();
  });
  it('are the same for all containers', () => {
    const two = admit(pod({ containers: [container('a'), container('b')] }), node, nobody);
    expect(two[0]?.messaging).toEqual(two[1]?.messaging);
    expect(two[0]?.messaging).toBeDefined();
  });
  it('that are asked for are absolute, with the policy’s qos and retain', () =>
    expect(messaging(ask('garden/bed-3/#, alarm'), policy(offer('garden/#', 0, false), offer('alarm')))).toEqual({
      publish: [offer('garden/bed-3/#', 0, false), offer('alarm')],
    }));
  it('of the own prefix may be asked for by name', () =>
    expect(messaging(ask('loamlet/greenhouse/default/soil/x'))).toEqual({
      publish: [offer('loamlet/greenhouse/default/soil/x')],
    }));

  it.each([
    ['#', 'garden/#'],
    ['garden/#', 'garden/+'],
    ['+/x', 'garden/x'],
    ['garden', 'garden/+'],
    ['garden/#,#', 'garden/#'],
    ['', 'garden/#'],
    ['garden/#,', 'garden/#'],
    ['a/#/b', '#'],
    ['$SYS/x', '#'],
    ['loamlet/greenhouse/default/other/x', 'garden/#'],
  ])('%s are not covered by %s', (asked, offered) =>
    expect(denial(() => messaging(ask(asked), policy(offer(offered))))).toContain(
      "this node's policy lets default/soil publish to no topics of",
    ),
  );
  it.each([
    ['garden', 'garden/#'],
    ['garden/+/x', 'garden/#'],
    ['garden/+', 'garden/+'],
    ['+/#', '#'],
  ])('%s are covered by %s', (asked, offered) =>
    expect(messaging(ask(asked), policy(offer(offered)))?.publish[0]?.filter).toBe(asked),
  );

  it('are not asked for by the thousand', () =>
    expect(denial(() => messaging(ask('a,'.repeat(100_000)), policy(offer('#'))))).toBe(
      'annotation mqtt.loamlet.dev/publish has more than 32 filters',
    ));
  it('need a broker', () => {
    expect(messaging(pod(), { ...node, messaging: false })).toBeUndefined();
    expect(denial(() => messaging(ask('a'), { ...node, messaging: false }))).toBe(
      'this node has no broker: set mqtt in the node config',
    );
  });
  it('are not subscribed to in this version', () =>
    expect(denial(() => messaging(pod({ annotations: { 'mqtt.loamlet.dev/subscribe': 'a' } })))).toBe(
      'annotation mqtt.loamlet.dev/subscribe: this version does not deliver messages to modules: remove it',
    ));
});
