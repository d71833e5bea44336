import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { watchFrames, type WatchFrame } from '../../../src/cluster/watch-stream.ts';

async function frames(chunks: readonly Uint8Array[]): Promise<WatchFrame[]> {
  return (await Readable.from(watchFrames(Readable.from(chunks))).toArray()) as WatchFrame[];
}

const line = (type: string, name: string): string => `${JSON.stringify({ type, object: { metadata: { name } } })}\n`;

test('frames come out whole however the bytes are cut, also within a character', async () => {
  const bytes = Buffer.from(line('ADDED', 'bäume') + line('MODIFIED', 'b') + line('DELETED', 'c'));
  for (const size of [1, 2, 7, 40, bytes.length]) {
    const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.subarray(i * size, (i + 1) * size),
    );
    expect(
      (await frames(chunks)).map(({ type, object }) => [type, (object.metadata as { name: string }).name]),
    ).toEqual([
      ['ADDED', 'bäume'],
      ['MODIFIED', 'b'],
      ['DELETED', 'c'],
    ]);
  }
});

test('a line that was cut off by the end is no frame', async () => {
  expect(await frames([Buffer.from(`${line('ADDED', 'a')}{"type":"ADD`)])).toHaveLength(1);
});

test('an error inside a good answer is an error', async () => {
  const expired =
    '{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version: 1244 (1250)"}}\n';
  await expect(frames([Buffer.from(expired)])).rejects.toMatchObject({ code: 'ApiExpired', status: 410 });
  const future =
    '{"type":"ERROR","object":{"code":504,"message":"Too large resource version: 9999999, current: 12"}}\n';
  await expect(frames([Buffer.from(future)])).rejects.toMatchObject({ code: 'ApiExpired' });
});

test.each(['{"type":"ADDED"\n', '<html>proxy</html>\n', '[]\n', 'null\n', '{"type":"OTHER","object":{}}\n'])(
  'refuses the line %j',
  async (text) => {
    await expect(frames([Buffer.from(text)])).rejects.toMatchObject({ code: 'ApiFailed' });
  },
);

test('a line without an end is not collected for ever', async () => {
  const mebibyte = Buffer.alloc(1024 * 1024, 120);
  let given = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) {
      given++;
      yield await Promise.resolve(mebibyte);
    }
  }
  await expect(Readable.from(watchFrames(endless())).toArray()).rejects.toMatchObject({ code: 'ApiFailed' });
  expect(given).toBe(9);
});
