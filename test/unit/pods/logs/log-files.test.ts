import { mkdir, readFile, readdir, stat, symlink, truncate, writeFile, appendFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { LogOptions } from '../../../../src/kubelet/container-logs.ts';
import type { LogLocation } from '../../../../src/pods/logs/log-location.ts';
import { LogReader } from '../../../../src/pods/logs/log-reader.ts';
import { LogWriter, type LogWriterOptions } from '../../../../src/pods/logs/log-writer.ts';
import type { LogRun } from '../../../../src/pods/logs/log-folder.ts';
import type { LogChunk } from '../../../../src/pods/logs/run-log.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

const start = Date.UTC(2026, 10, 22, 21, 0, 0, 0);
const run: LogRun = { namespace: 'garden', pod: 'soil-0', uid: 'f1b2-3c', container: 'soil', restart: 0 };
const all: LogOptions = {
  follow: false,
  tailLines: undefined,
  since: undefined,
  timestamps: false,
  limitBytes: undefined,
  previous: false,
};

async function world(options: Partial<LogWriterOptions> = {}) {
  const folder = await tempFolder();
  const warnings: string[] = [];
  const directory = join(folder.path, 'pods');
  const log = {
    warn: (fields: { error: string }, message: string) => void warnings.push(`${message}: ${fields.error}`),
  };
  const writer = await LogWriter.open({ directory, log: log as LogWriterOptions['log'], ...options });
  onTestFinished(async () => {
    await writer.close();
    await folder[Symbol.asyncDispose]();
  });
  const location: { -readonly [K in keyof LogLocation]: LogLocation[K] } = {
    uid: run.uid,
    run: 0,
    previous: undefined,
    live: true,
    waiting: '',
  };
  const reader = new LogReader({ writer, locate: (ref) => (ref.pod === run.pod ? location : undefined) });
  const container = join(directory, 'garden_soil-0_f1b2-3c', 'soil');
  return { writer, reader, location, directory, container, warnings };
}

function out(text: string, second = 0): LogChunk {
  return { stream: 'stdout', atMs: start + second * 1000, bytes: Buffer.from(text) };
}

function numbered(from: number, to: number): LogChunk[] {
  return Array.from({ length: to - from }, (_, i) => out(`line ${from + i}\n`, from + i));
}

async function read(reader: LogReader, options: Partial<LogOptions> = {}): Promise<string> {
  let text = '';
  for await (const bytes of await reader.open(run, { ...all, ...options }, new AbortController().signal)) {
    text += Buffer.from(bytes).toString();
  }
  return text;
}

/** Reads until the text has come. */
async function until(lines: AsyncIterator<Uint8Array>, wanted: string): Promise<string> {
  let text = '';
  while (!text.includes(wanted)) {
    const next = await lines.next();
    if (next.done === true) throw new Error(`ended before ${wanted}: ${text}`);
    text += Buffer.from(next.value).toString();
  }
  return text;
}

test('writes the file where and how a kubelet does, readable by its group only', async () => {
  const { writer, container } = await world();
  await writer.write(run, [out('one\ntwo\n'), { stream: 'stderr', atMs: start + 1, bytes: Buffer.from('bad\n') }]);
  expect(await readFile(join(container, '0.log'), 'utf8')).toBe(
    [
      '2026-11-22T21:00:00.000000000Z stdout F one',
      '2026-11-22T21:00:00.000000000Z stdout F two',
      '2026-11-22T21:00:00.001000000Z stderr F bad',
      '',
    ].join('\n'),
  );
  expect((await stat(join(container, '0.log'))).mode & 0o777).toBe(0o640);
});

test('reads back the lines of both streams, with or without their times', async () => {
  const { writer, reader } = await world();
  await writer.write(run, [out('one\n'), { stream: 'stderr', atMs: start, bytes: Buffer.from('bad\n') }, out('half')]);
  expect(await read(reader)).toBe('one\nbad\n');
  expect(await read(reader, { timestamps: true })).toBe(
    '2026-11-22T21:00:00.000000000Z one\n2026-11-22T21:00:00.000000000Z bad\n',
  );
  await writer.end(run);
  expect(await read(reader)).toBe('one\nbad\nhalf\n');
});

test('a line of 100 KiB comes back in one piece, its time before it once', async () => {
  const { writer, reader } = await world();
  const long = 'x'.repeat(100 << 10);
  await writer.write(run, [out(`${long}\nnext\n`)]);
  expect(await read(reader)).toBe(`${long}\nnext\n`);
  const time = '2026-11-22T21:00:00.000000000Z ';
  expect(await read(reader, { timestamps: true })).toBe(`${time}${long}\n${time}next\n`);
});

test('a line of the other stream in the middle of a long one gets a line of its own', async () => {
  const { writer, reader } = await world();
  await writer.write(run, [
    out('a'.repeat(16385)),
    { stream: 'stderr', atMs: start, bytes: Buffer.from('bad\n') },
    out('b\n'),
  ]);
  expect(await read(reader)).toBe(`${'a'.repeat(16384)}\nbad\nab\n`);
});

test('rotates by size, keeps so many files and reads on through all of them', async () => {
  const { writer, reader, container } = await world({ maxBytes: 500, maxFiles: 3 });
  for (let i = 0; i < 100; i += 10) await writer.write(run, numbered(i, i + 10));
  const files = (await readdir(container)).sort();
  expect(files).toHaveLength(3);
  expect(files[0]).toBe('0.log');
  for (const file of files) expect((await stat(join(container, file))).size).toBeLessThan(550);
  const lines = (await read(reader)).trimEnd().split('\n');
  expect(lines.at(-1)).toBe('line 99');
  expect(lines).toEqual(Array.from({ length: lines.length }, (_, i) => `line ${100 - lines.length + i}`));
  expect(lines.length).toBeGreaterThan(20);
  // The tail goes back over files, too.
  expect(await read(reader, { tailLines: 20 })).toBe(Array.from({ length: 20 }, (_, i) => `line ${80 + i}\n`).join(''));
});

test('goes on with the numbers of rotated files after a restart of the agent', async () => {
  const { writer, reader, directory, container } = await world({ maxBytes: 300, maxFiles: 10 });
  await writer.write(run, numbered(0, 20));
  await writer.close();
  await using second = await LogWriter.open({ directory, maxBytes: 300, maxFiles: 10, log: { warn: () => undefined } });
  await second.write(run, numbered(20, 40));
  expect(await read(reader)).toBe(Array.from({ length: 40 }, (_, i) => `line ${i}\n`).join(''));
  expect(new Set(await readdir(container)).size).toBeGreaterThan(5);
});

test.each([0, 1, 2, 999, 1000, 1001])('gives the last %i lines', async (tailLines) => {
  const { writer, reader } = await world();
  // More than one block of 64 KiB.
  const lines = Array.from({ length: 1000 }, (_, i) => `${i} ${'.'.repeat(i % 200)}\n`);
  await writer.write(run, [out(lines.join(''))]);
  expect(await read(reader, { tailLines })).toBe(lines.slice(1000 - Math.min(1000, tailLines)).join(''));
});

test('leaves out what is older than asked for', async () => {
  const { writer, reader } = await world();
  await writer.write(run, numbered(0, 10));
  expect(await read(reader, { since: new Date(start + 8000) })).toBe('line 8\nline 9\n');
  expect(await read(reader, { since: new Date(start + 8001) })).toBe('line 9\n');
});

test('stops at the limit of bytes, in the middle of a line', async () => {
  const { writer, reader } = await world();
  await writer.write(run, numbered(0, 10));
  expect(await read(reader, { limitBytes: 9 })).toBe('line 0\nli');
  expect(await read(reader, { limitBytes: 0 })).toBe('');
});

test('follows through rotation until the container ends, and misses nothing', async () => {
  const { writer, reader } = await world({ maxBytes: 400, maxFiles: 20 });
  await writer.write(run, numbered(0, 3));
  const followed = read(reader, { follow: true });
  for (let i = 3; i < 100; i += 1) await writer.write(run, numbered(i, i + 1));
  await writer.write(run, [out('last words')]);
  await writer.end(run);
  expect(await followed).toBe(`${Array.from({ length: 100 }, (_, i) => `line ${i}\n`).join('')}last words\n`);
});

test('a follower gets each line as it is written, from before the first', async () => {
  const { writer, reader } = await world();
  const lines = (await reader.open(run, { ...all, follow: true, tailLines: 0 }, new AbortController().signal))[
    Symbol.asyncIterator
  ]();
  const first = until(lines, 'line 0');
  await writer.write(run, numbered(0, 1));
  expect(await first).toBe('line 0\n');
  await writer.write(run, numbered(1, 2));
  expect(await until(lines, 'line 1')).toBe('line 1\n');
  await writer.end(run);
  expect((await lines.next()).done).toBe(true);
});

test('a follower that is away while files are rotated reads on in the file it has open', async () => {
  const { writer, reader } = await world({ maxBytes: 200, maxFiles: 2 });
  const lines = (await reader.open(run, { ...all, follow: true }, new AbortController().signal))[
    Symbol.asyncIterator
  ]();
  await writer.write(run, numbered(0, 1));
  expect(await until(lines, 'line 0')).toBe('line 0\n');
  for (let i = 1; i < 30; i += 1) await writer.write(run, numbered(i, i + 1));
  const rest = await until(lines, 'line 29');
  // The rest of its own file, then the oldest that is still there.
  expect(rest.startsWith('line 1\n')).toBe(true);
  expect(rest.endsWith('line 28\nline 29\n')).toBe(true);
  await lines.return?.();
});

test('a follower ends without an error when its client leaves', async () => {
  const { writer, reader } = await world();
  await writer.write(run, numbered(0, 1));
  const abort = new AbortController();
  const lines = (await reader.open(run, { ...all, follow: true }, abort.signal))[Symbol.asyncIterator]();
  await until(lines, 'line 0');
  const end = lines.next();
  abort.abort();
  expect((await end).done).toBe(true);
});

test('following a container that has ended gives what there is', async () => {
  const { writer, reader, location } = await world();
  await writer.write(run, numbered(0, 2));
  await writer.end(run);
  location.live = false;
  expect(await read(reader, { follow: true })).toBe('line 0\nline 1\n');
});

test('a container that ends between the request and the first read does not hang its follower', async () => {
  const { writer, reader, location } = await world();
  await writer.write(run, numbered(0, 1));
  const lines = await reader.open(run, { ...all, follow: true }, new AbortController().signal);
  await writer.end(run);
  location.live = false;
  let text = '';
  for await (const bytes of lines) text += Buffer.from(bytes).toString();
  expect(text).toBe('line 0\n');
});

test('followers end with the runner, also those of a container that has printed nothing', async () => {
  const { writer, reader } = await world();
  await writer.write(run, [out('torn')]);
  const followed = read(reader, { follow: true });
  const silent = (
    await reader.open({ ...run, container: 'silent' }, { ...all, follow: true }, new AbortController().signal)
  )[Symbol.asyncIterator]();
  const nothing = silent.next();
  await writer.endAll();
  expect(await followed).toBe('torn\n');
  expect((await nothing).done).toBe(true);
});

test('keeps the run before for --previous, and removes older ones', async () => {
  const { writer, reader, location, container } = await world();
  for (let restart = 0; restart < 3; restart += 1) {
    await writer.write({ ...run, restart }, [out(`run ${restart}\n`)]);
    await writer.end({ ...run, restart });
  }
  Object.assign(location, { run: 2, previous: 1 });
  expect(await read(reader)).toBe('run 2\n');
  expect(await read(reader, { previous: true })).toBe('run 1\n');
  expect((await readdir(container)).sort()).toEqual(['1.log', '2.log']);
});

test('says why there is no log', async () => {
  const { reader, location } = await world();
  Object.assign(location, { run: undefined, live: false, waiting: 'ErrImagePull' });
  await expect(read(reader)).rejects.toMatchObject({
    code: 'LOGS_NOT_AVAILABLE',
    message: expect.stringContaining('ErrImagePull') as string,
  });
  await expect(read(reader, { previous: true })).rejects.toMatchObject({ code: 'LOGS_NOT_AVAILABLE' });
  await expect(reader.open({ ...run, pod: 'other' }, all, new AbortController().signal)).rejects.toMatchObject({
    code: 'LOGS_NOT_FOUND',
  });
});

test('a running container that has printed nothing has an empty log', async () => {
  const { reader } = await world();
  expect(await read(reader)).toBe('');
});

test('mends a line that a power cut has torn, and reads over what is no record', async () => {
  const { writer, reader, container } = await world();
  await writer.write(run, numbered(0, 2));
  await writer.close();
  const file = join(container, '0.log');
  await truncate(file, (await stat(file)).size - 10);
  await appendFile(file, '\0'.repeat(100_000));
  await writer.write(run, numbered(2, 3));
  expect(await read(reader)).toBe('line 0\nline 2\n');
});

test('does not write through a link that somebody put in the place of a file or folder', async () => {
  const { writer, directory, container, warnings } = await world();
  const secret = join(directory, 'secret');
  await writeFile(secret, 'untouched');
  await mkdir(container, { recursive: true });
  await symlink(secret, join(container, '0.log'));
  await writer.write(run, numbered(0, 1));
  expect(await readFile(secret, 'utf8')).toBe('untouched');
  expect(warnings[0]).toMatch(/^container log not written: /);
  await rm(container, { recursive: true });
  await mkdir(join(directory, 'elsewhere'));
  await symlink(join(directory, 'elsewhere'), container);
  await writer.write({ ...run, restart: 1 }, numbered(0, 1));
  expect(await readdir(join(directory, 'elsewhere'))).toEqual([]);
});

test('does not read through a link either', async () => {
  const { reader, directory, container } = await world();
  await mkdir(container, { recursive: true });
  await writeFile(join(directory, 'secret'), '2026-11-22T21:00:00.123000000Z stdout F key\n');
  await symlink(join(directory, 'secret'), join(container, '0.log'));
  await expect(read(reader)).rejects.toThrow(/ELOOP/);
});

test.each([{ namespace: '../../etc' }, { pod: 'a/b' }, { uid: '..' }, { container: '..' }, { container: 'a..b' }])(
  'refuses names that lead elsewhere: %o',
  async (wrong) => {
    const { writer, directory, warnings } = await world();
    await writer.write({ ...run, ...wrong }, numbered(0, 1));
    expect(await readdir(directory)).toEqual([]);
    expect(warnings).toHaveLength(1);
  },
);

test('warns once while the disk refuses, and goes on when it takes some again', async () => {
  const { writer, reader, container, warnings } = await world();
  await mkdir(join(container, '0.log'), { recursive: true });
  await writer.write(run, numbered(0, 1));
  await writer.write(run, numbered(1, 2));
  expect(warnings).toHaveLength(1);
  await rm(join(container, '0.log'), { recursive: true });
  await writer.write(run, numbered(2, 3));
  expect(await read(reader)).toBe('line 2\n');
});

test('keeps no more files open than allowed, and loses nothing by it', async () => {
  const { writer, container } = await world({ maxOpenFiles: 3 });
  const runs = Array.from({ length: 20 }, (_, i) => ({ ...run, uid: `pod-${i}` }));
  const openLogs = async () => {
    const names = await readdir('/proc/self/fd');
    const targets = await Promise.all(
      names.map((fd) => import('node:fs/promises').then((fs) => fs.readlink(`/proc/self/fd/${fd}`)).catch(() => '')),
    );
    return targets.filter((target) => target.startsWith(join(container, '..', '..'))).length;
  };
  for (let round = 0; round < 3; round += 1) {
    for (const each of runs) await writer.write(each, numbered(round, round + 1));
  }
  // The last file that was put out is closed in its own time.
  await writer.write(runs[19] ?? run, []);
  expect(await openLogs()).toBeLessThanOrEqual(4);
  for (const { uid } of runs) {
    const text = await readFile(join(container, '..', '..', `garden_soil-0_${uid}`, 'soil', '0.log'), 'utf8');
    expect(text.match(/line \d/g)).toEqual(['line 0', 'line 1', 'line 2']);
  }
});

test('removes the logs of a pod that is gone, and no other', async () => {
  const { writer, directory } = await world();
  await writer.write(run, numbered(0, 1));
  await writer.write({ ...run, uid: 'other' }, numbered(0, 1));
  await writer.remove(run);
  expect(await readdir(directory)).toEqual(['garden_soil-0_other']);
});
