import { closeSync, constants, copyFileSync, openSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { AT_FDCWD, AT_SYMLINK_FOLLOW, type Libc } from '#base/node/libc.ts';
import { temporaryName } from './temporary-name.ts';

/** Of open(2), which Node does not name: with O_DIRECTORY, as all who ask for it have to. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/** A file that is to take a place, where others go on to see what was there until it does. */
export interface NewFile {
  /** To open it by, with `access`. */
  readonly path: string;
  readonly access: 'create' | 'create-new';
  /** Gives it its name, also where another file has that. */
  moveTo(place: string): void;
  remove(): void;
}

/**
 * A file without a name, which is gone however the process ends, SIGKILL and a loss of power included; where the host has no
 * such, one beside `place` that is hidden.
 */
export function newFileFor(place: string, host: Libc | null): NewFile {
  return (host === null ? undefined : unnamedFile(path.dirname(place), host)) ?? hiddenFile(place);
}

function unnamedFile(folder: string, host: Libc): NewFile | undefined {
  let fd: number;
  try {
    fd = openSync(folder, O_TMPFILE | constants.O_RDWR, 0o644);
  } catch {
    return undefined;
  }
  const file = `/proc/self/fd/${fd}`;
  return {
    path: file,
    access: 'create',
    moveTo: (place) => {
      const name = temporaryName(place);
      // Only what has no name of that kind can take the place of another.
      if (host.linkat(AT_FDCWD, file, AT_FDCWD, name, AT_SYMLINK_FOLLOW) !== 0)
        copyFileSync(file, name, constants.COPYFILE_EXCL);
      rename(name, place);
      closeSync(fd);
    },
    remove: () => closeSync(fd),
  };
}

function hiddenFile(place: string): NewFile {
  const file = temporaryName(place);
  return {
    path: file,
    access: 'create-new',
    moveTo: (to) => renameSync(file, to),
    remove: () => rmSync(file, { force: true }),
  };
}

function rename(name: string, place: string): void {
  try {
    renameSync(name, place);
  } catch (error) {
    rmSync(name, { force: true });
    throw error;
  }
}
