import { spawn } from 'node:child_process';
import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { entryPoint } from '../base/entry.ts';
import { errorLine } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { maxAnswerBytes, parseAnswer } from './child-answer.ts';
import type { ModuleDescription } from './description.ts';
import { PrecompileError } from './errors.ts';

export interface ChildLimits {
  readonly maxModuleBytes: number;
  readonly timeoutMs: number;
  /** Who the child becomes; only for root. */
  readonly user?: string;
}

/**
 * Runs the precompiler once: module in from `source`, module out to `target`. Both are open files, so the child needs no
 * access to any folder. @throws PrecompileError, or the signal's reason.
 */
export async function runChild(
  source: FileHandle,
  target: FileHandle,
  limits: ChildLimits,
  signal: AbortSignal,
): Promise<{ size: number; description: ModuleDescription }> {
  signal.throwIfAborted();
  const timeout = AbortSignal.timeout(limits.timeoutMs);
  const controller = new AbortController();
  const child = spawn(
    process.execPath,
    [
      '--disable-wasm-trap-handler',
      '--max-old-space-size=256',
      '--disable-warning=ExperimentalWarning',
      entryPoint('precompile'),
      String(limits.maxModuleBytes),
      ...(limits.user === undefined ? [] : [limits.user]),
    ],
    {
      cwd: '/',
      env: {},
      stdio: [source.fd, 'pipe', 'pipe', 'pipe'],
      signal: AbortSignal.any([signal, timeout, controller.signal]),
      killSignal: 'SIGKILL',
    },
  );
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(errorLine(error)));
    child.once('close', (code, killedBy) =>
      resolve(killedBy ? `it was ended by ${killedBy}` : `it ended with code ${code}`),
    );
  });
  const failed = (what: string): PrecompileError =>
    new PrecompileError('ErrPrecompile', `the precompiler failed: ${what}`, {
      remedy: 'see the log of the agent; try again',
    });
  try {
    // An output pipe left unread would hold the child for ever, so all three are read to their end, whatever happens.
    const [size, answerText, complaint] = await Promise.all([
      copy(child.stdout!, target, limits.maxModuleBytes * 2),
      collect(child.stdio[3] as Readable, maxAnswerBytes),
      collect(child.stderr!, 64 << 10),
    ]);
    const how = await ended;
    signal.throwIfAborted();
    if (timeout.aborted) throw failed(`it did not finish in ${limits.timeoutMs / 1000} s`);
    const answer = parseAnswer(answerText);
    if (!answer) {
      const words = complaint.split('\n').find((line) => /Error|FATAL/.test(line));
      throw failed(words === undefined ? how : printable(words));
    }
    if (!answer.ok)
      throw new PrecompileError(answer.code, answer.message, answer.remedy === null ? {} : { remedy: answer.remedy });
    if (answer.size !== size) throw failed('its output is incomplete');
    return { size, description: answer.description };
  } catch (error) {
    controller.abort();
    await ended;
    signal.throwIfAborted();
    if (timeout.aborted) throw failed(`it did not finish in ${limits.timeoutMs / 1000} s`);
    throw error instanceof PrecompileError ? error : failed(errorLine(error));
  }
}

async function copy(from: Readable, to: FileHandle, maxBytes: number): Promise<number> {
  let size = 0;
  for await (const chunk of from as AsyncIterable<Buffer>) {
    if (size + chunk.length > maxBytes) throw new Error(`it wrote more than ${maxBytes} bytes`);
    await to.write(chunk, 0, chunk.length, size);
    size += chunk.length;
  }
  return size;
}

async function collect(from: Readable, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of from as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) throw new Error(`it said more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}
