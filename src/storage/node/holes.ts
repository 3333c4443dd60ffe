import { fstatSync } from 'node:fs';
import { type Libc, libc } from '#base/node/libc.ts';

/** Of lseek(2). */
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

export interface FileExtent {
  readonly data: boolean;
  readonly lengthBytes: number;
}

/** Tells data of a sparse file from holes. */
export class Holes {
  /** Where data was seen last: to look for its end takes the host as long as there are pages up to there. */
  #startBytes = 0;
  #endBytes = 0;

  /** What lies at an offset, and how far that goes, at most `lengthBytes`. Data, where the host does not tell. */
  extent(
    fd: number,
    offsetBytes: number,
    lengthBytes: number,
    host: Libc | null = libc(),
  ): FileExtent {
    // To call data what has become a hole since does no harm.
    let data = offsetBytes >= this.#startBytes && offsetBytes < this.#endBytes;
    let end = this.#endBytes;
    if (!data) {
      ({ data, end } = runAt(fd, offsetBytes, host));
      if (data) [this.#startBytes, this.#endBytes] = [offsetBytes, end];
    }
    return { data, lengthBytes: Math.min(lengthBytes, end - offsetBytes) };
  }

  /** There are new holes. */
  forget(): void {
    this.#endBytes = 0;
  }
}

/** With where it ends. */
function runAt(
  fd: number,
  offsetBytes: number,
  host: Libc | null,
): { readonly data: boolean; readonly end: number } {
  const next = host?.lseek(fd, offsetBytes, SEEK_DATA) ?? -1;
  if (next > offsetBytes) return { data: false, end: next };
  const hole = host?.lseek(fd, offsetBytes, SEEK_HOLE) ?? -1;
  if (next === offsetBytes && hole > offsetBytes) return { data: true, end: hole };
  // Not by the blocks that the file takes: some file systems in user space say 0 of all files.
  const { size } = fstatSync(fd);
  // Behind its end both fail. No data up to there: the hole starts here.
  if (offsetBytes >= size || (next < 0 && hole === offsetBytes))
    return { data: false, end: Number.POSITIVE_INFINITY };
  // There is no such call; or somebody made a hole between both: what lies behind it is not known.
  return { data: true, end: size };
}
