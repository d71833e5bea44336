import { constants } from 'node:fs';
import { lstat, mkdir, open, readdir, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { LoamletError, systemCode } from '../../base/errors.ts';

/** One run of one container: `restart` counts from 0, as the pod status' restartCount. */
export interface LogRun {
  readonly namespace: string;
  readonly pod: string;
  readonly uid: string;
  readonly container: string;
  readonly restart: number;
}

export type PodRef = Pick<LogRun, 'namespace' | 'pod' | 'uid'>;

/**
 * LogNameInvalid: a name that can't be part of a path.
 * LogFolderUnsafe: something other than a folder is where a container's logs belong.
 */
export type LogErrorCode = 'LogNameInvalid' | 'LogFolderUnsafe';

export class LogError extends LoamletError<LogErrorCode> {}

const name = /^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/;
const uidPattern = /^[A-Za-z0-9]([-A-Za-z0-9]{0,126}[A-Za-z0-9])?$/;

/**
 * A pod's folder under the log directory, named as a kubelet names it, so that log collectors find it. The names come
 * from manifests: whatever could leave the directory is refused.
 * @throws LogError LogNameInvalid
 */
export function podFolder(directory: string, { namespace, pod, uid }: PodRef): string {
  for (const part of [namespace, pod]) if (!name.test(part) || part.includes('..')) throw invalidName(part);
  if (!uidPattern.test(uid)) throw invalidName(uid);
  return join(directory, `${namespace}_${pod}_${uid}`);
}

/** @throws LogError LogNameInvalid */
export function containerFolder(directory: string, ref: Omit<LogRun, 'restart'>): string {
  if (!name.test(ref.container) || ref.container.includes('..')) throw invalidName(ref.container);
  return join(podFolder(directory, ref), ref.container);
}

function invalidName(text: string): LogError {
  return new LogError('LogNameInvalid', 'operator', `${JSON.stringify(text.slice(0, 80))} can't name a log folder`);
}

/** Makes a container's folder, and makes sure that it is one and no link to elsewhere. @throws LogError */
export async function makeContainerFolder(directory: string, ref: Omit<LogRun, 'restart'>): Promise<string> {
  const folder = containerFolder(directory, ref);
  await mkdir(folder, { recursive: true, mode: 0o755 });
  for (const path of [podFolder(directory, ref), folder]) {
    if (!(await lstat(path)).isDirectory()) {
      throw new LogError('LogFolderUnsafe', 'operator', `${path} is not a folder`, { remedy: 'remove it' });
    }
  }
  return folder;
}

/**
 * The files of one run. The one written to is `<restart>.log`; a rotated one has its generation after the name:
 * `<restart>.log.<generation>`, counting up, since a Pi's clock may jump.
 */
export interface RunFiles {
  /** Generations that are rotated, oldest first. */
  readonly rotated: readonly number[];
  /** The generation of the file being written: it exists only after the first write. */
  readonly current: number;
}

export function logPath(folder: string, restart: number, generation?: number): string {
  return join(
    folder,
    generation === undefined ? `${restart}.log` : `${restart}.log.${String(generation).padStart(6, '0')}`,
  );
}

const fileName = /^(\d{1,9})\.log(?:\.(\d{6,9}))?$/;

async function filesIn(
  folder: string,
): Promise<{ readonly restart: number; readonly generation: number | undefined }[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  return names.flatMap((entry) => {
    const match = fileName.exec(entry);
    return match === null
      ? []
      : [{ restart: Number(match[1]), generation: match[2] === undefined ? undefined : Number(match[2]) }];
  });
}

export async function runFiles(folder: string, restart: number): Promise<RunFiles> {
  const rotated = (await filesIn(folder))
    .filter((file) => file.restart === restart)
    .flatMap(({ generation }) => (generation === undefined ? [] : [generation]))
    .sort((a, b) => a - b);
  return { rotated, current: (rotated.at(-1) ?? 0) + 1 };
}

/** Removes the files of runs before `oldest`: a node keeps the present run and the one before. */
export async function removeOldRuns(folder: string, oldest: number): Promise<void> {
  for (const { restart, generation } of await filesIn(folder)) {
    if (restart < oldest) await rm(logPath(folder, restart, generation), { force: true });
  }
}

/** Opens without following a link in the last place of the path; undefined when there is no such file. */
export async function openForReading(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Opens for appending, 0640, without following a link in the last place of the path. */
export function openForAppending(path: string): Promise<FileHandle> {
  return open(path, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW, 0o640);
}
