import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { errorLine } from '../base/errors.ts';
import { encodeFrame, FrameDecoder } from './frames.ts';
import { parseAgentMessage } from './parse-agent-message.ts';
import { protocolVersion, type AgentMessage, type RunnerMessage } from './protocol.ts';

/** What the server tells of the agent. */
export interface AgentHandler {
  /** The first message to an agent that has said hello. */
  welcome(): RunnerMessage;
  /** It has been sent; what is sent from here on comes behind it. */
  connected(send: (frame: Buffer) => void): void;
  message(message: AgentMessage): void;
  disconnected(reason: string): void;
}

const helloMs = 5_000;
const maxStrangers = 16;
/** Bytes that an agent may leave unread; one that reads no more is let go, and what it did not confirm is sent again. */
const maxBacklog = 256 << 20;
/** How long a second agent waits for the first to turn out dead. */
const takeoverMs = 1_000;

/**
 * The runner's end of the protocol: a Unix socket, mode 0600, on which one agent at a time is served. Who does not know the token,
 * or says nothing for 5 s, is sent away.
 */
export class AgentServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #tokenHash: Buffer;
  readonly #handler: AgentHandler;
  #agent: Socket | undefined;
  #strangers = 0;

  private constructor(token: string, handler: AgentHandler) {
    this.#tokenHash = hash(token);
    this.#handler = handler;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  static async open(path: string, token: string, handler: AgentHandler): Promise<AgentServer> {
    const it = new AgentServer(token, handler);
    await new Promise<void>((resolve, reject) => {
      it.#server.once('error', reject);
      // Made without any right for others: there is no moment in which another user could connect.
      const mask = process.umask(0o177);
      it.#server.listen(path, () => {
        it.#server.off('error', reject);
        resolve();
      });
      process.umask(mask);
    });
    return it;
  }

  /** To the agent; dropped when none is there. */
  send(message: RunnerMessage): void {
    this.#agent?.write(encodeFrame(message));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent?.end();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(socket: Socket): void {
    socket.on('error', () => {}); // 'close' follows
    if (this.#strangers >= maxStrangers) return void socket.destroy();
    this.#strangers++;
    let known = false;
    const leave = (): void => {
      if (known) return;
      known = true;
      this.#strangers--;
    };
    socket.setTimeout(helloMs, () => socket.destroy());
    socket.once('close', leave);
    const decoder = new FrameDecoder();
    socket.on('data', (chunk) => {
      try {
        for (const frame of decoder.push(chunk as Buffer)) {
          const message = parseAgentMessage(frame);
          if (socket === this.#agent) this.#handler.message(message);
          else if (known || message.type !== 'hello') return void socket.destroy();
          else {
            leave();
            socket.setTimeout(0);
            void this.#hello(socket, message);
          }
        }
        // A stranger has no reason to send more than a hello.
        if (!known && decoder.heldBytes > 4096) socket.destroy();
      } catch (error) {
        this.#lose(socket, errorLine(error));
      }
    });
    socket.once('close', () => this.#lose(socket, 'the connection was closed'));
  }

  async #hello(socket: Socket, { token, version }: Extract<AgentMessage, { type: 'hello' }>): Promise<void> {
    const refuse = (code: 'BadToken' | 'BadVersion' | 'Busy', message: string): void => {
      socket.end(encodeFrame({ type: 'refused', code, message } satisfies RunnerMessage));
    };
    if (!timingSafeEqual(hash(token), this.#tokenHash))
      return refuse('BadToken', 'this is not the token of this runner');
    if (version !== protocolVersion) {
      return refuse('BadVersion', `the agent speaks version ${version}, the runner version ${protocolVersion}`);
    }
    while (this.#agent) {
      if (!(await this.#leaves(this.#agent))) return refuse('Busy', 'another agent is connected to this runner');
    }
    if (socket.destroyed) return;
    this.#agent = socket;
    socket.write(encodeFrame(this.#handler.welcome()));
    this.#handler.connected((frame) => {
      socket.write(frame);
      if (socket.writableLength > maxBacklog) this.#lose(socket, 'the agent does not read');
    });
  }

  /** The kernel tells of an agent's death at once, but perhaps after its successor has said hello. */
  async #leaves(agent: Socket): Promise<boolean> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, takeoverMs);
      agent.once('close', () => {
        clearTimeout(timer);
        resolve();
      });
    });
    return this.#agent !== agent;
  }

  #lose(socket: Socket, reason: string): void {
    socket.destroy();
    if (socket !== this.#agent) return;
    this.#agent = undefined;
    this.#handler.disconnected(reason);
  }
}

function hash(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
