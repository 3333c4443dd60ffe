import { begun, settle } from '../../settle.ts';
import { encodeEntry, hostClusters, isPlaced, type L2Entry } from './l2-entry.ts';
import type { EntryPlace, Mapping } from './mapping.ts';
import type { Metadata } from './metadata.ts';
import type { Reader } from './reader.ts';
import type { ClusterRun } from './refcounts.ts';

/** What to do next about a write. */
type Plan =
  /** All is in place: the bytes go to the host file as they are. */
  | { readonly kind: 'write'; readonly hostOffset: number; readonly lengthBytes: number }
  /** Clusters that the write covers wholly go to another place. */
  | { readonly kind: 'move'; readonly clusters: number }
  /** A cluster must be completed with what it held before. */
  | { readonly kind: 'complete'; readonly lengthBytes: number }
  | { readonly kind: 'wait'; readonly until: Promise<void> }
  | { readonly kind: 'load' }
  /** Clusters must be found first. */
  | { readonly kind: 'space'; readonly clusters: number };

const RESERVE_BYTES = 4 << 20;
/** No more than refcounts are likely to give at once: what is looked through beyond that is looked through again. */
const RESERVE_CLUSTERS = 2048;

/** Writes data to the disk, taking and copying clusters as needed. */
export class Writer {
  readonly #meta: Metadata;
  readonly #mapping: Mapping;
  readonly #reader: Reader;
  /** Clusters of the disk that are being copied: other changes to them wait. */
  readonly #locks = new Map<number, Promise<void>>();
  readonly #clusterBytes: number;
  /** How often compressed clusters were let go. */
  compressedFrees = 0;

  constructor(meta: Metadata, mapping: Mapping, reader: Reader) {
    this.#meta = meta;
    this.#mapping = mapping;
    this.#reader = reader;
    this.#clusterBytes = meta.clusterBytes;
  }

