import { fstatSync } from 'node:fs';
import { type Libc, libc } from '#base/node/libc.ts';

/** Of lseek(2). */
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

export interface FileExtent {
  readonly data: boolean;
  readonly lengthBytes: number;
}

/** Whether data or a hole of a sparse file lies at an offset, and how far that goes, at most `lengthBytes`. Data, where the host does not tell. */
export function extentOf(
  fd: number,
  offsetBytes: number,
  lengthBytes: number,
  host: Libc | null = libc(),
): FileExtent {
  // Not by the blocks that the file takes: some file systems in user space say 0 of all files.
  if (offsetBytes >= fstatSync(fd).size) return { data: false, lengthBytes };
  if (host === null) return { data: true, lengthBytes };
  const next = host.lseek(fd, offsetBytes, SEEK_DATA);
  if (next > offsetBytes)
    return { data: false, lengthBytes: Math.min(lengthBytes, next - offsetBytes) };
  const hole = host.lseek(fd, offsetBytes, SEEK_HOLE);
  // No data up to its end: the hole starts here. Where there is no such call, both fail.
  if (next < 0 && hole === offsetBytes) return { data: false, lengthBytes };
  // Or somebody made a hole between both calls: what lies behind it is not known.
  if (next < 0 || hole <= offsetBytes) return { data: true, lengthBytes };
  return { data: true, lengthBytes: Math.min(lengthBytes, hole - offsetBytes) };
}
