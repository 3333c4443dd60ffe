import { ImageError, SECTOR_BYTES } from '../image.ts';
import type { SourceDisk } from './concat.ts';
import { halfOf, readsAsZeros, type Status } from './status.ts';

/** Where nothing tells what lies there, and no table is the reason, so much is taken for data at once. */
const UNTOLD_BYTES = 1 << 20;

/** A run of the disk that cannot be read. */
export interface Lost {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/**
 * A disk of which not all can be read: what is lost, sectors, compressed clusters, or all that a table of the image tells
 * of, becomes zeros; what lies around it does not.
 */
export class SalvagedDisk implements SourceDisk {
  readonly #source: SourceDisk;
  readonly #onLost: (lost: Lost) => void;
  readonly #signal: AbortSignal | undefined;
  /** What nothing tells of and cannot be read, in the order of the disk. */
  readonly #gone: Lost[] = [];
  /** A request for what lies before this place, and more, has failed. */
  #failedBytes = 0;

  constructor(source: SourceDisk, onLost: (lost: Lost) => void, signal?: AbortSignal) {
    this.#source = source;
    this.#onLost = onLost;
    this.#signal = signal;
  }

  get sizeBytes(): number {
    return this.#source.sizeBytes;
  }

  async status(offsetBytes: number, lengthBytes: number): Promise<Status> {
    const gone = this.#goneAt(offsetBytes);
    if (gone !== undefined) return goneFor(Math.min(lengthBytes, endOf(gone) - offsetBytes));
    // What failed before fails again: half of it may not.
    const known = this.#failedBytes - offsetBytes;
    for (let length = known > 0 && known <= lengthBytes ? halfOf(known) : lengthBytes; ; ) {
      this.#signal?.throwIfAborted();
      try {
        return await this.#source.status(offsetBytes, length);
      } catch (error) {
        this.#failedBytes = offsetBytes + length;
        if (length <= SECTOR_BYTES) return await this.#untold(offsetBytes, lengthBytes, error);
        length = halfOf(length);
      }
    }
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<void> {
    try {
      await this.#source.read(offsetBytes, into);
    } catch {
      await this.#readAround(offsetBytes, into);
    }
  }

  /** Of what nothing tells because of `error`: gone, as far as that is about one and the same place, where a table lies. */
  async #untold(offsetBytes: number, lengthBytes: number, error: unknown): Promise<Status> {
    const source = this.#source;
    const isSame = async (ask: () => Promise<unknown>): Promise<boolean> => {
      this.#signal?.throwIfAborted();
      const failure = await ask().then(
        () => undefined,
        (reason: unknown) => reason,
      );
      return areInOnePlace(error, failure);
    };
    if (!(await isSame(() => source.read(offsetBytes, new Uint8Array(SECTOR_BYTES))))) {
      const length = Math.min(lengthBytes, UNTOLD_BYTES);
      return { lengthBytes: length, kind: 'data', depth: 0, decidedAt: 0, present: true };
    }
    const isGone = (within: number): Promise<boolean> =>
      isSame(() => source.status(offsetBytes + within, SECTOR_BYTES));
    // Else data of an overlay may lie between two places that are gone.
    const mostBytes = (await source.untoldBytes?.(offsetBytes, lengthBytes)) ?? lengthBytes;
    // Tables of an image tell of as much each.
    const last = this.#gone.at(-1)?.lengthBytes ?? SECTOR_BYTES;
    const isAsLast = last <= mostBytes && (await isGone(last - SECTOR_BYTES));
    let [same, other] = isAsLast ? [last - SECTOR_BYTES, last] : [0, SECTOR_BYTES];
    while (other < mostBytes && (await isGone(other))) {
      same = other;
      other *= 2;
    }
    other = Math.min(other, mostBytes);
    while (other - same > SECTOR_BYTES) {
      const middle = same + halfOf(other - same);
      if (await isGone(middle)) same = middle;
      else other = middle;
    }
    const lost = { offsetBytes, lengthBytes: other };
    this.#gone.splice(this.#goneBefore(offsetBytes), 0, lost);
    // The table behind it may be gone, too: a sector is tried first.
    this.#failedBytes = endOf(lost) + SECTOR_BYTES;
    this.#onLost(lost);
    return goneFor(other);
  }

  async #readAround(offsetBytes: number, into: Uint8Array): Promise<void> {
    const lost: Lost[] = [];
    const read = async (from: number, length: number, leastBytes: number): Promise<void> => {
      this.#signal?.throwIfAborted();
      const part = into.subarray(from, from + length);
      try {
        await this.#source.read(offsetBytes + from, part);
      } catch {
        if (length > leastBytes) {
          await read(from, halfOf(length), leastBytes);
          await read(from + halfOf(length), length - halfOf(length), leastBytes);
          return;
        }
        part.fill(0);
        note(lost, offsetBytes + from, length);
      }
    };
    for (let done = 0; done < into.length; ) {
      const run = await this.status(offsetBytes + done, into.length - done);
      const { lengthBytes } = run;
      if (readsAsZeros(run)) into.fill(0, done, done + lengthBytes);
      else await read(done, lengthBytes, run.compressed === true ? lengthBytes : SECTOR_BYTES);
      done += lengthBytes;
    }
    for (const one of lost) this.#onLost(one);
  }

  #goneAt(offsetBytes: number): Lost | undefined {
    const before = this.#gone[this.#goneBefore(offsetBytes + 1) - 1];
    return before !== undefined && offsetBytes < endOf(before) ? before : undefined;
  }

  /** How many runs that are gone begin before `offsetBytes`. */
  #goneBefore(offsetBytes: number): number {
    let [low, high] = [0, this.#gone.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#gone[middle]?.offsetBytes ?? 0) < offsetBytes) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function goneFor(lengthBytes: number): Status {
  return { lengthBytes, kind: 'zero', depth: 0, decidedAt: 0, present: true };
}

function endOf({ offsetBytes, lengthBytes }: Lost): number {
  return offsetBytes + lengthBytes;
}

/** Whether both are about one place in one file. */
function areInOnePlace(one: unknown, other: unknown): boolean {
  if (!(one instanceof ImageError && other instanceof ImageError)) return false;
  const { path, offsetBytes } = one.at;
  return (
    offsetBytes !== undefined && offsetBytes === other.at.offsetBytes && path === other.at.path
  );
}

function note(lost: Lost[], offsetBytes: number, lengthBytes: number): void {
  const last = lost.at(-1);
  if (last === undefined || endOf(last) < offsetBytes) lost.push({ offsetBytes, lengthBytes });
  else lost.splice(-1, 1, { ...last, lengthBytes: last.lengthBytes + lengthBytes });
}
