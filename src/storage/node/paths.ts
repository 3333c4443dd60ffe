import { realpathSync, type Stats, statSync } from 'node:fs';

/** Where a name leads; undefined: nowhere, or not to be seen. */
export function realPath(name: string): string | undefined {
  try {
    return realpathSync.native(name);
  } catch {
    return undefined;
  }
}

/** Of the file that a name leads to; undefined: there is none, or it is not to be seen. */
export function statsOf(name: string): Stats | undefined {
  try {
    return statSync(name);
  } catch {
    return undefined;
  }
}
