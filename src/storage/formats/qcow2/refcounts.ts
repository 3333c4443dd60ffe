import { type HostFile, ImageError } from '../../image.ts';
import type { HeaderStore } from './header-store.ts';
import * as q from './layout.ts';
import { Mutex } from './mutex.ts';
import { CountCodec } from './refcount-block.ts';
import { type Slice, TableCache } from './table-cache.ts';

const CACHE_BYTES = 4 << 20;
/** Where it grows by little again and again, the file grows ahead by at least this much, and by an eighth: that costs a call of the host. */
const GROW_BYTES = 8 << 20;
const MOST_GROW_BYTES = 1 << 30;
/** Commands ask for more at once. XFS writes all of a file to its disk that is cut back when it is closed. */
const LITTLE_BYTES = (2 << 20) - 1;
/** A few tables between large pieces. */
const FEW_GROWTHS = 4;

/** Neighbouring clusters of the host file. */
export interface ClusterRun {
  /** Index of the first. */
  readonly start: number;
  readonly count: number;
  /** Whether they were never written: they read as zeros. */
  readonly fresh: boolean;
}

/** How many references each cluster of the host file has; gives out those that have none. */
export class Refcounts {
  readonly codec: CountCodec;
  readonly perBlock: number;
  readonly cache: TableCache;
  readonly #file: HostFile;
  readonly #store: HeaderStore;
  readonly #clusterBytes: number;
  /** Held while the table's place in the file is used or changed. */
  readonly #tableLock: Mutex;
  readonly #mutex = new Mutex();
  /** Offsets of the refcount blocks; 0: none. */
  #table: Float64Array;
  #dirtyEntries = new Set<number>();
  /** Where to look next for a free cluster. */
  #hint = 0;
  /** From here on no cluster was ever used. */
  #freshFrom: number;
  /** Clusters are being taken in several turns. */
  #isChanging = false;
  /** Clusters that the file has room for. */
  #end: number;
  /** One behind the other, by little each. */
  #littleGrowths = 0;

  constructor(
    file: HostFile,
    store: HeaderStore,
    table: Float64Array,
    fileBytes: number,
    tableLock: Mutex,
  ) {
    const { clusterBits, refcountBits } = store.header;
    this.#file = file;
    this.#store = store;
    this.#clusterBytes = 2 ** clusterBits;
    this.codec = new CountCodec(refcountBits);
    this.perBlock = (this.#clusterBytes * 8) / refcountBits;
    this.cache = new TableCache(file, this.#clusterBytes, CACHE_BYTES);
    this.#table = table;
    this.#tableLock = tableLock;
    this.#freshFrom = Math.ceil(fileBytes / this.#clusterBytes);
    this.#end = Math.floor(fileBytes / this.#clusterBytes);
  }

  /** Bytes up to the last cluster that was ever used. */
  get usedBytes(): number {
    return this.#freshFrom * this.#clusterBytes;
  }

  get table(): Readonly<Float64Array> {
    return this.#table;
  }

  /** Takes up to `want` neighbouring free clusters, their counts now 1; undefined: `prepare` first. */
  take(want: number): ClusterRun | undefined {
    return this.#isChanging ? undefined : this.#take(want);
  }

  /** Whether what `take` would give was never written; undefined: `prepare` first. */
  get isNextFresh(): boolean | undefined {
    if (this.#isChanging || this.#scan() === undefined) return undefined;
    return this.#hint >= this.#freshFrom;
  }

  #changing<T>(task: () => Promise<T>): Promise<T> {
    return this.#mutex.run(async () => {
      this.#isChanging = true;
      try {
        return await task();
      } finally {
        this.#isChanging = false;
      }
    });
  }

  /** Makes that `take` finds something, best of all `want` clusters. @throws {ImageError} `no-space`, `io`. */
  prepare(want = 1): Promise<void> {
    return this.#mutex.run(async () => {
      while (!(await this.#findFree(want)));
    });
  }

  async takeOne(): Promise<ClusterRun> {
    for (;;) {
      const run = this.take(1);
      if (run !== undefined) return run;
      await this.prepare();
    }
  }

  /** Takes exactly `count` neighbouring clusters: at the end of the file, or where a full device has them. */
  takeAtEnd(count: number): Promise<number> {
    return this.#changing(async () => {
      try {
        do {
          // Blocks that the run needs come before it, and move it.
          while (await this.#addBlockFor(count));
          await this.#growFile(this.#freshFrom + count);
        } while (await this.#skipCounted(count));
      } catch (error) {
        const found =
          error instanceof ImageError && error.kind === 'no-space'
            ? await this.#findRun(count)
            : undefined;
        if (found === undefined) throw error;
        await this.add(found, count, 1);
        return found;
      }
      const start = this.#freshFrom;
      // What is counted by halves is nobody's.
      this.#freshFrom = start + count;
      await this.add(start, count, 1);
      return start;
    });
  }

