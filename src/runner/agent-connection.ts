import { createConnection, type Socket } from 'node:net';
import { errorLine, systemCode } from '../base/errors.ts';
import { encodeFrame, FrameDecoder } from './frames.ts';
import { parseRunnerMessage } from './parse-runner-message.ts';
import { protocolVersion, type AgentMessage, type ContainerReport, type RunnerMessage } from './protocol.ts';
import { RunnerError } from './runner-error.ts';
import type { RunnerRecord } from './runner-process.ts';

export interface ConnectionHandler {
  /** `tail` are the bytes that the message's lengths lay claim to. */
  message(message: RunnerMessage, tail: Uint8Array): void;
  closed(reason: string): void;
}

const welcomeMs = 10_000;
/** Bytes that a runner may leave unread; the connection to one that reads no more ends. */
const maxBacklog = 32 << 20;

/** The agent's end of one connection to a runner, from its welcome on. Reads nothing until `listen`. */
export class AgentConnection {
  readonly reports: readonly ContainerReport[];
  readonly #socket: Socket;
  readonly #decoder: FrameDecoder;
  #handler: ConnectionHandler | undefined;
  /** Frames that came in one chunk with the welcome. */
  #early: { message: RunnerMessage; tail: Uint8Array }[];
  #closed: string | undefined;
  lastHeardMs = performance.now();

  private constructor(
    socket: Socket,
    decoder: FrameDecoder,
    reports: readonly ContainerReport[],
    early: { message: RunnerMessage; tail: Uint8Array }[],
  ) {
    this.#socket = socket;
    this.#decoder = decoder;
    this.reports = reports;
    this.#early = early;
    socket.removeAllListeners('close').once('close', () => this.#end('the connection was closed'));
  }

  /** @throws RunnerError */
  static open(record: RunnerRecord): Promise<AgentConnection> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(record.socketPath);
      const decoder = new FrameDecoder();
      const fail = (error: RunnerError): void => {
        clearTimeout(timer);
        socket.destroy();
        reject(error);
      };
      const timer = setTimeout(
        () => fail(new RunnerError('RunnerSilent', `the runner said nothing for ${welcomeMs / 1000} s`)),
        welcomeMs,
      );
      socket.on('error', (error) => {
        const gone = ['ECONNREFUSED', 'ENOENT'].includes(systemCode(error) ?? '');
        fail(
          new RunnerError(gone ? 'RunnerGone' : 'RunnerSilent', `the runner can't be reached: ${errorLine(error)}`, {
            cause: error,
          }),
        );
      });
      socket.once('close', () => fail(new RunnerError('RunnerGone', 'the runner closed the connection')));
      socket.on('data', (chunk) => {
        try {
          const early: { message: RunnerMessage; tail: Uint8Array }[] = [];
          let welcome: Extract<RunnerMessage, { type: 'welcome' }> | undefined;
          for (const frame of decoder.push(chunk as Buffer)) {
            const message = parseRunnerMessage(frame);
            if (welcome) early.push({ message, tail: frame.tail });
            else welcome = checkWelcome(message, record);
          }
          if (!welcome) return;
          clearTimeout(timer);
          socket.removeAllListeners('data').pause();
          resolve(new AgentConnection(socket, decoder, welcome.containers, early));
        } catch (error) {
          fail(
            error instanceof RunnerError ? error : new RunnerError('RunnerRefused', errorLine(error), { cause: error }),
          );
        }
      });
      socket.write(
        encodeFrame({ type: 'hello', version: protocolVersion, token: record.token } satisfies AgentMessage),
      );
    });
  }

  listen(handler: ConnectionHandler): void {
    this.#handler = handler;
    this.lastHeardMs = performance.now();
    if (this.#closed !== undefined) return handler.closed(this.#closed);
    for (const { message, tail } of this.#early.splice(0)) handler.message(message, tail);
    this.#socket.on('data', (chunk) => this.#read(chunk as Buffer)).resume();
  }

  send(message: AgentMessage): void {
    if (this.#socket.destroyed) return;
    this.#socket.write(encodeFrame(message));
    if (this.#socket.writableLength > maxBacklog) this.#fail('the runner does not read');
  }

  /** Reads nothing until `resume`; what has come already is still heard. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#handler = undefined;
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.lastHeardMs = performance.now();
    try {
      for (const frame of this.#decoder.push(chunk)) this.#handler?.message(parseRunnerMessage(frame), frame.tail);
    } catch (error) {
      this.#fail(errorLine(error));
    }
  }

  #fail(reason: string): void {
    this.#socket.destroy();
    this.#end(reason);
  }

  #end(reason: string): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.closed(reason);
  }
}

function checkWelcome(message: RunnerMessage, record: RunnerRecord): Extract<RunnerMessage, { type: 'welcome' }> {
  if (message.type === 'refused') {
    throw new RunnerError(message.code === 'Busy' ? 'RunnerBusy' : 'RunnerRefused', message.message);
  }
  if (message.type !== 'welcome' || message.version !== protocolVersion || message.runnerId !== record.id) {
    throw new RunnerError('RunnerRefused', 'what answers there is not the runner that was started');
  }
  return message;
}
