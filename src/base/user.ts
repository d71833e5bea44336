import { readFileSync } from 'node:fs';
import { LoamletError } from './errors.ts';

interface User {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** A user of this machine by name; undefined when there is none. */
function findUser(name: string, passwd = readFileSync('/etc/passwd', 'utf8')): User | undefined {
  for (const line of passwd.split('\n')) {
    const [login, , uid, gid] = line.split(':');
    if (login === name && /^\d+$/.test(uid ?? '') && /^\d+$/.test(gid ?? ''))
      return { name, uid: Number(uid), gid: Number(gid) };
  }
  return undefined;
}

/** Who runs and parses what strangers wrote: `name`, where we are root and it exists; else ourselves, as undefined. */
export function lesserUser(name: string): string | undefined {
  return process.getuid?.() === 0 && findUser(name) !== undefined ? name : undefined;
}

/** Becomes `name` with all its groups (gpio, i2c, spi), for good. @throws LoamletError when it is unknown or stays root */
export function dropPrivileges(name: string): void {
  const user = findUser(name);
  if (!user) {
    throw new LoamletError('NoSuchUser', 'operator', `there is no user ${name} on this machine`, {
      remedy: `create it: useradd --system --no-create-home ${name}`,
    });
  }
  (process as { initgroups?(user: string, extraGroup: number): void }).initgroups!(user.name, user.gid);
  process.setgid!(user.gid);
  process.setuid!(user.uid);
  if (process.getuid!() !== user.uid || process.geteuid!() !== user.uid) {
    throw new LoamletError('StillRoot', 'us', `this process could not become ${name}`);
  }
}
