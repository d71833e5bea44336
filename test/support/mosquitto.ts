import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface MosquittoOptions {
  /** User names and passwords; without any, everybody may enter. */
  readonly passwords?: Readonly<Record<string, string>>;
  /** Keeps sessions and retained messages over `stop` and `start`. */
  readonly persistence?: boolean;
  /** More lines of mosquitto.conf. */
  readonly lines?: readonly string[];
}

/** Debian's mosquitto on a free port of 127.0.0.1, its files in a folder that ends with it. */
export class Mosquitto implements AsyncDisposable {
  readonly port: number;
  readonly #folder: string;
  #process: ChildProcess | undefined;
  /** What it wrote, for a failing test. */
  log = '';

  private constructor(port: number, folder: string) {
    this.port = port;
    this.#folder = folder;
  }

  static async start(options: MosquittoOptions = {}): Promise<Mosquitto> {
    const folder = mkdtempSync(join(tmpdir(), 'loamlet-mosquitto-'));
    const mosquitto = new Mosquitto(await freePort(), folder);
    mosquitto.configure(options);
    try {
      await mosquitto.start();
    } catch (error) {
      rmSync(folder, { recursive: true });
      throw error;
    }
    return mosquitto;
  }

  get url(): string {
    return `mqtt://127.0.0.1:${this.port}`;
  }

  /** Replaces the configuration; in force from the next `start`. */
  configure({ passwords, persistence = false, lines = [] }: MosquittoOptions): void {
    const passwordFile = join(this.#folder, 'passwords');
    if (passwords !== undefined) {
      writeFileSync(passwordFile, '', { mode: 0o600 });
      for (const [user, password] of Object.entries(passwords)) {
        execFileSync('mosquitto_passwd', ['-b', passwordFile, user, password], { stdio: 'pipe' });
      }
    }
    const config = [
      `listener ${this.port} 127.0.0.1`,
      // Started as root it would become the user mosquitto, who can't read this folder.
      ...(process.getuid?.() === 0 ? ['user root'] : []),
      ...(passwords === undefined
        ? ['allow_anonymous true']
        : ['allow_anonymous false', `password_file ${passwordFile}`]),
      ...(persistence ? ['persistence true', `persistence_location ${this.#folder}/`] : ['persistence false']),
      'max_queued_messages 0',
      'log_dest stderr',
      'log_type all',
      ...lines,
    ];
    writeFileSync(join(this.#folder, 'mosquitto.conf'), `${config.join('\n')}\n`);
  }

  /** Resolves when it accepts connections. */
  async start(): Promise<void> {
    // It ends with this process, however that ends.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'mosquitto', '-c', join(this.#folder, 'mosquitto.conf')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#process = child;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`mosquitto ended with ${code}:\n${this.log}`)));
    createInterface(child.stderr).on('line', (line) => {
      this.log += `${line}\n`;
      if (/mosquitto version .* running/.test(line)) resolve();
    });
    await promise;
  }

  /** Ends it as an operator would; what `persistence` keeps is on disk. */
  stop(): Promise<void> {
    return this.#end('SIGTERM');
  }

  /** Ends it as a power cut would. */
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  /** Reads passwords and access lists again. */
  reload(): void {
    this.#process?.kill('SIGHUP');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  return address.port;
}