  /** One more than the last cluster before `end` that is no block with all that it counts behind it. */
  beforeBlock(end: number): number {
    return this.#isOwnBlock(end - 1) ? end - 1 : end;
  }

  /**
   * Cuts off the file what is free at its end, with the blocks that counted it, as far as `fromCluster`. What is free there
   * must have been freed by the caller: the counts of a damaged image may call free what is used.
   */
  cutTail(fromCluster: number): Promise<void> {
    return this.#changing(async () => {
      await this.#store.settle();
      const blocks: number[] = [];
      let end = this.#freshFrom;
      for (; end > fromCluster; end--)
        if (this.#isOwnBlock(end - 1)) blocks.push((end - 1) / this.perBlock);
        else if ((await this.get(end - 1)) !== 0) break;
      if (end === this.#freshFrom) return;
      if (blocks.length > 0) await this.#tableLock.run(() => this.#forget(blocks));
      this.#hint = Math.min(this.#hint, end);
      // Where the host fails the file may have been cut all the same.
      this.#end = end;
      await this.#file.truncate(end * this.#clusterBytes);
      this.#end = Math.floor((await this.#file.size()) / this.#clusterBytes);
      // A device stays as long as it is, and keeps what it has.
      if (this.#end <= end) this.#freshFrom = end;
    });
  }

  #isOwnBlock(cluster: number): boolean {
    const isFirst = cluster > 0 && cluster % this.perBlock === 0;
    return isFirst && this.#table[cluster / this.perBlock] === cluster * this.#clusterBytes;
  }

  /** Takes blocks out of the table, durably: what follows may remove them. */
  async #forget(blocks: readonly number[]): Promise<void> {
    for (const block of blocks) {
      this.cache.drop(this.#table[block] ?? 0);
      this.#table[block] = 0;
      this.#dirtyEntries.add(block);
    }
    const { refcountTableOffset } = this.#store.header;
    for (const block of blocks)
      await this.#file.write(refcountTableOffset + block * 8, new Uint8Array(8));
    await this.#file.flush();
    for (const block of blocks) this.#dirtyEntries.delete(block);
  }

