import { FALLOC_FL_KEEP_SIZE, type Libc, libc, SYNC_FILE_RANGE_WRITE } from '#base/node/libc.ts';

/** For less, the calls take as long as they save. */
const LEAST_BYTES = 512 * 1024;

export interface AdviceOptions {
  /**
   * Takes room before the write. ext4 counts and notes each block of 4 KiB that is written where none was taken, 0.3 µs; to
   * take it for 4 MiB in one piece needs 20 µs.
   */
  readonly room: boolean;
  /** Has the host begin to write to its disk, for which a flush is going to wait. */
  readonly flush: boolean;
}

/** Tells the host of large writes what makes them quick. Where it does not take that, it is told no more. */
export class WriteAdvice {
  readonly #fd: number;
  readonly #host: Libc | null;
  #room: boolean;
  #flush: boolean;
  /** A write that failed leaves the room that was taken for it: there is to be no more of that. */
  #wasWritten = true;

  constructor(fd: number, { room, flush }: AdviceOptions, host?: Libc) {
    this.#fd = fd;
    this.#host = host ?? (room || flush ? libc() : null);
    this.#room = room;
    this.#flush = flush;
  }

  /** Where there is no room, the write will tell. */
  before(offsetBytes: number, lengthBytes: number): void {
    if (!this.#room || lengthBytes < LEAST_BYTES) return;
    this.#room =
      this.#wasWritten &&
      this.#host?.fallocate(this.#fd, FALLOC_FL_KEEP_SIZE, offsetBytes, lengthBytes) === 0;
    this.#wasWritten = false;
  }

  /** Not called where the write failed. */
  after(offsetBytes: number, lengthBytes: number): void {
    this.#wasWritten = true;
    if (this.#flush && lengthBytes >= LEAST_BYTES)
      this.#flush =
        this.#host?.sync_file_range(this.#fd, offsetBytes, lengthBytes, SYNC_FILE_RANGE_WRITE) ===
        0;
  }
}
