/** A registry that wants to be harmful. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { errorLine } from '../../../src/base/errors.ts';
import { parseChallenge } from '../../../src/images/authorizer.ts';
import { ImageError } from '../../../src/images/errors.ts';
import { ModuleStore } from '../../../src/images/module-store.ts';
import { parseReference } from '../../../src/images/reference.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const digestOf = (bytes: string | Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const wasm = Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
const layer = { mediaType: 'application/wasm', digest: digestOf(wasm), size: wasm.length };
const manifestOf = (...layers: unknown[]): string => JSON.stringify({ schemaVersion: 2, layers });
/** Writes until the other side has had enough; counts what it takes. */
const endless = (answer: ServerResponse, counted: { bytes: number }): void => {
  const chunk = Buffer.alloc(64 << 10, ' ');
  const write = (): void => {
    while (!answer.destroyed) {
      counted.bytes += chunk.length;
      if (!answer.write(chunk)) return void answer.once('drain', write);
    }
  };
  write();
};

type Handler = (answer: ServerResponse, request: IncomingMessage, counted: { bytes: number }) => void;

/** Pulls from a server that answers manifests and blobs so; the one line it ends with, and what was taken and left. */
async function pull(handlers: {
  manifest?: Handler;
  blob?: Handler;
}): Promise<{ line: string; bytes: number; left: string[] }> {
  await using folder = await tempFolder();
  const counted = { bytes: 0 };
  const server = createServer((request, answer) => {
    answer.on('error', () => {});
    const handler = /\/blobs\//.test(request.url ?? '') ? handlers.blob : handlers.manifest;
    if (handler) handler(answer, request, counted);
    else answer.end(/\/blobs\//.test(request.url ?? '') ? wasm : manifestOf(layer));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  try {
    const store = await ModuleStore.open({ directory: folder.path, maxModuleBytes: 1 << 20, pullTimeoutMs: 10_000 });
    const line = await store.ensure(`127.0.0.1:${port}/a/b:1`, 'Always', new AbortController().signal).then(
      () => 'pulled',
      (error: unknown) => {
        expect(error).toBeInstanceOf(ImageError);
        return errorLine(error);
      },
    );
    expect(line).not.toMatch(/[^\x20-\x7e]| at .*:\d+:\d+/);
    const left = await readdir(join(folder.path, 'partial'));
    return { line, bytes: counted.bytes, left: [...left, ...(await readdir(join(folder.path, 'blobs', 'sha256')))] };
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

describe('a registry', () => {
  it('that keeps to the protocol is pulled from', async () => {
    expect(await pull({})).toEqual({ line: 'pulled', bytes: 0, left: [layer.digest.slice(7)] });
  });

  it.each([
    ['a file', 'file:///etc/passwd'],
    ['a scheme of its own', 'gopher://127.0.0.1/1'],
    ['nothing', 'http://'],
    ['data', 'data:application/json,{}'],
  ])('that redirects to %s is not followed', async (_, location) => {
    const { line, left } = await pull({ manifest: (answer) => void answer.writeHead(302, { location }).end() });
    expect(line).toContain("can't be reached");
    expect(left).toEqual([]);
  });

  it('that redirects for ever is left after a few', async () => {
    let asked = 0;
    const { line } = await pull({
      manifest: (answer, request) => {
        asked++;
        answer.writeHead(307, { location: `${request.url}x` }).end();
      },
    });
    expect(line).toContain('redirects');
    expect(asked).toBeLessThan(20);
  });

  it('whose manifest has no end is read to the bound', async () => {
    const { line, bytes } = await pull({ manifest: (answer, _, counted) => endless(answer, counted) });
    expect(line).toContain('manifest over 4 MiB');
    expect(bytes).toBeLessThan(32 << 20);
  });

  it.each([200, 404, 500, 302])('whose %i of a blob has no end leaves nothing behind', async (status) => {
    const { line, bytes, left } = await pull({
      blob: (answer, _, counted) =>
        endless(answer.writeHead(status, status === 302 ? { location: 'file:///' } : {}), counted),
    });
    expect(line).not.toBe('pulled');
    expect(bytes).toBeLessThan(32 << 20);
    expect(left).toEqual([]);
  });

  it.each([
    ['fewer bytes than promised', Buffer.alloc(0)],
    ['more', Buffer.concat([wasm, wasm])],
    ['others', Buffer.from([0, 0x61, 0x73, 0x6d, 2, 0, 0, 0])],
  ])('that gives %s is not believed', async (_, bytes) => {
    const { line, left } = await pull({ blob: (answer) => void answer.end(bytes) });
    expect(line).toContain('not what its digest promises');
    expect(left).toEqual([]);
  });

  it('that promises a length it does not keep to is not believed', async () => {
    const short = await pull({
      blob: (answer) => {
        answer.writeHead(200, { 'content-length': '1000' }).write(wasm);
        setImmediate(() => answer.destroy());
      },
    });
    expect(short.line).not.toBe('pulled');
    expect(short.left).toEqual([]);
  });

  it('that says its bytes are compressed is not unpacked for', async () => {
    const { line, left } = await pull({
      blob: (answer) =>
        void answer.writeHead(200, { 'content-encoding': 'gzip' }).end(Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0])),
    });
    expect(line).toContain('not what its digest promises');
    expect(left).toEqual([]);
  });

  it.each([
    ['deep nesting', `${'{"layers":['.repeat(50_000)}${']}'.repeat(50_000)}`],
    ['no object', '[]'],
    ['a digest of another kind', manifestOf({ ...layer, digest: `sha512:${'a'.repeat(128)}` })],
    ['a digest that is a path', manifestOf({ ...layer, digest: `sha256:../../../../${'a'.repeat(52)}` })],
    ['a size that is none', manifestOf({ ...layer, size: '8' })],
    ['a negative size', manifestOf({ ...layer, size: -1 })],
    ['a huge size', manifestOf({ ...layer, size: 2 ** 52 })],
    ['layers that are no list', '{"layers":{"length":1,"0":{}}}'],
    ['a prototype', '{"__proto__":{"layers":[]},"manifests":[{"__proto__":null}]}'],
    [
      'an index without end',
      JSON.stringify({ manifests: [{ ...layer, platform: { os: '\u001b[2J', architecture: 'x'.repeat(1e6) } }] }),
    ],
  ])('whose manifest has %s is refused with one line', async (_, manifest) => {
    const { line, left } = await pull({ manifest: (answer) => void answer.end(manifest) });
    expect(line).not.toBe('pulled');
    expect(line.length).toBeLessThan(700);
    expect(left).toEqual([]);
  });

  it('whose challenge is long takes nobody long', () => {
    const started = performance.now();
    expect(parseChallenge(`Bearer ${'a'.repeat(32_000)}`)).toBeUndefined();
    expect(parseChallenge(`Bearer ${'a '.repeat(16_000)}`)).toBeUndefined();
    expect(parseChallenge(`Bearer realm="https://a/b",${'a='.repeat(16_000)}`)).toMatchObject({ realm: 'https://a/b' });
    expect(performance.now() - started).toBeLessThan(200);
  });
});

it.each([
  '127.0.0.1:5000/a/../b:1',
  '127.0.0.1:5000/a:..',
  '127.0.0.1:5000/a:../../x',
  '127.0.0.1:5000/a@sha512:' + 'a'.repeat(128),
  '127.0.0.1:5000/a%2f..:1',
  'user@127.0.0.1:5000/a:1',
  '127.0.0.1:5000/a?x=1:1',
  '127.0.0.1:5000/a#b:1',
  '127.0.0.1:5000//a:1',
  '127.0.0.1:5000/a\r\nHost: b/c:1',
  `127.0.0.1:5000/${'a-'.repeat(200)}!:1`,
  '[::1%25eth0]:5000/a:1',
])('the reference %j is refused', (reference) => {
  expect(() => parseReference(reference)).toThrow(ImageError);
});
