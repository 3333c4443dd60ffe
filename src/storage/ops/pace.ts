/** A source that reads less than this at once is waiting for a disk or a network. */
const SLOW_BYTES_PER_MS = 1 << 20;
/** Besides what a call takes, of a few bytes too. */
const CALL_MS = 0.5;
/** So many slow reads more than quick ones make a slow source, which stays one for as many quick ones. */
const SLOW_READS = 2;
const MOST_READS = 6;
/** What is read at once. */
export const MOST_READ_BYTES = 4 << 20;
const SLOW_READ_BYTES = 2 << 20;
/** Found in turn: what is copied between two of them pushes the code that looks for them out of the processor's cache. */
const MOST_PLANNED = 8;

/**
 * How a copy reads: what the host has in its memory in two large pieces, of which one is read while the other is written, since each change of
 * threads costs as much as 100 KiB; what comes from a disk in many smaller ones, which the disk has at the same time.
 */
export class Pace {
  readonly #parallel: number | undefined;
  #slowReads = 0;

  /** `parallel`: how many reads, if that is asked for. */
  constructor(parallel: number | undefined) {
    this.#parallel = parallel;
  }

  get isSlow(): boolean {
    return this.#slowReads >= SLOW_READS;
  }

  /** Reads under way at once. */
  get parallel(): number {
    return this.#parallel ?? (this.isSlow ? 8 : 2);
  }

  get readBytes(): number {
    return this.isSlow ? SLOW_READ_BYTES : MOST_READ_BYTES;
  }

  /** Pieces to look for before they are read. To look may take a slow source as long as to read. */
  get planned(): number {
    return this.isSlow ? 1 : MOST_PLANNED;
  }

  learn(bytes: number, ms: number): void {
    const change = bytes < (ms - CALL_MS) * SLOW_BYTES_PER_MS ? 1 : -1;
    this.#slowReads = Math.max(0, Math.min(MOST_READS, this.#slowReads + change));
  }
}