  async write(offsetBytes: number, from: Uint8Array): Promise<void> {
    const pending: Promise<void>[] = [];
    try {
      for (let done = 0; done < from.length; ) {
        const offset = offsetBytes + done;
        const plan = this.#plan(offset, from.length - done);
        if (plan.kind === 'write') {
          const rest = from.subarray(done, done + plan.lengthBytes);
          done += plan.lengthBytes;
          pending.push(begun(this.#meta.data.write(plan.hostOffset, rest)));
        } else done += await this.#step(plan, offset, from.subarray(done));
      }
    } catch (error) {
      await Promise.allSettled(pending);
      throw error;
    }
    if (pending.length === 1) await pending[0];
    else if (pending.length > 1) await settle(pending);
  }

  /** What {@link DiskImage.tryWrite} does, where all goes to one place. */
  tryWrite(offsetBytes: number, from: readonly Uint8Array[], lengthBytes: number): boolean {
    const { data } = this.#meta;
    if (lengthBytes === 0 || data.tryWrite === undefined) return false;
    const plan = this.#plan(offsetBytes, lengthBytes);
    if (plan.kind !== 'write' || plan.lengthBytes < lengthBytes) return false;
    return data.tryWrite(plan.hostOffset, from);
  }

  /** Takes places for what is not allocated in a range, which is zeros and stays so: subclusters are not yet in use. */
  async reserve(offsetBytes: number, lengthBytes: number): Promise<void> {
    const zeros = new Uint8Array(Math.min(RESERVE_BYTES, lengthBytes));
    const most = RESERVE_CLUSTERS * this.#clusterBytes;
    for (let done = 0; done < lengthBytes; ) {
      const offset = offsetBytes + done;
      const left = lengthBytes - done;
      const plan = this.#plan(offset, Math.min(most, left), true);
      // The places are fresh, or in use: there is nothing to write.
      if (plan.kind === 'write') done += plan.lengthBytes;
      else done += await this.#step(plan, offset, zeros.subarray(0, left));
    }
  }

  /** Does what stands in the way, or a part of the write; resolves with the bytes that are done. */
  async #step(
    plan: Exclude<Plan, { kind: 'write' }>,
    offset: number,
    from: Uint8Array,
  ): Promise<number> {
    const cluster = Math.floor(offset / this.#clusterBytes);
    switch (plan.kind) {
      case 'move': {
        const bytes = from.subarray(0, plan.clusters * this.#clusterBytes);
        return await this.locked(cluster, plan.clusters, () => this.#move(cluster, bytes));
      }
      case 'complete': {
        const bytes = from.subarray(0, plan.lengthBytes);
        await this.locked(cluster, 1, () => this.#complete(cluster, offset, bytes));
        return plan.lengthBytes;
      }
      case 'wait':
        await plan.until;
        return 0;
      case 'load':
        await this.#mapping.makeWritable(cluster);
        return 0;
      case 'space':
        await this.#meta.counts.prepare(plan.clusters);
        return 0;
    }
  }

  /** Calls `use` with the entry of a cluster, for change, when no copy of it is under way. */
  async change<T>(cluster: number, use: (place: EntryPlace) => T): Promise<T> {
    for (;;) {
      const lock = this.lockOf(cluster);
      const place = this.#mapping.writable(cluster);
      if (lock === undefined && place !== undefined) return use(place);
      if (lock !== undefined) await lock;
      else await this.#mapping.makeWritable(cluster);
    }
  }

  /** Puts an entry in place, and frees what it replaces. */
  replace(place: EntryPlace, old: L2Entry, entry: Omit<L2Entry, 'compressedBytes'>): void {
    encodeEntry(place.slice.view, place.at, this.#mapping.shape, entry);
    this.#meta.l2.markDirty(place.slice);
    if (old.hostOffset !== entry.hostOffset || old.compressedBytes > 0) this.release(old);
  }

  /** Frees what an entry, no longer there, refers to. */
  release(old: L2Entry): void {
    if (this.#meta.data !== this.#meta.file && old.compressedBytes === 0) return;
    const [first, count] = hostClusters(old, this.#clusterBytes);
    if (count > 0) this.#meta.freeLater(first, count);
    if (old.compressedBytes === 0) return;
    this.#reader.forget();
    this.compressedFrees++;
  }

  /** Keeps other changes away from clusters while `task` runs. None of them may be locked. */
  async locked<T>(cluster: number, count: number, task: () => Promise<T>): Promise<T> {
    let unlock = (): void => {};
    const lock = new Promise<void>((resolve) => {
      unlock = resolve;
    });
    for (let one = cluster; one < cluster + count; one++) this.#locks.set(one, lock);
    try {
      return await task();
    } finally {
      for (let one = cluster; one < cluster + count; one++) this.#locks.delete(one);
      unlock();
    }
  }

  lockOf(cluster: number): Promise<void> | undefined {
    return this.#locks.size === 0 ? undefined : this.#locks.get(cluster);
  }

  /** With `isAhead` what is written comes later. */
  #plan(offset: number, length: number, isAhead = false): Plan {
    const clusterBytes = this.#clusterBytes;
    const cluster = Math.floor(offset / clusterBytes);
    const until = this.lockOf(cluster);
    if (until !== undefined) return { kind: 'wait', until };
    const place = this.#mapping.writable(cluster);
    if (place === undefined) return { kind: 'load' };
    const entry = this.#mapping.decode(place);
    const within = offset - cluster * clusterBytes;
    const here = Math.min(length, clusterBytes - within);
    if (entry.copied && (~entry.allocated & this.mask(within, here)) === 0)
      return this.#inPlace(cluster, entry, within, length);
    if (isAhead && entry.copied)
      return { kind: 'write', hostOffset: entry.hostOffset + within, lengthBytes: here };
    if (this.#isVacant(cluster, entry)) {
      const isFresh = this.#isExternal ? false : this.#meta.counts.isNextFresh;
      if (isFresh === undefined)
        return { kind: 'space', clusters: Math.ceil((within + length) / clusterBytes) };
      if (isFresh) return this.#fresh(cluster, within, length, isAhead);
    }
    const stays = entry.copied;
    if (within > 0 || length < clusterBytes || stays)
      return { kind: 'complete', lengthBytes: here };
    return { kind: 'move', clusters: this.#movable(cluster, Math.floor(length / clusterBytes)) };
  }

  /** As many bytes as lie in place one behind the other. */
  #inPlace(cluster: number, entry: L2Entry, within: number, length: number): Plan {
    const clusterBytes = this.#clusterBytes;
    const hostOffset = entry.hostOffset + within;
    let done = Math.min(length, clusterBytes - within);
    for (let next = cluster + 1; done < length; next++) {
      if (this.lockOf(next) !== undefined) break;
      const place = this.#mapping.writable(next);
      if (place === undefined) break;
      const here = Math.min(length - done, clusterBytes);
      const { copied, hostOffset: host, allocated } = this.#mapping.decode(place);
      if (!copied || host !== hostOffset + done) break;
      if ((~allocated & this.mask(0, here)) !== 0) break;
      done += here;
    }
    this.#guard(hostOffset, done);
    return { kind: 'write', hostOffset, lengthBytes: done };
  }

  /**
   * Clusters that hold zeros so far. A place that reads as zeros itself may stand in the table before the data are there:
   * what a crash leaves is then either old or new.
   */
  #fresh(cluster: number, within: number, length: number, isAhead: boolean): Plan {
    const clusterBytes = this.#clusterBytes;
    const wanted = Math.ceil((within + length) / clusterBytes);
    const run = this.#meta.counts.take(this.#vacant(cluster, wanted));
    if (run === undefined) return { kind: 'space', clusters: wanted };
    const host = run.start * clusterBytes;
    this.#guard(host, run.count * clusterBytes);
    const end = within + Math.min(length, run.count * clusterBytes - within);
    const whole = Math.floor(end / clusterBytes);
    const { subclusters, allSubclusters } = this.#mapping.shape;
    const inUse = isAhead && subclusters > 1 ? 0 : allSubclusters;
    const pointOne = (index: number): void => {
      const place = this.#mapping.inMemory(cluster + index);
      const from = index === 0 ? within : 0;
      const to = Math.min(clusterBytes, end - index * clusterBytes);
      this.#point(place, host + index * clusterBytes, inUse & this.mask(from, to - from));
    };
    pointOne(0);
    if (whole > 1) this.#mapping.pointWhole(cluster + 1, whole - 1, host + clusterBytes, inUse);
    if (run.count > Math.max(1, whole)) pointOne(run.count - 1);
    return { kind: 'write', hostOffset: host + within, lengthBytes: end - within };
  }

  /** Vacant clusters from `cluster` on, which is one, at most `most`. */
  #vacant(cluster: number, most: number): number {
    // Behind the end of the backing image all is bare.
    const isBare = this.#reader.isBare(cluster * this.#clusterBytes);
    let count = 1;
    while (count < most) {
      const empty =
        isBare && this.#locks.size === 0
          ? this.#mapping.emptyFrom(cluster + count, most - count)
          : 0;
      if (empty > 0) count += empty;
      else if (this.#isVacantNow(cluster + count)) count++;
      else break;
    }
    return count;
  }

  /** Clusters from `cluster` on, at most `most`, that must go to another place and that nobody copies. */
  #movable(cluster: number, most: number): number {
    let count = 1;
    for (; count < most; count++) {
      if (this.lockOf(cluster + count) !== undefined) break;
      const place = this.#mapping.writable(cluster + count);
      if (place === undefined) break;
      if (this.#mapping.decode(place).copied) break;
    }
    return count;
  }

  /** Writes the first clusters of `from` to a new place; resolves with the bytes that are done. */
  async #move(cluster: number, from: Uint8Array): Promise<number> {
    const clusterBytes = this.#clusterBytes;
    const run = await this.#allocate(cluster, from.length / clusterBytes);
    const host = run.start * clusterBytes;
    const bytes = run.count * clusterBytes;
    await this.#writeNew(run, host, from.subarray(0, bytes));
    for (let index = 0; index < run.count; index++) {
      const mask = this.mask(0, clusterBytes);
      await this.#changeOwn(cluster + index, (place) =>
        this.#point(place, host + index * clusterBytes, mask),
      );
    }
    return bytes;
  }

  /** Writes a part of a cluster, with as much around it as must be there too. */
  async #complete(cluster: number, offset: number, from: Uint8Array): Promise<void> {
    const clusterBytes = this.#clusterBytes;
    const old = await this.#changeOwn(cluster, (place) => this.#mapping.decode(place));
    const stays = old.copied;
    const within = offset - cluster * clusterBytes;
    const [start, end] = this.#around(old, within, within + from.length, stays);
    let bytes = from;
    if (end - start > from.length) {
      bytes = new Uint8Array(end - start);
      const head = within - start;
      const tail = head + from.length;
      const base = cluster * clusterBytes + start;
      await Promise.all([
        this.#reader.read(base, bytes.subarray(0, head)),
        this.#reader.read(base + tail, bytes.subarray(tail)),
      ]);
      bytes.set(from, head);
    }
    const run = stays ? undefined : await this.#allocate(cluster, 1);
    const host = run === undefined ? old.hostOffset : run.start * clusterBytes;
    await this.#writeNew(run, host + start, bytes);
    const kept = old.compressedBytes > 0 ? this.#mapping.shape.allSubclusters : old.allocated;
    const mask = this.mask(start, end - start);
    await this.#changeOwn(cluster, (place) => this.#point(place, host, stays ? mask : mask | kept));
  }

  /** The bytes of a cluster to be written with `from` to `to`: whole subclusters, all allocated ones if it moves. */
  #around(old: L2Entry, from: number, to: number, stays: boolean): [number, number] {
    const { subclusterBytes, subclusters } = this.#mapping.shape;
    let first = Math.floor(from / subclusterBytes);
    let last = Math.ceil(to / subclusterBytes) - 1;
    if (!stays) {
      const kept = old.compressedBytes > 0 ? this.#mapping.shape.allSubclusters : old.allocated;
      for (let index = 0; index < subclusters; index++) {
        if ((kept & (1 << index)) === 0) continue;
        first = Math.min(first, index);
        last = Math.max(last, index);
      }
      return [first * subclusterBytes, (last + 1) * subclusterBytes];
    }
    // What stands there already may be written meanwhile by others, and is left alone.
    const isThere = (index: number): boolean => (old.allocated & (1 << index)) !== 0;
    return [
      isThere(first) ? from : first * subclusterBytes,
      isThere(last) ? to : (last + 1) * subclusterBytes,
    ];
  }

  /** Lets an entry lead to `hostOffset`, with these subclusters in use and, if it led there before, those that were. */
  #point(place: EntryPlace, hostOffset: number, mask: number): void {
    const old = this.#mapping.decode(place);
    const stays = old.hostOffset === hostOffset && old.compressedBytes === 0;
    const allocated = stays ? old.allocated | mask : mask;
    this.replace(place, old, { hostOffset, copied: true, allocated, zero: old.zero & ~allocated });
  }

  async #allocate(cluster: number, count: number): Promise<ClusterRun> {
    if (this.#isExternal) return { start: cluster, count, fresh: false };
    for (;;) {
      const run = this.#meta.counts.take(count);
      if (run === undefined) {
        await this.#meta.counts.prepare(count);
        continue;
      }
      this.#guard(run.start * this.#clusterBytes, run.count * this.#clusterBytes);
      return run;
    }
  }

  async #writeNew(run: ClusterRun | undefined, offset: number, bytes: Uint8Array): Promise<void> {
    try {
      await this.#meta.data.write(offset, bytes);
    } catch (error) {
      if (run !== undefined && !this.#isExternal) this.#meta.freeLater(run.start, run.count);
      throw error;
    }
  }

  /** Calls `use` with the entry of a cluster that we have locked. */
  async #changeOwn<T>(cluster: number, use: (place: EntryPlace) => T): Promise<T> {
    for (;;) {
      const place = this.#mapping.writable(cluster);
      if (place !== undefined) return use(place);
      await this.#mapping.makeWritable(cluster);
    }
  }

