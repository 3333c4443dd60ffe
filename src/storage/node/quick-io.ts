import { readSync, writeSync } from 'node:fs';

const MAX_BYTES = 64 * 1024;
/** Longer than the page cache takes, shorter than a disk: who waited this long had better not wait here. */
const SLOW_MS = 0.06;
/** So many requests then go to the threads, twice as many after each slow one, until many were quick. */
const MIN_PAUSE = 32;
const MAX_PAUSE = 4096;
const ENOUGH_QUICK = 256;
/** Requests after which timers, signals and messages get their turn. */
const TURN = 1024;

/**
 * Small requests done here and now instead of on libuv's threads: what lies in the host's page cache takes 2 µs so, and the
 * way to a thread and back 30 µs. A request that has to wait for the disk holds up all of this thread; after one, others
 * go to the threads for a while.
 */
export class QuickIo {
  readonly #fd: number;
  readonly #nowMs: () => number;
  #pause = 0;
  #nextPause = MIN_PAUSE;
  #quick = 0;
  #left = TURN;

  constructor(fd: number, nowMs: () => number = () => performance.now()) {
    this.#fd = fd;
    this.#nowMs = nowMs;
  }

  /** The bytes that were there; -1: not done, ask the threads. */
  read(offsetBytes: number, into: Uint8Array): number {
    if (!this.#may(into.length)) return -1;
    const started = this.#nowMs();
    try {
      return readSync(this.#fd, into, 0, into.length, offsetBytes);
    } catch {
      return -1;
    } finally {
      this.#learn(this.#nowMs() - started);
    }
  }

  /** The bytes that were written; -1: not done, or failed: the threads say why. */
  write(offsetBytes: number, from: Uint8Array): number {
    if (!this.#may(from.length)) return -1;
    const started = this.#nowMs();
    try {
      return writeSync(this.#fd, from, 0, from.length, offsetBytes);
    } catch {
      return -1;
    } finally {
      this.#learn(this.#nowMs() - started);
    }
  }

  #may(lengthBytes: number): boolean {
    if (lengthBytes > MAX_BYTES || this.#left === 0) return false;
    if (this.#pause > 0) {
      this.#pause--;
      return false;
    }
    this.#left--;
    if (this.#left === 0)
      setImmediate(() => {
        this.#left = TURN;
      });
    return true;
  }

  #learn(tookMs: number): void {
    if (tookMs < SLOW_MS) {
      this.#quick++;
      if (this.#quick === ENOUGH_QUICK) this.#nextPause = MIN_PAUSE;
      return;
    }
    this.#quick = 0;
    this.#pause = this.#nextPause;
    this.#nextPause = Math.min(MAX_PAUSE, this.#nextPause * 2);
  }
}
