import { describe, expect, it } from 'vitest';
import { FrameDecoder } from '../../../src/runner/frames.ts';
import { LogQueue } from '../../../src/runner/log-queue.ts';
import { parseRunnerMessage } from '../../../src/runner/parse-runner-message.ts';

/** An agent that reads frames and confirms them when told to. */
class Reader {
  readonly decoder = new FrameDecoder();
  text = '';
  readonly seqs: number[] = [];
  frames = 0;
  readonly send = (bytes: Buffer): void => {
    for (const frame of this.decoder.push(bytes)) {
      const message = parseRunnerMessage(frame);
      if (message.type !== 'logs') throw new Error(message.type);
      this.seqs.push(message.seq);
      this.text += Buffer.from(frame.tail).toString();
    }
  };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('the log queue', () => {
  it('sends what a turn has gathered in one frame', async () => {
    const queue = new LogQueue();
    const reader = new Reader();
    queue.attach(reader.send);
    const log = queue.open('a');
    for (const line of ['one\n', 'two\n']) queue.write(log, 'stdout', Buffer.from(line));
    await turn();
    expect(reader).toMatchObject({ text: 'one\ntwo\n', seqs: [1] });
  });

  it('sends again to a new agent what the old one had not confirmed', async () => {
    const queue = new LogQueue();
    const first = new Reader();
    queue.attach(first.send);
    const log = queue.open('a');
    for (const line of ['one\n', 'two\n', 'three\n']) {
      queue.write(log, 'stdout', Buffer.from(line));
      await turn();
    }
    queue.logged(1);
    queue.detach();
    queue.write(log, 'stdout', Buffer.from('four\n'));
    await turn();
    const second = new Reader();
    queue.attach(second.send);
    expect(second).toMatchObject({ text: 'two\nthree\nfour\n', seqs: [2, 3, 4] });
  });

  it('tells that a container has ended once the agent has all of its log', async () => {
    const queue = new LogQueue();
    const reader = new Reader();
    queue.attach(reader.send);
    const log = queue.open('a');
    let drained = false;
    queue.write(log, 'stdout', Buffer.from('last\n'));
    queue.close(log, () => (drained = true));
    await turn();
    expect(drained).toBe(false);
    queue.logged(1);
    expect(drained).toBe(true);
    let silent = false;
    queue.close(queue.open('b'), () => (silent = true));
    expect(silent).toBe(true);
  });

  it('holds back while the agent does not confirm', async () => {
    const queue = new LogQueue();
    const reader = new Reader();
    queue.attach(reader.send);
    const logs = Array.from({ length: 100 }, (_, i) => queue.open(`${i}`));
    for (const log of logs) {
      queue.write(log, 'stdout', Buffer.alloc(60_000, 'x'));
      await turn();
    }
    expect(reader.seqs).toHaveLength(16);
    while (reader.text.length < 6_000_000) queue.logged(reader.seqs.at(-1)!);
    expect(reader.seqs).toEqual(reader.seqs.map((_, i) => i + 1));
  });

  it('drops what is too much of one container, counts it, and spares the others', async () => {
    const queue = new LogQueue();
    const [loud, quiet] = [queue.open('loud'), queue.open('quiet')];
    for (let n = 0; n < 3000; n++) queue.write(loud, 'stdout', Buffer.alloc(1000, 'l'));
    queue.write(quiet, 'stdout', Buffer.from('quiet\n'));
    queue.close(loud, () => {});
    const reader = new Reader();
    queue.attach(reader.send);
    while (!reader.text.includes('dropped')) queue.logged(reader.seqs.at(-1)!);
    const kept = reader.text.split('l'.repeat(1000)).length - 1;
    expect(reader.text).toContain('quiet\n');
    expect(reader.text).toContain(`[loamlet: ${(3000 - kept) * 1000} bytes of log dropped]\n`);
    expect(kept * 1000).toBeGreaterThan(1_000_000);
  });
});