  /** Whether a cluster reads as zeros and has no place in the host file. */
  #isVacant(cluster: number, entry: L2Entry): boolean {
    if (isPlaced(entry)) return false;
    return (
      entry.zero === this.#mapping.shape.allSubclusters ||
      this.#reader.isBare(cluster * this.#clusterBytes)
    );
  }

  #isVacantNow(cluster: number): boolean {
    if (this.lockOf(cluster) !== undefined) return false;
    const place = this.#mapping.writable(cluster);
    return place !== undefined && this.#isVacant(cluster, this.#mapping.decode(place));
  }

  get #isExternal(): boolean {
    return this.#meta.data !== this.#meta.file;
  }

  /** The bits of the subclusters that these bytes of a cluster touch. */
  mask(within: number, lengthBytes: number): number {
    const { subclusters, subclusterBytes, allSubclusters } = this.#mapping.shape;
    if (subclusters === 1) return 1;
    const first = Math.floor(within / subclusterBytes);
    const last = Math.ceil((within + lengthBytes) / subclusterBytes) - 1;
    return (allSubclusters << first) & (allSubclusters >>> (subclusters - 1 - last));
  }

  /** @throws {ImageError} `corrupt` when data would go over a table. */
  #guard(hostOffset: number, lengthBytes: number): void {
    if (this.#isExternal) return;
    const table = this.#meta.tableAt(hostOffset, lengthBytes);
    if (table !== undefined)
      throw this.#mapping.corrupt(`data would be written over the ${table}`, hostOffset);
  }
}
