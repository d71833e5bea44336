import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  eventually,
  freePort,
  loamlet,
  probeConfig,
  root,
  soilSensor,
  temporaryFolder,
  watchReadings,
} from './demo-world.ts';
import { output, print, start } from './processes.ts';

const nodeName = 'greenhouse-1';

/** A node of a real cluster: control plane, registry, broker, a Deployment, and the operator's commands as they are typed. */
export async function demo(readings: number, signal: AbortSignal): Promise<void> {
  await using folder = await temporaryFolder();
  const at = (name: string): string => join(folder.path, name);

  print('', 'starting etcd, kube-apiserver, kube-controller-manager and kube-scheduler');
  await using _controlPlane = await controlPlane(at('control-plane'));
  const env = { ...process.env, KUBECONFIG: at('control-plane/admin.kubeconfig') };
  const kubectlPath = `${(await output(`${root}/scripts/control-plane`, ['build'])).trim().split('\n').at(-1)}/kubectl`;
  const kubectl = (args: readonly string[], input?: string): Promise<string> =>
    output(kubectlPath, args, { env, ...(input === undefined ? {} : { input }) });
  /** Types the command where the person can see it, and shows what it prints. */
  const show = async (args: readonly string[], input?: string): Promise<void> => {
    print('', `$ kubectl ${args.join(' ')}`);
    for (const line of (await kubectl(args, input)).trimEnd().split('\n')) print('', `  ${line}`);
  };

  const registryPort = await freePort();
  await using _registry = await registry(at('registry'), registryPort);
  const brokerPort = await freePort();
  await using _broker = await broker(at('mosquitto.conf'), brokerPort);
  await show(['apply', '-f', `${root}/deploy/runtimeclass.yaml`]);

  await writeFile(
    at('config.yaml'),
    `apiVersion: loamlet.dev/v1alpha1
kind: NodeConfig
nodeName: ${nodeName}
stateDirectory: ${at('state')}
runDirectory: ${at('run')}
logDirectory: ${at('logs')}
cluster:
  bootstrapKubeconfig: ${at('control-plane/bootstrap.kubeconfig')}
  kubeletPort: ${await freePort()}
${probeConfig}mqtt:
  url: mqtt://127.0.0.1:${brokerPort}
`,
  );
  print('', `$ loamlet node --config ${at('config.yaml')}`);
  await using node = start(process.execPath, [...loamlet, 'node', '--config', at('config.yaml')], { prefix: 'node' });
  const died = node.ended.then((code) => {
    if (!signal.aborted) throw new Error(`the node ended with exit code ${code}`);
  });
  died.catch(() => {});

  const run = async (): Promise<void> => {
    const reference = `127.0.0.1:${registryPort}/soil-sensor:0.1`;
    print('', `$ loamlet push soil-sensor.wasm ${reference}`);
    await eventually('the registry', 30, signal, async () => {
      print('', `  ${(await output(process.execPath, [...loamlet, 'push', soilSensor, reference])).trim()}`);
    });
    const request = await eventually('the serving certificate request', 60, signal, () => servingRequest(kubectl));
    await show(['certificate', 'approve', request]);
    const deployment = (await readFile(`${root}/examples/soil-sensor/deployment.yaml`, 'utf8'))
      .replace(/image: .*/, `image: ${reference}`)
      .replace(/"5000"/, '"1000"');
    await show(['apply', '-f', '-'], deployment);
    await show(['rollout', 'status', 'deployment/soil-sensor', '--timeout=120s']);
    await show(['get', 'nodes,pods', '-o', 'wide']);
    await eventually('kubectl logs', 60, signal, () => kubectl(['logs', 'deployment/soil-sensor', '--tail=1']));
    print('', '$ kubectl logs -f deployment/soil-sensor');
    await using _logs = start(kubectlPath, ['logs', '-f', 'deployment/soil-sensor'], { env, prefix: 'log' });
    await watchReadings(`mqtt://127.0.0.1:${brokerPort}`, readings, signal);
  };
  await Promise.race([run(), died]);
}

async function controlPlane(directory: string): Promise<AsyncDisposable> {
  const script = `${root}/scripts/control-plane`;
  const env = { ...process.env, OWNER_PID: String(process.pid) };
  await output(script, ['start', directory], { env });
  return {
    async [Symbol.asyncDispose]() {
      await output(script, ['clean', directory]);
    },
  };
}

async function registry(directory: string, port: number): Promise<AsyncDisposable> {
  await mkdir(directory);
  const config = join(directory, 'config.yml');
  await writeFile(
    config,
    `version: 0.1
log: { level: error, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: ${directory}/data } }
http: { addr: "127.0.0.1:${port}" }
`,
  );
  return start('docker-registry', ['serve', config], { onLine: () => {} });
}

async function broker(config: string, port: number): Promise<AsyncDisposable> {
  await writeFile(
    config,
    `listener ${port} 127.0.0.1\nallow_anonymous true\n${process.getuid?.() === 0 ? 'user root\n' : ''}`,
  );
  return start('mosquitto', ['-c', config], { onLine: () => {} });
}

/** The pending request for the node's serving certificate, checked as an operator would before approving. */
async function servingRequest(kubectl: (args: readonly string[]) => Promise<string>): Promise<string> {
  const list = JSON.parse(await kubectl(['get', 'csr', '-o', 'json'])) as {
    items: {
      metadata: { name: string };
      spec: { signerName: string; username: string };
      status: { conditions?: unknown[] };
    }[];
  };
  const request = list.items.find(
    ({ spec, status }) =>
      spec.signerName === 'kubernetes.io/kubelet-serving' &&
      spec.username === `system:node:${nodeName}` &&
      status.conditions === undefined,
  );
  if (request === undefined) throw new Error('none is pending');
  return request.metadata.name;
}
