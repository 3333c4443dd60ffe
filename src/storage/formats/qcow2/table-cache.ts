import type { HostFile } from '../../image.ts';
import { settle } from '../../settle.ts';

/** As QEMU's L2 slices: a random read of a large disk costs no more than a page of its table. */
const MAX_SLICE_BYTES = 4096;
/** Slices looked at for one to drop: where most of them wait to be written, a search for more would find none. */
const MOST_LOOKS = 64;

/** A part of a table of the image: an L2 table or a refcount block. */
export interface Slice {
  /** Offset in the host file. */
  readonly start: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  dirty: boolean;
  /** Writes of it under way: until they end the file holds what was before. */
  writing: number;
  /** Looked at since the last search for one to drop. */
  used: boolean;
}

/** A copy of neighbouring dirty slices, to be written while they change. */
export interface DirtyRun {
  readonly start: number;
  readonly bytes: Uint8Array;
  readonly slices: readonly Slice[];
}

/**
 * Recently used parts of tables, at most about `maxBytes` of them. Dirty ones stay until they are written. A slice may be
 * changed only in the same turn as it was got: later it may have been dropped.
 */
export class TableCache {
  readonly sliceBytes: number;
  readonly #file: HostFile;
  readonly #clusterBytes: number;
  readonly #maxSlices: number;
  /** In the order in which a search for one to drop goes. */
  readonly #slices = new Map<number, Slice>();
  /** How many slices are here of the cluster that starts there: a search through much of a file is quicker. */
  readonly #clusters = new Map<number, number>();
  readonly #loading = new Map<number, Promise<void>>();
  readonly #dirty = new Set<Slice>();
  #last: Slice | undefined;
  /** Nothing lies from here on, as a read told. */
  #endBytes = Number.MAX_SAFE_INTEGER;

  constructor(file: HostFile, clusterBytes: number, maxBytes: number) {
    this.#file = file;
    this.#clusterBytes = clusterBytes;
    this.sliceBytes = Math.min(clusterBytes, MAX_SLICE_BYTES);
    this.#maxSlices = Math.ceil(maxBytes / this.sliceBytes);
  }

  /** Whether so much waits to be written that it should be. */
  get isFull(): boolean {
    return this.#dirty.size * 2 > this.#maxSlices;
  }

  get isDirty(): boolean {
    return this.#dirty.size > 0;
  }

  /** Whether it is known that a table there is all zeros because the file ends before it. */
  isPastEnd(offsetBytes: number): boolean {
    return offsetBytes >= this.#endBytes;
  }

