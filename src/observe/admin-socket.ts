import { chmod, mkdir, rm } from 'node:fs/promises';
import { createServer, request, type Server } from 'node:http';
import { dirname } from 'node:path';
import { LoamletError, systemCode } from '../base/errors.ts';

/** AgentRunning: another agent uses this run directory. AgentNotRunning: none does. PathTooLong: no socket fits into it. */
export class AdminError extends LoamletError<'AgentRunning' | 'AgentNotRunning' | 'PathTooLong'> {}

/** A path of a Unix socket has 107 bytes at most. */
const maxSocketPath = 107;

export interface AdminHandlers {
  /** What `loamlet status` shows; JSON. */
  status(): unknown;
  /** Ends the agent and every module; the answer is sent before it does. */
  stop(): void;
}

const answerTimeoutMs = 5_000;

/** The socket in a run directory over which the command line speaks to the agent. */
function adminSocketPath(runDirectory: string): string {
  return `${runDirectory}/agent.sock`;
}

/**
 * HTTP on a Unix socket that only the agent's user may open: `GET /status`, `POST /stop`.
 */
export class AdminSocket implements AsyncDisposable {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** @throws AdminError `AgentRunning` */
  static async open(runDirectory: string, handlers: AdminHandlers): Promise<AdminSocket> {
    const path = adminSocketPath(runDirectory);
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    if (Buffer.byteLength(path) > maxSocketPath) {
      throw new AdminError('PathTooLong', 'operator', `${path} is too long for a socket`, {
        remedy: 'choose a shorter runDirectory',
      });
    }
    if (await answers(runDirectory)) {
      throw new AdminError('AgentRunning', 'operator', `an agent is running already in ${runDirectory}`, {
        remedy: 'stop it with loamlet stop, or give this one its own runDirectory and stateDirectory',
      });
    }
    await rm(path, { force: true });
    const server = createServer({ requestTimeout: answerTimeoutMs }, (incoming, response) => {
      incoming.resume();
      if (incoming.method === 'GET' && incoming.url === '/status') {
        response.setHeader('content-type', 'application/json').end(JSON.stringify(handlers.status()));
      } else if (incoming.method === 'POST' && incoming.url === '/stop') {
        response.end('{}', () => handlers.stop());
      } else {
        response.writeHead(404).end();
      }
    });
    server.maxConnections = 16;
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(path, resolve));
    await chmod(path, 0o600);
    server.unref();
    return new AdminSocket(server);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

/** Whether an agent is there; one that is slow to answer is. */
export async function answers(runDirectory: string): Promise<boolean> {
  try {
    await askAgent(runDirectory, 'GET', '/status');
    return true;
  } catch (error) {
    return !(error instanceof AdminError);
  }
}

/** Asks the agent of a run directory. @throws AdminError `AgentNotRunning` */
export async function askAgent(runDirectory: string, method: 'GET' | 'POST', url: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown): void => {
      const nobody = ['ENOENT', 'ECONNREFUSED'].includes(systemCode(cause) ?? '');
      reject(
        nobody
          ? new AdminError('AgentNotRunning', 'operator', `no agent is running in ${runDirectory}`, {
              cause,
              remedy: 'start one with loamlet node',
            })
          : (cause as Error),
      );
    };
    const asking = request(
      { socketPath: adminSocketPath(runDirectory), method, path: url, timeout: answerTimeoutMs },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('error', fail);
        response.on('end', () => {
          try {
            resolve(JSON.parse(Buffer.concat(parts).toString('utf8') || '{}'));
          } catch (error) {
            fail(error);
          }
        });
      },
    );
    asking.on('timeout', () => asking.destroy(new Error(`the agent in ${runDirectory} does not answer`)));
    asking.on('error', fail);
    asking.end();
  });
}
