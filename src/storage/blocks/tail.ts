import { type HostFile, SECTOR_BYTES } from '../image.ts';
import { fillZeros, giveBack } from '../zeros.ts';
import type { Freed, FreedRoom, Place } from './block-map.ts';

/** For less, a sector of zeros takes as long as it may save. */
const LARGE_BYTES = 1 << 20;

/** Hands out room: what was freed, and else at the end of a file. */
export class Tail implements FreedRoom {
  readonly #file: HostFile;
  /** Behind this nothing has been written: it reads as zeros. */
  #writtenBytes: number;
  #endBytes: number;
  #growing = false;
  /** Under way: the host makes the file as long as this one knew it to be. */
  #extending: Promise<void> | undefined;
  /** What the tables in the file may still lead to, or a request that is under way. */
  #pending: Freed[] = [];
  readonly #ready: Place[] = [];

  /** Room starts at `endBytes`; what lies between it and the file's end, if anything, is taken for leftovers. */
  constructor(file: HostFile, fileBytes: number, endBytes: number) {
    this.#file = file;
    this.#writtenBytes = fileBytes;
    this.#endBytes = endBytes;
  }

  get endBytes(): number {
    return this.#endBytes;
  }

  /** Room that was freed and not handed out again, in order. All of it is of one length. */
  takeFreed(): number[] {
    return this.#ready
      .splice(0)
      .map(({ hostOffsetBytes }) => hostOffsetBytes)
      .sort((a, b) => a - b);
  }

  take(lengthBytes: number): Place | Promise<Place> {
    return this.#ready.pop() ?? this.takeEnd(lengthBytes);
  }

  /** Room at the end. It waits for a change of the file's length that is under way, which would cut it off. */
  takeEnd(lengthBytes: number): Place | Promise<Place> {
    const place = this.takeNew(lengthBytes);
    return (
      this.#extending?.then(
        () => place,
        () => place,
      ) ?? place
    );
  }

  /** Room at the end that is written by a commit, or while no request is under way. */
  takeNew(lengthBytes: number): Place {
    const hostOffsetBytes = this.#endBytes;
    this.#endBytes += lengthBytes;
    this.#growing = true;
    const zeroed = hostOffsetBytes >= this.#writtenBytes;
    const place = { file: this.#file, hostOffsetBytes, zeroed, isNew: true };
    return lengthBytes < LARGE_BYTES
      ? place
      : { ...place, reachEnd: this.#reacher(this.#endBytes) };
  }

  /** A sector of zeros makes the file longer at once. XFS, where its length alone is changed, waits until its disk has all data. */
  #reacher(endBytes: number): () => Promise<void> {
    return async () => {
      if ((await this.#file.size()) < endBytes)
        await this.#file.write(endBytes - SECTOR_BYTES, new Uint8Array(SECTOR_BYTES));
    };
  }

  /** Room at the end that reads as zeros, for the units that a fixed image gets. */
  async takeZeroed(lengthBytes: number): Promise<number> {
    const { hostOffsetBytes, zeroed } = this.takeNew(lengthBytes);
    if (!zeroed && !(await this.#file.punch(hostOffsetBytes, lengthBytes)))
      await fillZeros(this.#file, hostOffsetBytes, lengthBytes);
    return hostOffsetBytes;
  }

  give(hostOffsetBytes: number, lengthBytes: number): void {
    this.#pending.push({ hostOffsetBytes, lengthBytes });
  }

  takePending(): readonly Freed[] {
    const pending = this.#pending;
    this.#pending = [];
    return pending;
  }

  async release(freed: readonly Freed[]): Promise<void> {
    const places: Place[] = [];
    const sorted = [...freed].sort((a, b) => a.hostOffsetBytes - b.hostOffsetBytes);
    for (let first = 0; first < sorted.length; ) {
      let end = first + 1;
      while (end < sorted.length && touches(sorted[end - 1], sorted[end])) end++;
      const run = sorted.slice(first, end);
      const lengthBytes = run.reduce((sum, one) => sum + one.lengthBytes, 0);
      const zeroed = await giveBack(this.#file, run[0]?.hostOffsetBytes ?? 0, lengthBytes);
      for (const { hostOffsetBytes } of run)
        places.push({ file: this.#file, hostOffsetBytes, zeroed, isNew: true });
      first = end;
    }
    // The lowest is taken first.
    for (const place of places.reverse()) this.#ready.push(place);
  }

  /** Room that was taken, and that nothing leads to. */
  putBack(hostOffsetBytes: number): void {
    this.#ready.push({ file: this.#file, hostOffsetBytes, zeroed: false, isNew: true });
  }

  /** All that lies behind `endBytes` is room, and nothing before it is free. */
  cutTo(endBytes: number): void {
    this.#ready.length = 0;
    // The file may keep it: a device does, and a host that fails to cut it off.
    this.#writtenBytes = Math.max(this.#writtenBytes, this.#endBytes);
    this.#endBytes = endBytes;
  }

  /** Hands out nothing before `startBytes`. */
  skipTo(startBytes: number): void {
    this.#endBytes = Math.max(this.#endBytes, startBytes);
  }

  /** Makes the file as long as the room that was handed out. */
  async grow(): Promise<void> {
    if (!this.#growing) return;
    this.#growing = false;
    try {
      if ((await this.#file.size()) >= this.#endBytes) return;
      this.#extending = this.#file.truncate(this.#endBytes);
      await this.#extending;
    } catch (error) {
      this.#growing = true;
      throw error;
    } finally {
      this.#extending = undefined;
    }
  }
}

function touches(before: Freed | undefined, after: Freed | undefined): boolean {
  if (before === undefined || after === undefined) return false;
  return before.hostOffsetBytes + before.lengthBytes === after.hostOffsetBytes;
}
