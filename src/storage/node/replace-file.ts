import {
  chmodSync,
  chownSync,
  closeSync,
  fsync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import path from 'node:path';
import { promised } from '#base/node/promised.ts';
import type { Replaced } from '../image.ts';
import { NodeFile } from './node-file.ts';
import { temporaryName } from './temporary-name.ts';

/** `StorageHost.replace`: the new file is written beside its place, and renamed when it is on the disk. */
export async function replaceFile(name: string, bytes: Uint8Array): Promise<Replaced> {
  const place = realpathSync.native(name);
  const temporary = temporaryName(place);
  const file = await NodeFile.open(temporary, { access: 'create-new', name });
  try {
    await file.write(0, bytes);
    await file.flush();
    const { mode, uid, gid } = statSync(place);
    chownSync(temporary, uid, gid);
    chmodSync(temporary, mode & 0o7777);
    renameSync(temporary, place);
    return { file, settle: () => flushFolder(path.dirname(place)) };
  } catch (error) {
    rmSync(temporary, { force: true });
    await file.close();
    throw error;
  }
}

/** Names are on the disk when their folder is. */
async function flushFolder(folder: string): Promise<void> {
  const fd = openSync(folder, 'r');
  try {
    await promised<void>((done) => fsync(fd, done));
  } finally {
    closeSync(fd);
  }
}
