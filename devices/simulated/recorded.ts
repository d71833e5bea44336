import { readFile, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { errorLine, systemCode } from '../../src/base/errors.ts';
import { DeviceError } from '../contract.ts';
import type { ProfileKind } from './profile.ts';

/** Largest recording, in bytes. */
const maxBytes = 16 << 20;

export interface RecordedOptions {
  readonly file: string;
}

/** Plays a CSV file of `seconds,value` lines, each value until the next one's time, from the start again at its end. */
export const recorded: ProfileKind<RecordedOptions> = {
  name: 'recorded',
  usage: 'file (CSV lines: seconds,value)',
  // Absolute from here on: whoever opens it may run in another folder.
  parse: (settings) => ({ file: resolve(settings.text('file')) }),
  range: () => undefined,
  async open({ file }) {
    const points = parseRecording(await load(file), file);
    const length = points.at(-1)?.seconds ?? 0;
    return {
      sample(seconds) {
        const now = length === 0 ? 0 : seconds % length;
        return (points.findLast((point) => point.seconds <= now) ?? points[0])?.value ?? NaN;
      },
    };
  },
};

interface Recorded {
  readonly seconds: number;
  readonly value: number;
}

async function load(file: string): Promise<string> {
  try {
    if ((await stat(file)).size > maxBytes) throw new DeviceError('other', `the recording ${file} is larger than 16Mi`);
    return await readFile(file, 'utf8');
  } catch (cause) {
    if (cause instanceof DeviceError) throw cause;
    const reason = systemCode(cause) === 'ENOENT' ? 'does not exist' : `can't be read (${errorLine(cause)})`;
    throw new DeviceError('not-found', `the recording ${file} ${reason}`, { cause });
  }
}

/** @throws DeviceError with the line that is wrong */
export function parseRecording(text: string, file: string): readonly Recorded[] {
  const points: Recorded[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#') || (index === 0 && /^[a-z]/i.test(trimmed))) continue;
    const [seconds = NaN, value = NaN, ...rest] = trimmed
      .split(',')
      .map((field) => (field.trim() === '' ? NaN : Number(field)));
    const late = seconds >= (points.at(-1)?.seconds ?? 0);
    if (rest.length > 0 || !Number.isFinite(seconds) || !Number.isFinite(value) || !late) {
      throw new DeviceError(
        'other',
        `line ${index + 1} of the recording ${file} is not SECONDS,VALUE with rising seconds`,
      );
    }
    points.push({ seconds, value });
  }
  if (points.length === 0) throw new DeviceError('other', `the recording ${file} holds no values`);
  return points;
}
