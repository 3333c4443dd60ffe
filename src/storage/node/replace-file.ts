import { chmod, chown, open, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Replaced } from '../image.ts';
import { NodeFile } from './node-file.ts';
import { temporaryName } from './temporary-name.ts';

/** `StorageHost.replace`: the new file is written beside its place, and renamed when it is on the disk. */
export async function replaceFile(name: string, bytes: Uint8Array): Promise<Replaced> {
  const place = await realpath(name);
  const temporary = temporaryName(place);
  const file = await NodeFile.open(temporary, { access: 'create-new', name });
  try {
    await file.write(0, bytes);
    await file.flush();
    const { mode, uid, gid } = await stat(place);
    await chown(temporary, uid, gid);
    await chmod(temporary, mode & 0o7777);
    await rename(temporary, place);
    return { file, settle: () => flushFolder(path.dirname(place)) };
  } catch (error) {
    await rm(temporary, { force: true });
    await file.close();
    throw error;
  }
}

/** Names are on the disk when their folder is. */
async function flushFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
