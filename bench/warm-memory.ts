// Memory that the host of this machine has to find first costs several times what a copy does.
import { open, rm } from 'node:fs/promises';
import path from 'node:path';

const CHUNK = new Uint8Array(1 << 20);
const MOST_TURNS = 6;
/** So much more than the cheapest turn ever: some of the memory was not there. */
const DEAR = 1.4;

/** What this process has cost; on a busy machine the clock would say less. */
const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

/**
 * A virtual machine gives free memory back to its host, and gets it again page by page, at the cost of whoever touches it.
 * Files that are written and removed until that is cheap leave free memory that is there.
 */
export class WarmMemory {
  readonly #file: string;
  readonly #mib: number;
  readonly #costMs: () => number;
  #leastMs = Number.POSITIVE_INFINITY;

  constructor(dir: string, mib: number, costMs = cpuMs) {
    this.#file = path.join(dir, 'warm-memory');
    this.#mib = mib;
    this.#costMs = costMs;
  }

  /** Resolves with the turns that it took. */
  async warm(): Promise<number> {
    for (let turn = 1; turn < MOST_TURNS; turn++) {
      const startMs = this.#costMs();
      await this.#fill();
      const ms = this.#costMs() - startMs;
      this.#leastMs = Math.min(this.#leastMs, ms);
      if (turn > 1 && ms < this.#leastMs * DEAR) return turn;
    }
    await this.#fill();
    return MOST_TURNS;
  }

  async #fill(): Promise<void> {
    const file = await open(this.#file, 'w');
    try {
      for (let mib = 0; mib < this.#mib; mib++) await file.write(CHUNK);
    } finally {
      await file.close();
      await rm(this.#file);
    }
  }
}
