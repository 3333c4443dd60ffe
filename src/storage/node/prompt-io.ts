import { readSync, readvSync, writeSync, writevSync } from 'node:fs';
import { nowMs } from '#base/node/now-ms.ts';
import { totalLength } from '../pieces.ts';
import type { WriteAdvice } from './write-advice.ts';

/** What the host answers from its memory takes no longer than this, and so much for each byte. */
const SLOW_MS = 0.15;
const SLOW_MS_PER_BYTE = 2e-6;
/** After a call that was slow so many requests go another way; twice as many after each further one, until many were quick. */
const FEWEST_APART = 8;
const MOST_APART = 4096;
const ENOUGH_QUICK = 64;
/** Requests after which timers, signals and messages get their turn. */
const TURN = 1024;

/**
 * Reads and writes of a file within the call: what the host has in memory takes 2 µs so, and the way to a thread of libuv and
 * back 30. The caller's thread stands still meanwhile: when bytes come from a disk, most requests are refused.
 */
export class PromptIo {
  readonly #fd: number;
  readonly #nowMs: () => number;
  readonly #advice: WriteAdvice | undefined;
  #refuses = 0;
  #apart = FEWEST_APART;
  #quick = 0;
  #left = TURN;

  constructor(fd: number, clock = nowMs, advice?: WriteAdvice) {
    this.#fd = fd;
    this.#nowMs = clock;
    this.#advice = advice;
  }

  /** The bytes that were there; -1: not done, or failed: it is to be asked another way, and any error will show then. */
  read(offsetBytes: number, into: readonly Uint8Array[]): number {
    const [first] = into;
    return this.#do(into, () =>
      first !== undefined && into.length === 1
        ? readSync(this.#fd, first, 0, first.length, offsetBytes)
        : readvSync(this.#fd, into, offsetBytes),
    );
  }

  /** The bytes that were written; -1 as for `read`. */
  write(offsetBytes: number, from: readonly Uint8Array[]): number {
    const [first] = from;
    return this.#do(from, () => {
      this.#advice?.before(offsetBytes, totalLength(from));
      const done =
        first !== undefined && from.length === 1
          ? writeSync(this.#fd, first, 0, first.length, offsetBytes)
          : writevSync(this.#fd, from, offsetBytes);
      this.#advice?.after(offsetBytes, done);
      return done;
    });
  }

  #do(pieces: readonly Uint8Array[], call: () => number): number {
    if (!this.#may()) return -1;
    const startMs = this.#nowMs();
    try {
      return call();
    } catch {
      return -1;
    } finally {
      const slowMs = SLOW_MS + SLOW_MS_PER_BYTE * totalLength(pieces);
      this.#learn(this.#nowMs() - startMs > slowMs);
    }
  }

  #may(): boolean {
    if (this.#left === 0) return false;
    if (this.#refuses > 0) {
      this.#refuses--;
      return false;
    }
    this.#left--;
    if (this.#left === 0)
      setImmediate(() => {
        this.#left = TURN;
      });
    return true;
  }

  #learn(isSlow: boolean): void {
    if (!isSlow) {
      this.#quick++;
      if (this.#quick === ENOUGH_QUICK) this.#apart = FEWEST_APART;
      return;
    }
    this.#quick = 0;
    this.#refuses = this.#apart;
    this.#apart = Math.min(MOST_APART, this.#apart * 2);
  }
}
