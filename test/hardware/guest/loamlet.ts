import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** Emulated, everything takes some fifteen times as long. */
const patienceMs = 120_000;

/** The shipped command line as a process of its own, and what it prints on both streams, line by line. */
export class Loamlet implements AsyncDisposable {
  readonly lines: string[] = [];
  readonly #child: ChildProcess;
  readonly #exit: Promise<[code: number | null]>;
  #heard = Promise.withResolvers<void>();
  #read = 0;

  constructor(program: string, args: readonly string[]) {
    this.#child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#exit = once(this.#child, 'close') as Promise<[number | null]>;
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      createInterface({ input: stream! }).on('line', (line) => this.#hear(line));
    }
    this.#exit.then(
      () => this.#heard.resolve(),
      () => this.#heard.resolve(),
    );
  }

  /** The next line that is `wanted`; what came before it is passed over. */
  async line(wanted: string | RegExp): Promise<string> {
    const timeout = AbortSignal.timeout(patienceMs);
    for (;;) {
      const line = this.lines[this.#read];
      if (line === undefined) {
        if (this.#child.exitCode !== null || timeout.aborted) throw this.#missed(`never printed ${String(wanted)}`);
        await Promise.race([this.#heard.promise, once(timeout, 'abort')]);
        continue;
      }
      this.#read++;
      if (typeof wanted === 'string' ? line === wanted : wanted.test(line)) return line;
    }
  }

  /** Its exit code. */
  async exit(): Promise<number | null> {
    const timeout = AbortSignal.timeout(patienceMs);
    const result = await Promise.race([this.#exit, once(timeout, 'abort').then(() => undefined)]);
    if (result === undefined) throw this.#missed('did not end');
    return result[0];
  }

  stop(): void {
    this.#child.kill('SIGTERM');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL');
    await this.#exit;
  }

  #hear(line: string): void {
    this.lines.push(line);
    this.#heard.resolve();
    this.#heard = Promise.withResolvers();
  }

  #missed(what: string): Error {
    return new Error(`loamlet ${what}; it printed:\n${this.lines.slice(-20).join('\n')}`);
  }
}