  /** The slice with the byte at `offsetBytes`, when it is there. */
  peek(offsetBytes: number): Slice | undefined {
    const start = offsetBytes - (offsetBytes % this.sliceBytes);
    if (this.#last?.start === start) return this.#last;
    const slice = this.#slices.get(start);
    if (slice === undefined) return undefined;
    slice.used = true;
    this.#last = slice;
    return slice;
  }

  /** Reads the slice with the byte at `offsetBytes`, if need be. */
  async load(offsetBytes: number): Promise<Slice> {
    const start = offsetBytes - (offsetBytes % this.sliceBytes);
    for (;;) {
      const slice = this.peek(start);
      if (slice !== undefined) return slice;
      let loading = this.#loading.get(start);
      if (loading === undefined) {
        loading = this.#read(start).finally(() => this.#loading.delete(start));
        this.#loading.set(start, loading);
      }
      await loading;
    }
  }

  /** Makes the table in the cluster at `offsetBytes`: zeros, or a copy of `from`. All of it is dirty. */
  create(offsetBytes: number, from?: Uint8Array): void {
    this.drop(offsetBytes);
    for (let at = 0; at < this.#clusterBytes; at += this.sliceBytes) {
      const bytes = from?.slice(at, at + this.sliceBytes) ?? new Uint8Array(this.sliceBytes);
      this.markDirty(this.#add(offsetBytes + at, bytes));
    }
  }

  /** Forgets the table in the cluster at `offsetBytes`, changed or not. */
  drop(offsetBytes: number): void {
    this.#last = undefined;
    for (let at = 0; at < this.#clusterBytes; at += this.sliceBytes) {
      const slice = this.#slices.get(offsetBytes + at);
      if (slice === undefined) continue;
      this.#dirty.delete(slice);
      this.#remove(offsetBytes + at);
    }
  }

  /** Forgets all that is not dirty. */
  dropClean(): void {
    this.#last = undefined;
    for (const [start, slice] of this.#slices)
      if (!slice.dirty && slice.writing === 0) this.#remove(start);
  }

  markDirty(slice: Slice): void {
    if (slice.dirty) return;
    slice.dirty = true;
    this.#dirty.add(slice);
  }

  /** Whether a part of these bytes of the host file is a table that is here. */
  overlaps(offsetBytes: number, lengthBytes: number): boolean {
    const end = offsetBytes + lengthBytes;
    const first = this.#clusterOf(offsetBytes);
    if ((end - first) / this.#clusterBytes > this.#clusters.size) {
      for (const start of this.#clusters.keys())
        if (start >= first && this.#overlapsIn(start, offsetBytes, end)) return true;
      return false;
    }
    for (let start = first; start < end; start += this.#clusterBytes)
      if (this.#clusters.has(start) && this.#overlapsIn(start, offsetBytes, end)) return true;
    return false;
  }

  #overlapsIn(cluster: number, offsetBytes: number, end: number): boolean {
    const first = Math.max(cluster, offsetBytes - (offsetBytes % this.sliceBytes));
    const last = Math.min(end, cluster + this.#clusterBytes);
    for (let start = first; start < last; start += this.sliceBytes)
      if (this.#slices.has(start)) return true;
    return false;
  }

  #clusterOf(offsetBytes: number): number {
    return offsetBytes - (offsetBytes % this.#clusterBytes);
  }

  #remove(start: number): void {
    this.#slices.delete(start);
    const cluster = this.#clusterOf(start);
    const left = (this.#clusters.get(cluster) ?? 0) - 1;
    if (left > 0) this.#clusters.set(cluster, left);
    else this.#clusters.delete(cluster);
  }

  /** Copies of all that is dirty, which then counts as being written until `wrote` or `failed`. */
  takeDirty(): DirtyRun[] {
    const slices = [...this.#dirty].sort((a, b) => a.start - b.start);
    this.#dirty.clear();
    const runs: DirtyRun[] = [];
    for (let first = 0; first < slices.length; ) {
      let end = first + 1;
      while (end < slices.length && this.#follows(slices[end - 1], slices[end])) end++;
      runs.push(this.#copy(slices.slice(first, end)));
      first = end;
    }
    return runs;
  }

  /** What fails waits for the rest: an older state of a table must not come behind a newer one. */
  async write(runs: readonly DirtyRun[]): Promise<void> {
    for (let at = 0; at < runs.length; at += 16)
      await settle(
        runs.slice(at, at + 16).map(({ start, bytes }) => this.#file.write(start, bytes)),
      );
  }

  wrote(runs: readonly DirtyRun[]): void {
    for (const { slices } of runs) for (const slice of slices) slice.writing--;
    this.#shrink(this.#slices.size * 2);
  }

  failed(runs: readonly DirtyRun[]): void {
    for (const { slices } of runs)
      for (const slice of slices) {
        slice.writing--;
        if (this.#slices.get(slice.start) === slice) this.markDirty(slice);
      }
  }

  #follows(before: Slice | undefined, slice: Slice | undefined): boolean {
    return before !== undefined && slice?.start === before.start + this.sliceBytes;
  }

  #copy(slices: readonly Slice[]): DirtyRun {
    const bytes = new Uint8Array(slices.length * this.sliceBytes);
    slices.forEach((slice, index) => {
      bytes.set(slice.bytes, index * this.sliceBytes);
      slice.dirty = false;
      slice.writing++;
    });
    return { start: slices[0]?.start ?? 0, bytes, slices };
  }

  async #read(start: number): Promise<void> {
    const bytes = new Uint8Array(this.sliceBytes);
    const count = await this.#file.read(start, bytes);
    // Another process that writes makes a table before it lets the L1 table, which was read before, lead there.
    if (count === 0 && this.#file.readOnly) this.#endBytes = Math.min(this.#endBytes, start);
    // A table made there meanwhile is newer.
    if (!this.#slices.has(start)) this.#add(start, bytes);
  }

  #add(start: number, bytes: Uint8Array): Slice {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const slice = { start, bytes, view, dirty: false, writing: 0, used: true };
    this.#slices.set(start, slice);
    const cluster = this.#clusterOf(start);
    this.#clusters.set(cluster, (this.#clusters.get(cluster) ?? 0) + 1);
    // What was asked for is there when its reader looks.
    this.#last = slice;
    if (this.#slices.size > this.#maxSlices) this.#shrink(MOST_LOOKS);
    return slice;
  }

  /** Drops clean slices, first those that were not used since the last time. */
  #shrink(mostLooks: number): void {
    let looks = mostLooks;
    for (const [start, slice] of this.#slices) {
      if (this.#slices.size <= this.#maxSlices || looks-- === 0) break;
      if (slice.dirty || slice.writing > 0 || slice.used || slice === this.#last) {
        slice.used = false;
        this.#slices.delete(start);
        this.#slices.set(start, slice);
      } else this.#remove(start);
    }
  }
}