  /** The first of `count` free clusters that are counted by blocks. */
  async #findRun(count: number): Promise<number | undefined> {
    let free = 0;
    for (let cluster = 0; cluster < this.#end; cluster++) {
      const isFree = this.#placeOf(cluster) !== 0 && (await this.get(cluster)) === 0;
      free = isFree ? free + 1 : 0;
      if (free === count) return cluster - count + 1;
    }
    return undefined;
  }

  /** The count of a cluster. */
  get(cluster: number): number | Promise<number> {
    const place = this.#placeOf(cluster);
    if (place === 0) return 0;
    const countIn = ({ view }: Slice): number => this.codec.get(view, this.#indexIn(cluster));
    const slice = this.cache.peek(place);
    return slice === undefined ? this.cache.load(place).then(countIn) : countIn(slice);
  }

  /** Adds to the counts of clusters, 1 or -1. @throws {ImageError} `corrupt`, or `unsupported` when it gets too large. */
  async add(cluster: number, count: number, delta: number): Promise<void> {
    for (let one = cluster; one < cluster + count; one++) {
      const adding = this.#add(one, delta);
      // A wait for each of thousands takes longer than all else here.
      if (adding !== undefined) await adding;
    }
  }

  /** Adds 1 when the cluster is in memory and its count is not the largest. */
  tryShare(cluster: number): boolean {
    const place = this.#placeOf(cluster);
    const slice = place === 0 ? undefined : this.cache.peek(place);
    if (slice === undefined) return false;
    const index = this.#indexIn(cluster);
    const count = this.codec.get(slice.view, index);
    if (count === 0 || count >= this.codec.max) return false;
    this.codec.set(slice.view, index, count + 1);
    this.cache.markDirty(slice);
    return true;
  }

  /** The table's entries that changed, as writes to the file; they lead to blocks that must be durable before. */
  takeDirtyEntries(): { offsetBytes: number; bytes: Uint8Array }[] {
    const { refcountTableOffset } = this.#store.header;
    const writes = [...this.#dirtyEntries].map((entry) => {
      const bytes = new Uint8Array(8);
      set64(new DataView(bytes.buffer), 0, this.#table[entry] ?? 0);
      return { offsetBytes: refcountTableOffset + entry * 8, bytes };
    });
    this.#dirtyEntries = new Set();
    return writes;
  }

  /** Counts `writes` that did not come through as not written. */
  failedEntries(writes: readonly { offsetBytes: number }[]): void {
    const { refcountTableOffset } = this.#store.header;
    for (const { offsetBytes } of writes)
      this.#dirtyEntries.add((offsetBytes - refcountTableOffset) / 8);
  }

  get isDirty(): boolean {
    return this.cache.isDirty || this.#dirtyEntries.size > 0;
  }

  #placeOf(cluster: number): number {
    const offset = this.#table[Math.floor(cluster / this.perBlock)] ?? 0;
    if (offset === 0) return 0;
    const bit = (cluster % this.perBlock) * this.codec.bits;
    return offset + Math.floor(bit / 8);
  }

  /** The index of the cluster's count in its slice. */
  #indexIn(cluster: number): number {
    return (cluster % this.perBlock) % ((this.cache.sliceBytes * 8) / this.codec.bits);
  }

  /** Undefined: it is done. */
  #add(cluster: number, delta: number): Promise<void> | undefined {
    const place = this.#placeOf(cluster);
    if (place === 0) throw this.#corrupt(cluster, 'has no refcount block');
    const slice = this.cache.peek(place);
    if (slice === undefined)
      return this.cache.load(place).then((loaded) => this.#addIn(loaded, cluster, delta));
    this.#addIn(slice, cluster, delta);
    return undefined;
  }

  #addIn(slice: Slice, cluster: number, delta: number): void {
    const index = this.#indexIn(cluster);
    const count = this.codec.get(slice.view, index) + delta;
    if (count < 0) throw this.#corrupt(cluster, 'is freed, but its refcount is 0');
    if (count > this.codec.max)
      throw new ImageError(
        'unsupported',
        `${this.#file.path}: a cluster would have more than ${this.codec.max} references; convert to an image with larger refcount_bits`,
        { path: this.#file.path, offsetBytes: cluster * this.#clusterBytes },
      );
    this.codec.set(slice.view, index, count);
    this.cache.markDirty(slice);
    if (count === 0 && cluster < this.#hint) this.#hint = cluster;
  }

  #take(want: number): ClusterRun | undefined {
    const found = this.#scan();
    if (found === undefined) return undefined;
    const { slice, index, entries } = found;
    const start = this.#hint;
    const most = Math.min(want, entries - index, this.#end - start);
    const count = this.codec.takeFree(slice.view, index, most);
    this.cache.markDirty(slice);
    const fresh = start >= this.#freshFrom;
    this.#hint = start + count;
    this.#freshFrom = Math.max(this.#freshFrom, this.#hint);
    return { start, count, fresh };
  }

  /** Moves the hint to a free cluster; undefined: what comes next is not in memory, or not there. */
  #scan(): { slice: Slice; index: number; entries: number } | undefined {
    const entries = (this.cache.sliceBytes * 8) / this.codec.bits;
    while (this.#hint < this.#end) {
      const place = this.#placeOf(this.#hint);
      const slice = place === 0 ? undefined : this.cache.peek(place);
      if (slice === undefined) return undefined;
      let index = this.#indexIn(this.#hint);
      const last = Math.min(entries, index + this.#end - this.#hint);
      const first = index;
      while (index < last && this.codec.get(slice.view, index) !== 0) index++;
      this.#hint += index - first;
      if (index < last) return { slice, index, entries };
    }
    return undefined;
  }

  /** A step towards a free cluster; true: one is found. */
  async #findFree(want: number): Promise<boolean> {
    if (this.#scan() !== undefined) return true;
    if (this.#hint >= this.#end) {
      const most = MOST_GROW_BYTES / this.#clusterBytes;
      await this.#growFile(this.#hint + Math.min(want, most));
      return false;
    }
    const place = this.#placeOf(this.#hint);
    if (place !== 0) {
      await this.cache.load(place);
      return false;
    }
    const block = Math.floor(this.#hint / this.perBlock);
    this.#isChanging = true;
    try {
      if (block >= this.#table.length) await this.#growTable(block + 1);
      // No block: all that it would count is free, its own cluster too.
      else await this.#addBlock(block, this.#hint);
    } finally {
      this.#isChanging = false;
    }
    return false;
  }

  /**
   * Moves the end behind a cluster, of the `count` next ones, that has references: of a file that a crash cut off where
   * nothing leads, or that another program left so. False: there is none.
   */
  async #skipCounted(count: number): Promise<boolean> {
    for (let cluster = this.#freshFrom + count - 1; cluster >= this.#freshFrom; cluster--)
      if ((await this.get(cluster)) !== 0) {
        this.#freshFrom = cluster + 1;
        return true;
      }
    return false;
  }

  /** Makes the first block that `count` clusters at the end need and do not have; false: they have all. */
  async #addBlockFor(count: number): Promise<boolean> {
    while (await this.#skipCounted(1));
    const first = Math.floor(this.#freshFrom / this.perBlock);
    const last = Math.floor((this.#freshFrom + count - 1) / this.perBlock);
    for (let block = first; block <= last; block++) {
      if ((this.#table[block] ?? 0) !== 0) continue;
      await this.#growFile(this.#freshFrom + 1);
      if (block >= this.#table.length) await this.#growTable(block + 1);
      else await this.#addBlock(block, this.#freshFrom);
      return true;
    }
    return false;
  }

  /** Makes an empty block in a free cluster, which may be one that it counts. */
  async #addBlock(block: number, cluster: number): Promise<void> {
    const offset = cluster * this.#clusterBytes;
    this.#freshFrom = Math.max(this.#freshFrom, cluster + 1);
    const countsItself = Math.floor(cluster / this.perBlock) === block;
    // Where that fails nothing leads to it yet.
    if (!countsItself) await this.#add(cluster, 1);
    this.cache.create(offset);
    this.#table[block] = offset;
    this.#dirtyEntries.add(block);
    if (countsItself) await this.#add(cluster, 1);
  }

  async #growFile(clusters: number): Promise<void> {
    if (clusters <= this.#end) return;
    const needed = clusters * this.#clusterBytes;
    const isLittle = needed - this.#end * this.#clusterBytes <= LITTLE_BYTES;
    this.#littleGrowths = isLittle ? this.#littleGrowths + 1 : 0;
    const ahead =
      this.#littleGrowths > FEW_GROWTHS
        ? Math.max(GROW_BYTES, Math.min(needed / 8, MOST_GROW_BYTES))
        : 0;
    const bytes = Math.ceil((needed + ahead) / this.#clusterBytes) * this.#clusterBytes;
    await this.#file.truncate(bytes);
    const size = await this.#file.size();
    if (size < needed)
      throw new ImageError('no-space', `${this.#file.path}: the image's device is full`, {
        path: this.#file.path,
      });
    this.#end = Math.floor(size / this.#clusterBytes);
  }

  /** Moves the table to a larger place behind all that is counted, with the blocks that count it. */
  async #growTable(entries: number): Promise<void> {
    await this.#tableLock.run(async () => {
      await this.#store.settle();
      const { header } = this.#store;
      const perCluster = this.#clusterBytes / 8;
      const clusters = Math.ceil(Math.max(entries, this.#table.length * 1.5) / perCluster) + 1;
      if (clusters * this.#clusterBytes > q.MAX_REFCOUNT_TABLE_BYTES)
        throw new ImageError('no-space', `${this.#file.path}: the refcount table is full`, {
          path: this.#file.path,
        });
      const first = Math.max(this.#table.length, Math.ceil(this.#freshFrom / this.perBlock));
      const blocks = Math.ceil(clusters / (this.perBlock - 1));
      const start = first * this.perBlock;
      await this.#growFile(start + blocks + clusters);
      const table = new Float64Array(clusters * perCluster);
      table.set(this.#table);
      const old = this.#table;
      this.#table = table;
      for (let block = 0; block < blocks; block++) {
        table[first + block] = (start + block) * this.#clusterBytes;
        this.cache.create((start + block) * this.#clusterBytes);
      }
      this.#freshFrom = start + blocks + clusters;
      try {
        await this.add(start, blocks + clusters, 1);
        await this.#switchTable((start + blocks) * this.#clusterBytes, clusters);
      } catch (error) {
        this.#table = old;
        for (let block = 0; block < blocks; block++)
          this.cache.drop((start + block) * this.#clusterBytes);
        throw error;
      }
      const oldStart = header.refcountTableOffset / this.#clusterBytes;
      await this.add(oldStart, header.refcountTableClusters, -1);
    });
  }

  /** Blocks first, then the table, then the header that leads to it. */
  async #switchTable(offsetBytes: number, clusters: number): Promise<void> {
    const runs = this.cache.takeDirty();
    try {
      await this.cache.write(runs);
    } catch (error) {
      this.cache.failed(runs);
      throw error;
    }
    this.cache.wrote(runs);
    const bytes = new Uint8Array(clusters * this.#clusterBytes);
    const view = new DataView(bytes.buffer);
    this.#table.forEach((offset, entry) => {
      set64(view, entry * 8, offset);
    });
    await this.#file.write(offsetBytes, bytes);
    await this.#file.flush();
    await this.#store.update({ refcountTableOffset: offsetBytes, refcountTableClusters: clusters });
    this.#dirtyEntries = new Set();
  }

  #corrupt(cluster: number, what: string): ImageError {
    const offsetBytes = cluster * this.#clusterBytes;
    const message = `${this.#file.path}: the cluster at ${offsetBytes} ${what}; run a check of the image`;
    return new ImageError('corrupt', message, { path: this.#file.path, offsetBytes });
  }
}

function set64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / q.TWO_32));
  view.setUint32(at + 4, value % q.TWO_32);
}
