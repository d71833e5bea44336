import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { tempFolder } from '../support/temp-folder.ts';

const run = promisify(execFile);
const script = fileURLToPath(new URL('../../scripts/control-plane', import.meta.url));

/** Command lines of all processes here that have to do with a folder. */
async function processesOf(folder: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return lines.map((line) => line.replaceAll('\0', ' ')).filter((line) => line.includes(folder));
}

test(
  'a control plane ends with the process that started it, however that ended',
  { timeout: 20 * 60_000 },
  async () => {
    await using folder = await tempFolder();
    const directory = join(folder.path, 'cluster');
    const owner = spawn('sleep', ['infinity'], { stdio: 'ignore' });
    try {
      await run(script, ['start', directory], { env: { ...process.env, OWNER_PID: String(owner.pid) } });
      const { stdout } = await run(script, ['status', directory]);
      expect(stdout.match(/^(etcd|kube-apiserver|kube-controller-manager|kube-scheduler) +pid \d+/gm)).toHaveLength(4);
      const ended = once(owner, 'exit');
      owner.kill('SIGKILL');
      await ended;
      await expect.poll(() => processesOf(directory), { timeout: 30_000, interval: 200 }).toEqual([]);
      await expect
        .poll(
          () =>
            access(directory).then(
              () => 'there',
              () => 'gone',
            ),
          { timeout: 10_000 },
        )
        .toBe('gone');
    } finally {
      owner.kill('SIGKILL');
      await run(script, ['clean', directory]).catch(() => {});
    }
  },
);

test('says what is wrong with binaries of your own', async () => {
  await using folder = await tempFolder();
  await mkdir(join(folder.path, 'bin'));
  const env = { ...process.env, KUBEBUILDER_ASSETS: join(folder.path, 'bin') };
  await expect(run(script, ['build'], { env })).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('has no etcd') as string,
  });
  for (const name of ['etcd', 'kube-apiserver', 'kubectl'])
    await writeFile(join(folder.path, 'bin', name), '', { mode: 0o755 });
  await expect(run(script, ['build'], { env })).rejects.toMatchObject({
    stderr: expect.stringContaining('has no kube-controller-manager') as string,
  });
});

test('says what it can do when asked for something else', async () => {
  await expect(run(script, ['dance'])).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining('control-plane start  DIR') as string,
  });
  await expect(run(script, ['stop', '/nowhere'])).rejects.toMatchObject({
    code: 1,
    stderr: "error: there is no control plane in '/nowhere'\n",
  });
});
