import { formatSize } from '#base/units.ts';
import type { Pool } from '#storage/node/free-space.ts';

/** Asking costs the host some microseconds. */
const EVERY_MS = 20_000;
/** From so little on, or from a tenth of what may come, a guest will soon have to wait. */
const SCARCE_BYTES = 512 << 20;
const SCARCE_PART = 10;

/** 0: all may be written. 1: not all. 2: little is left. */
type Level = 0 | 1 | 2;

function levelOf({ freeBytes, growthBytes }: Pool): Level {
  if (growthBytes <= freeBytes) return 0;
  return freeBytes < Math.max(SCARCE_BYTES, growthBytes / SCARCE_PART) ? 2 : 1;
}

function lineOf({ files, freeBytes, growthBytes }: Pool, level: Level): string {
  const names = files.join(', ');
  const thin = `may grow by ${formatSize(growthBytes)}, and the file system has ${formatSize(freeBytes)} left`;
  return level === 2
    ? `${names}: ${thin}; make room now, or the guest's writes will wait for it`
    : `${names}: ${thin}; make room before it is full`;
}

/** Says while a guest runs, each time once, that its disks may come to find no room on the host. */
export class SpaceWatch {
  readonly #pools: () => Promise<readonly Pool[]>;
  readonly #warn: (line: string) => void;
  /** What was said last, by the files of a pool. */
  #told: Map<string, Level> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(pools: () => Promise<readonly Pool[]>, warn: (line: string) => void) {
    this.#pools = pools;
    this.#warn = warn;
  }

  start(): void {
    void this.look();
    this.#timer = setInterval(() => void this.look(), EVERY_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** What the first look finds was said when the disks were opened, unless little is left. */
  async look(): Promise<void> {
    const pools = await this.#pools().catch(() => []);
    const isFirst = this.#told === undefined;
    const before = this.#told ?? new Map<string, Level>();
    const now = new Map<string, Level>();
    for (const pool of pools) {
      const key = pool.files.join('\n');
      const level = levelOf(pool);
      now.set(key, level);
      if (level > (before.get(key) ?? (isFirst ? 1 : 0))) this.#warn(lineOf(pool, level));
    }
    this.#told = now;
  }
}
