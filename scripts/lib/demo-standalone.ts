import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort, loamlet, probeConfig, root, soilSensor, temporaryFolder, watchReadings } from './demo-world.ts';
import { print, start } from './processes.ts';

/** A node on its own: a folder of static pods, one simulated soil sensor, the embedded broker. */
export async function demo(readings: number, signal: AbortSignal): Promise<void> {
  await using folder = await temporaryFolder();
  const port = await freePort();
  const manifests = join(folder.path, 'manifests');
  await mkdir(manifests);
  const config = `apiVersion: loamlet.dev/v1alpha1
kind: NodeConfig
nodeName: demo
stateDirectory: ${folder.path}/state
runDirectory: ${folder.path}/run
logDirectory: ${folder.path}/logs
staticPodDirectory: ${manifests}
${probeConfig}mqtt:
  embedded: { port: ${port} }
`;
  const pod = (await readFile(`${root}/examples/soil-sensor/pod.yaml`, 'utf8'))
    .replace(/image: .*/, `image: file://${soilSensor}`)
    .replace(/"5000"/, '"1000"');
  await writeFile(join(folder.path, 'config.yaml'), config);
  await writeFile(join(manifests, 'soil-sensor.yaml'), pod);
  print('', `$ loamlet node --config ${folder.path}/config.yaml      (the static pod: examples/soil-sensor/pod.yaml)`);
  await using node = start(process.execPath, [...loamlet, 'node', '--config', join(folder.path, 'config.yaml')], {
    prefix: 'node',
  });
  await using _log = start(
    'tail',
    ['--quiet', '--sleep-interval=0.1', '-F', '-n', '+1', '--retry', ...(await logFiles())],
    {
      onLine: logLine,
    },
  );
  const died = node.ended.then((code) => {
    if (!signal.aborted) throw new Error(`the node ended with exit code ${code}`);
  });
  died.catch(() => {});
  await Promise.race([watchReadings(`mqtt://127.0.0.1:${port}`, readings, signal), died]);

  async function logFiles(): Promise<string[]> {
    const { parsePod } = await import('../../src/pods/parse-pod.ts');
    const { parse } = await import('yaml');
    const { uid } = parsePod(parse(pod), 'static', 'demo');
    return [join(folder.path, 'logs', `default_soil-sensor_${uid}`, 'soil-sensor', '0.log')];
  }
}

/** A line of the container's log file, without its time, stream and tag; tail's own remarks left out. */
function logLine(line: string): void {
  const match = /^\S+ (?:stdout|stderr) [FP] (.*)$/.exec(line);
  if (match !== null) print('log', `default/soil-sensor  ${match[1]}`);
}
