import type { Settings } from '../settings.ts';

/** How a simulated value goes over time. */
export interface Profile {
  /**
   * The value at a read.
   * @param seconds since the device was opened
   * @throws DeviceError for a fault; a promise that never settles for silence
   */
  sample(seconds: number): number | Promise<number>;
}

/** A kind of profile; one file each. Options are plain JSON, checked by `parse`. */
export interface ProfileKind<Options = unknown> {
  readonly name: string;
  /** Keys and meaning, for help texts. */
  readonly usage: string;
  /** @throws DeviceConfigError */
  parse(settings: Settings): Options;
  /** Lowest and highest value, where known. */
  range(options: Options): readonly [min: number, max: number] | undefined;
  /** May read a file. @throws DeviceError */
  open(options: Options): Promise<Profile>;
}
