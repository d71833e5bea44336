import { clockFunctions } from './clock.ts';
import type { WasiFunctions } from './guest.ts';
import { pathFunctions } from './path.ts';
import { pollFunctions, unstablePollFunctions } from './poll.ts';
import { processFunctions } from './process.ts';
import { randomFunctions } from './random.ts';
import { socketFunctions } from './socket.ts';
import { streamFunctions, unstableStreamFunctions } from './stream.ts';
import { stringFunctions } from './strings.ts';

const preview1: WasiFunctions = {
  ...stringFunctions,
  ...clockFunctions,
  ...randomFunctions,
  ...processFunctions,
  ...streamFunctions,
  ...pathFunctions,
  ...socketFunctions,
  ...pollFunctions,
};

/** WASI preview 1 by import module: all of it, as far as a module without files and sockets can use it. */
export const wasiFunctions: Readonly<Record<string, WasiFunctions>> = {
  wasi_snapshot_preview1: preview1,
  wasi_unstable: { ...preview1, ...unstableStreamFunctions, ...unstablePollFunctions },
};
