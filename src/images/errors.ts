import { LoamletError, type Blame, type ErrorDetails } from '../base/errors.ts';

/**
 * The codes that pods show as waiting reasons, and one of `loamlet push`.
 *
 * ErrImagePull: the registry can't be reached, refuses, or gives something that can't be used.
 * ErrImageNotWasm: what the reference names is no WebAssembly module.
 * ErrImageDigest: the bytes are not those that the digest promises.
 * InvalidImageName: the reference can't be read.
 * ErrImageNeverPull: the module is not on the node, and the pod says not to pull it.
 * ErrImagePush: the registry does not take the module.
 */
export type ImageErrorCode =
  'ErrImagePull' | 'ErrImageNotWasm' | 'ErrImageDigest' | 'InvalidImageName' | 'ErrImageNeverPull' | 'ErrImagePush';

const blame: Record<ImageErrorCode, Blame> = {
  ErrImagePull: 'world',
  ErrImageNotWasm: 'operator',
  ErrImageDigest: 'world',
  InvalidImageName: 'operator',
  ErrImageNeverPull: 'operator',
  ErrImagePush: 'world',
};

export class ImageError extends LoamletError<ImageErrorCode> {
  /** The registry gave no answer, or one that says to try later: a stored copy may stand in for it. */
  readonly unreachable: boolean;

  constructor(code: ImageErrorCode, message: string, details: ErrorDetails & { readonly unreachable?: boolean } = {}) {
    super(code, blame[code], message, details);
    this.unreachable = details.unreachable ?? false;
  }
}
