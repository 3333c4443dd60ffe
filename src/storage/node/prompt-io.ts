import { readvSync, writevSync } from 'node:fs';
import { totalLength } from '../pieces.ts';

/** What the host answers from its memory takes no longer than this, and so much for each byte. */
const SLOW_MS = 0.25;
const SLOW_MS_PER_BYTE = 2e-6;
/** After a call that was slow so many requests go another way; twice as many each time that the next is slow too. */
const FEWEST_APART = 4;
const MOST_APART = 1024;

/**
 * Reads and writes of a file within the call. The caller's thread stands still meanwhile, so that this is for files whose
 * bytes the host has in memory: when they come from a disk, most requests are refused.
 */
export class PromptIo {
  readonly #fd: number;
  readonly #nowMs: () => number;
  #refuses = 0;
  #apart = FEWEST_APART;

  constructor(fd: number, nowMs = () => performance.now()) {
    this.#fd = fd;
    this.#nowMs = nowMs;
  }

  /** False when not all is done: it is to be done again, and any error will show then. */
  read(offsetBytes: number, into: readonly Uint8Array[]): boolean {
    return this.#do(readvSync, offsetBytes, into);
  }

  write(offsetBytes: number, from: readonly Uint8Array[]): boolean {
    return this.#do(writevSync, offsetBytes, from);
  }

  #do(
    call: (fd: number, pieces: readonly Uint8Array[], offsetBytes: number) => number,
    offsetBytes: number,
    pieces: readonly Uint8Array[],
  ): boolean {
    if (this.#refuses > 0) {
      this.#refuses--;
      return false;
    }
    const startMs = this.#nowMs();
    let done: number;
    try {
      done = call(this.#fd, pieces, offsetBytes);
    } catch {
      return false;
    }
    const lengthBytes = totalLength(pieces);
    this.#judge(this.#nowMs() - startMs > SLOW_MS + SLOW_MS_PER_BYTE * lengthBytes);
    return done === lengthBytes;
  }

  #judge(isSlow: boolean): void {
    if (!isSlow) {
      this.#apart = FEWEST_APART;
      return;
    }
    this.#refuses = this.#apart;
    this.#apart = Math.min(MOST_APART, this.#apart * 2);
  }
}
