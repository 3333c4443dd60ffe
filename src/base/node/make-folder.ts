import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';

/**
 * Makes a folder and those above it, as mkdir -p does. Node's own `recursive` never comes back where a folder that is
 * there says ENOENT to whoever makes one in it, as /proc does, and says ENOENT where a file system is read-only.
 */
export function makeFolder(folder: string, mode = 0o777): void {
  const missing: string[] = [];
  for (let at = path.resolve(folder); !existsSync(at); at = path.dirname(at)) missing.push(at);
  for (const at of missing.reverse()) makeOne(at, mode);
}

function makeOne(folder: string, mode: number): void {
  try {
    mkdirSync(folder, { mode });
  } catch (error) {
    // Another process may have come first.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
