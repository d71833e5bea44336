import { LoamletError, type ErrorDetails } from '../base/errors.ts';

/**
 * ErrImageNotWasm: the file is something else: an executable, an archive, a web page.
 * ErrModuleInvalid: WebAssembly by its first bytes, but truncated, malformed or not valid.
 * ErrModuleUnsupported: a valid module that uses something Loamlet does not run.
 * ErrPrecompile: the precompiler itself failed, ran into its time limit or was killed.
 */
export type PrecompileErrorCode = 'ErrImageNotWasm' | 'ErrModuleInvalid' | 'ErrModuleUnsupported' | 'ErrPrecompile';

const blames = {
  ErrImageNotWasm: 'operator',
  ErrModuleInvalid: 'guest',
  ErrModuleUnsupported: 'guest',
  ErrPrecompile: 'us',
} as const;

export const precompileErrorCodes = Object.keys(blames) as readonly PrecompileErrorCode[];

/** Why a module can't be run. The message is one line of printable characters. */
export class PrecompileError extends LoamletError<PrecompileErrorCode> {
  constructor(code: PrecompileErrorCode, message: string, details?: ErrorDetails) {
    super(code, blames[code], message, details);
  }
}
