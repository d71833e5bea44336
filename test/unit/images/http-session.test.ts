import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { expect, onTestFinished, test } from 'vitest';
import { HttpSession, readBody } from '../../../src/images/http-session.ts';

const never = new AbortController().signal;

async function server(listener: RequestListener): Promise<URL> {
  const http = createServer(listener).listen(0, '127.0.0.1');
  await once(http, 'listening');
  onTestFinished(async () => {
    const closed = once(http, 'close');
    http.close();
    http.closeAllConnections();
    await closed;
  });
  const address = http.address();
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  return new URL(`http://127.0.0.1:${address.port}/`);
}

test('follows a redirect to another host without the credentials', async () => {
  let seen: string | undefined = 'never asked';
  const storage = await server((request, answer) => {
    seen = request.headers.authorization;
    answer.end('module');
  });
  const registry = await server((request, answer) => {
    expect(request.headers.authorization).toBe('Basic secret');
    answer.writeHead(307, { location: storage.href }).end();
  });
  using session = new HttpSession({ signal: never });
  const answer = await session.send(registry, { method: 'GET', headers: { authorization: 'Basic secret' } });
  expect(String(await readBody(answer, 100))).toBe('module');
  expect(seen).toBeUndefined();
});

test('gives up on a registry that redirects for ever, or to a file', async () => {
  const loop = await server((_, answer) => answer.writeHead(302, { location: '/again' }).end());
  const file = await server((_, answer) => answer.writeHead(302, { location: 'file:///etc/passwd' }).end());
  using session = new HttpSession({ signal: never });
  await expect(session.send(loop, { method: 'GET' })).rejects.toThrow('more than 5 redirects');
  await expect(session.send(file, { method: 'GET' })).rejects.toThrow('not HTTPS');
});

test('gives up on a server that falls silent, before its answer or within it', async () => {
  const silent = await server(() => undefined);
  const stuck = await server((_, answer) => {
    answer.writeHead(200, { 'content-length': '10' });
    answer.write('half');
  });
  using session = new HttpSession({ signal: never, idleMs: 30 });
  await expect(session.send(silent, { method: 'GET' })).rejects.toThrow('no answer for 0.03 s');
  const answer = await session.send(stuck, { method: 'GET' });
  await expect(readBody(answer, 100)).rejects.toThrow();
});

test('ends with its signal', async () => {
  const silent = await server(() => undefined);
  const abort = new AbortController();
  using session = new HttpSession({ signal: abort.signal });
  const sent = session.send(silent, { method: 'GET' });
  abort.abort();
  await expect(sent).rejects.toMatchObject({ name: 'AbortError' });
});

test('reads no more of a body than allowed', async () => {
  const endless = await server((_, answer) => answer.end(Buffer.alloc(1 << 20)));
  using session = new HttpSession({ signal: never });
  expect(await readBody(await session.send(endless, { method: 'GET' }), 1000)).toBeUndefined();
});
