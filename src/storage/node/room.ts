import { type Libc, libc } from '#base/node/libc.ts';

/** Of fallocate(2): the file keeps its length. */
const FALLOC_FL_KEEP_SIZE = 0x1;
/** What is taken in less than this costs as much as it saves. */
const LEAST_BYTES = 512 * 1024;

/**
 * Takes room on the host's disk for what is about to be written. ext4 counts and notes each block of 4 KiB that is written
 * where no room was taken before, 0.3 µs; room for 4 MiB in one piece takes it 20 µs.
 */
export class Room {
  readonly #fd: number;
  #host: Libc | null;

  constructor(fd: number, host: Libc | null = libc()) {
    this.#fd = fd;
    this.#host = host;
  }

  /** Where there is none, what is written there will tell. */
  take(offsetBytes: number, lengthBytes: number): void {
    if (this.#host === null || lengthBytes < LEAST_BYTES) return;
    const result = this.#host.fallocate(this.#fd, FALLOC_FL_KEEP_SIZE, offsetBytes, lengthBytes);
    // ext3 cannot.
    if (result !== 0) this.#host = null;
  }
}
