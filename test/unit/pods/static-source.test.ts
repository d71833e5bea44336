import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StaticSource, type StaticManifest } from '../../../src/pods/static-source.ts';
import { TestLog } from '../../support/test-log.ts';

let folder: string;
let open: Disposable[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'static-pods-'));
  open = [];
});
afterEach(async () => {
  for (const source of open) source[Symbol.dispose]();
  await rm(folder, { recursive: true, force: true });
});

/** Opens a source and hands out each set it gives, in order. */
async function watched(directory = folder, onChange: () => void = () => undefined) {
  const log = new TestLog();
  const sets: string[][] = [];
  const waiters: (() => void)[] = [];
  const name = ({ manifest }: StaticManifest): string =>
    String((manifest as { metadata?: { name?: string } }).metadata?.name ?? JSON.stringify(manifest));
  const source = await StaticSource.open(
    directory,
    (manifests) => {
      sets.push(manifests.map(name));
      waiters.splice(0).forEach((wake) => wake());
      onChange();
    },
    log.log,
  );
  open.push(source);
  /** Resolves when a set like this was given last. */
  const until = async (...names: string[]): Promise<void> => {
    while (JSON.stringify(sets.at(-1)) !== JSON.stringify(names)) await new Promise<void>((wake) => waiters.push(wake));
  };
  return { source, sets, until, log };
}

const file = (name: string): string => join(folder, name);
const manifest = (name: string): string => `kind: Pod\nmetadata: {name: ${name}}\n`;

describe('the folder of static pods', () => {
  it('is read at the start: YAML, JSON, several in a file, nothing else', async () => {
    await writeFile(file('b.yaml'), `${manifest('b1')}---\n---\n${manifest('b2')}`);
    await writeFile(file('a.json'), '{"kind":"Pod","metadata":{"name":"a"}}');
    await writeFile(file('c.yml'), manifest('c'));
    await writeFile(file('.hidden.yaml'), manifest('hidden'));
    await writeFile(file('d.yaml.swp'), manifest('swap'));
    await writeFile(file('e.txt'), manifest('text'));
    const { sets } = await watched();
    expect(sets).toEqual([['a', 'b1', 'b2', 'c']]);
  });

  it('says where each manifest is from', async () => {
    await writeFile(file('a.yaml'), manifest('a'));
    let seen: readonly StaticManifest[] = [];
    open.push(await StaticSource.open(folder, (manifests) => (seen = manifests), new TestLog().log));
    expect(seen.map((one) => one.file)).toEqual([file('a.yaml')]);
  });

  it('is followed: files that come, change, are renamed and go', async () => {
    const { until } = await watched();
    await until();
    await writeFile(file('a.yaml'), manifest('a'));
    await until('a');
    await writeFile(file('a.yaml'), manifest('a2'));
    await until('a2');
    await rename(file('a.yaml'), file('b.yaml'));
    await writeFile(file('a.yaml'), manifest('first'));
    await until('first', 'a2');
    await rm(file('b.yaml'));
    await until('first');
    await rm(file('a.yaml'));
    await until();
  });

  it.each([
    ['as it is', (path: string) => path],
    ['with a slash at its end', (path: string) => `${path}/`],
    ['with a dot in it', (path: string) => join(path, '..') + `/./${path.slice(path.lastIndexOf('/') + 1)}`],
  ])('named %s keeps the pods of a file that is broken, until it is mended or removed', async (_, spell) => {
    await writeFile(file('a.yaml'), manifest('a'));
    await writeFile(file('b.yaml'), manifest('b'));
    const { until, log, sets } = await watched(spell(folder));
    const complaint = log.until(({ msg }) => msg === 'static pod manifest ignored');
    await writeFile(file('a.yaml'), 'kind: Pod\n metadata: [');
    expect((await complaint)['file']).toContain('a.yaml');
    await writeFile(file('c.yaml'), manifest('c'));
    await until('a', 'b', 'c');
    await writeFile(file('d.yaml'), manifest('d'));
    await until('a', 'b', 'c', 'd');
    expect(sets.every((set) => set.includes('a'))).toBe(true);
    await writeFile(file('a.yaml'), manifest('mended'));
    await until('mended', 'b', 'c', 'd');
    await writeFile(file('a.yaml'), '}');
    await rm(file('a.yaml'));
    await until('b', 'c', 'd');
  });

  it('takes nothing that is no file, is too large or bites its own tail, and says so', async () => {
    await mkdir(file('folder.yaml'));
    await symlink('/dev/zero', file('zero.yaml'));
    await symlink('nowhere', file('nowhere.yaml'));
    await writeFile(file('large.yaml'), `# ${'x'.repeat(1 << 20)}\n${manifest('large')}`);
    await writeFile(file('bomb.yaml'), `a: &a [x,x,x,x,x,x,x,x,x]\n${bomb()}`);
    await writeFile(file('ok.yaml'), manifest('ok'));
    const { sets, log } = await watched();
    expect(sets).toEqual([['ok']]);
    expect(log.atLeast(50).map((line) => String(line['file']).slice(folder.length + 1))).toEqual([
      'bomb.yaml',
      'folder.yaml',
      'large.yaml',
      'nowhere.yaml',
      'zero.yaml',
    ]);
    for (const line of log.atLeast(50)) expect(String(line['error'])).not.toMatch(/\n|    at /);
  });

  it('that is not there gives an error and no pods', async () => {
    const { sets, log } = await watched(file('missing'));
    expect(sets).toEqual([]);
    expect(log.atLeast(50).map(({ msg }) => msg)).toEqual([
      "can't watch the static pod folder",
      "can't read the static pod folder",
    ]);
  });

  it('is followed also after what it gave was not taken', async () => {
    let fail = true;
    const { until, log } = await watched(folder, () => {
      if (fail) throw new Error('no');
    });
    expect(log.atLeast(50).map(({ msg }) => msg)).toEqual(["can't take over the static pods"]);
    fail = false;
    await writeFile(file('a.yaml'), manifest('a'));
    await until('a');
  });

  it('that is let go gives nothing more', async () => {
    const { source, sets } = await watched();
    await writeFile(file('a.yaml'), manifest('a'));
    source[Symbol.dispose]();
    // A second source that sees the change has had the time that the first would have needed.
    const second = await watched();
    await writeFile(file('b.yaml'), manifest('b'));
    await second.until('a', 'b');
    expect(sets).toEqual([[]]);
  });
});

/** The "billion laughs" of YAML. */
function bomb(): string {
  const names = 'abcdefghi'.split('');
  return names
    .slice(1)
    .map((name, index) => `${name}: &${name} [${Array(9).fill(`*${names[index]}`).join(',')}]`)
    .join('\n');
}
