import { Epochs } from '../../blocks/epochs.ts';
import { type HostFile, ImageError } from '../../image.ts';
import { giveBack, isZero } from '../../zeros.ts';
import type { Header } from './header.ts';
import type { HeaderStore } from './header-store.ts';
import * as q from './layout.ts';
import { Mutex } from './mutex.ts';
import { Refcounts } from './refcounts.ts';
import { type DirtyRun, TableCache } from './table-cache.ts';

/** As QEMU's: with clusters of 64 KiB it covers 256 GiB of disk. */
const L2_CACHE_BYTES = 32 << 20;
const SECTOR_BYTES = 512;
/** Of clusters that wait to be freed: some 20 MiB of memory. */
const MOST_FREES = 1 << 18;
/** Whole runs of this size that get free are given back to the host. */
const PUNCH_BYTES = 1 << 20;
/** Of the refcount table, that are seen to be empty at once. */
const ENTRIES_AT_ONCE = 256;

interface FileWrite {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

/** What one commit writes. */
interface Batch {
  readonly counts: readonly DirtyRun[];
  readonly countTable: readonly FileWrite[];
  readonly l2: readonly DirtyRun[];
  readonly l1: readonly FileWrite[];
  readonly frees: readonly Free[];
}

interface Free {
  readonly cluster: number;
  readonly count: number;
}

/**
 * All tables of an open image, changed in memory and written by `commit`, in an order that leaves, wherever it is cut, only
 * leaks: data and refcounts; then L2 tables; then the L1 table; then the freeing of what they no longer refer to.
 */
export class Metadata {
  readonly file: HostFile;
  /** Where the guest's bytes lie: `file`, or the external data file. */
  readonly data: HostFile;
  readonly store: HeaderStore;
  readonly l2: TableCache;
  readonly counts: Refcounts;
  readonly epochs = new Epochs();
  readonly clusterBytes: number;
  l1: DataView;
  /** A table was seen to be wrong. */
  isCorrupt = false;
  /** The host failed in the midst of a change: there may be clusters that nothing leads to. */
  isLeaking = false;
  readonly #commitLock: Mutex;
  readonly #dirtyL1 = new Set<number>();
  #pendingFrees: Free[] = [];
  /** No longer referred to, on disk too, and no request under way knows them. */
  #readyFrees: Free[] = [];
  /** From here on all clusters of the file have been freed. */
  #tailStart: number | undefined;
  #cutting = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(
    file: HostFile,
    data: HostFile,
    store: HeaderStore,
    l1: DataView,
    table: Float64Array,
    fileBytes: number,
  ) {
    this.file = file;
    this.data = data;
    this.store = store;
    this.l1 = l1;
    this.clusterBytes = 2 ** store.header.clusterBits;
    this.l2 = new TableCache(file, this.clusterBytes, L2_CACHE_BYTES);
    this.#commitLock = new Mutex();
    this.counts = new Refcounts(file, store, table, fileBytes, this.#commitLock);
  }

  get header(): Header {
    return this.store.header;
  }

  get isLazy(): boolean {
    return (this.header.compatible & q.COMPATIBLE_LAZY_REFCOUNTS) !== 0;
  }

  /** Whether so much waits to be written that it should be. */
  get isFull(): boolean {
    return this.l2.isFull || this.counts.cache.isFull || this.#pendingFrees.length > MOST_FREES;
  }

  setL1(index: number, high: number, low: number): void {
    this.l1.setUint32(index * 8, high);
    this.l1.setUint32(index * 8 + 4, low);
    this.#dirtyL1.add(Math.floor((index * 8) / SECTOR_BYTES));
  }

  /** What of the tables lies in these bytes of the host file, as far as that is seen at once. */
  tableAt(offsetBytes: number, lengthBytes: number): string | undefined {
    const { header, clusterBytes } = this;
    const hits = (start: number, length: number): boolean =>
      start !== 0 && offsetBytes < start + length && start < offsetBytes + lengthBytes;
    if (offsetBytes < clusterBytes) return 'header';
    if (hits(header.l1Offset, header.l1Entries * 8)) return 'L1 table';
    if (hits(header.refcountTableOffset, header.refcountTableClusters * clusterBytes))
      return 'refcount table';
    if (header.snapshotCount > 0 && hits(header.snapshotsOffset, 1)) return 'snapshot table';
    if (this.l2.overlaps(offsetBytes, lengthBytes)) return 'L2 table';
    if (this.counts.cache.overlaps(offsetBytes, lengthBytes)) return 'refcount block';
    return undefined;
  }

  /** Takes references off clusters once nothing on disk refers to them by what changes now. */
  freeLater(cluster: number, count: number): void {
    const last = this.#pendingFrees.at(-1);
    if (last !== undefined && last.cluster + last.count === cluster)
      this.#pendingFrees[this.#pendingFrees.length - 1] = {
        cluster: last.cluster,
        count: last.count + count,
      };
    else this.#pendingFrees.push({ cluster, count });
  }

  /** Makes all that has changed by now durable, data too. Calls that wait together are served together. */
  commit(): Promise<void> {
    this.#next ??= this.#commitLock.run(() => {
      this.#next = undefined;
      return this.#commit(!this.isLazy);
    });
    return this.#next;
  }

  /** Makes everything durable, refcounts of lazy images and freed clusters too. */
  async settle(): Promise<void> {
    do {
      await this.#commitLock.run(() => this.#commit(true));
      // What the commit freed is being counted.
      await this.#commitLock.run(() => Promise.resolve());
    } while (this.#hasWork());
    await this.#cutTail();
  }

  /** Marks the image's refcounts as not to be trusted, durably. */
  async setDirty(dirty: boolean): Promise<void> {
    const { version, incompatible } = this.header;
    const next = dirty ? incompatible | q.INCOMPATIBLE_DIRTY : incompatible & ~q.INCOMPATIBLE_DIRTY;
    if (version >= 3 && next !== incompatible) await this.store.update({ incompatible: next });
  }

  /** Marks the image as corrupt: nobody shall write to it before it is repaired. */
  async setCorrupt(): Promise<void> {
    const { version, incompatible } = this.header;
    if (version < 3 || (incompatible & q.INCOMPATIBLE_CORRUPT) !== 0) return;
    await this.store.update({ incompatible: incompatible | q.INCOMPATIBLE_CORRUPT });
  }

  /** Puts another L1 table in place, and what goes with it, at once. Nothing else may be under way. */
  async switchL1(
    bytes: Uint8Array,
    changes: { sizeBytes?: number } = {},
  ): Promise<{ cluster: number; count: number }> {
    const clusters = Math.max(1, Math.ceil(bytes.length / this.clusterBytes));
    const start = await this.counts.takeAtEnd(clusters);
    await this.file.write(start * this.clusterBytes, bytes);
    await this.commit();
    const { l1Offset, l1Entries } = this.header;
    await this.store.update({
      ...changes,
      l1Offset: start * this.clusterBytes,
      l1Entries: bytes.length / 8,
    });
    this.l1 = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#dirtyL1.clear();
    return {
      cluster: l1Offset / this.clusterBytes,
      count: l1Offset === 0 ? 0 : Math.ceil((l1Entries * 8) / this.clusterBytes),
    };
  }

  #hasWork(): boolean {
    return (
      this.#pendingFrees.length > 0 ||
      this.#readyFrees.length > 0 ||
      this.#dirtyL1.size > 0 ||
      this.l2.isDirty ||
      this.counts.isDirty
    );
  }

  async #commit(withCounts: boolean): Promise<void> {
    await this.store.settle();
    await this.#applyFrees();
    const batch = this.#take(withCounts || this.counts.cache.isFull);
    try {
      await this.#write(batch);
    } catch (error) {
      this.#restore(batch);
      throw error;
    }
    this.counts.cache.wrote(batch.counts);
    this.l2.wrote(batch.l2);
    if (batch.frees.length > 0)
      this.epochs.after(() => {
        this.#readyFrees.push(...batch.frees);
        // What cannot be counted is lost until the image is closed; the next commit goes on with the rest.
        this.#commitLock
          .run(() => this.#applyFrees())
          .then(() => this.#cutTail())
          .catch(() => {
            this.isLeaking = true;
          });
      });
  }

  #take(withCounts: boolean): Batch {
    const { l1Offset } = this.header;
    const l1 = [...this.#dirtyL1].map((sector) => ({
      offsetBytes: l1Offset + sector * SECTOR_BYTES,
      bytes: new Uint8Array(
        this.l1.buffer,
        this.l1.byteOffset + sector * SECTOR_BYTES,
        Math.min(SECTOR_BYTES, this.l1.byteLength - sector * SECTOR_BYTES),
      ).slice(),
    }));
    this.#dirtyL1.clear();
    const frees = this.#pendingFrees;
    this.#pendingFrees = [];
    return {
      counts: withCounts ? this.counts.cache.takeDirty() : [],
      countTable: withCounts ? this.counts.takeDirtyEntries() : [],
      l2: this.l2.takeDirty(),
      l1,
      frees,
    };
  }

  async #write({ counts, countTable, l2, l1 }: Batch): Promise<void> {
    const refers = l2.length > 0 || l1.length > 0;
    if (refers && this.isLazy) await this.setDirty(true);
    await this.counts.cache.write(counts);
    await this.#flush();
    if (countTable.length > 0) {
      await this.#writeAll(countTable);
      await this.file.flush();
    }
    if (!refers) return;
    await this.l2.write(l2);
    if (l1.length > 0) {
      if (l2.length > 0) await this.file.flush();
      await this.#writeAll(l1);
    }
    await this.file.flush();
  }

  async #flush(): Promise<void> {
    if (this.data !== this.file) await this.data.flush();
    await this.file.flush();
  }

  async #writeAll(writes: readonly FileWrite[]): Promise<void> {
    for (const { offsetBytes, bytes } of writes) await this.file.write(offsetBytes, bytes);
  }

  #restore(batch: Batch): void {
    this.counts.cache.failed(batch.counts);
    this.counts.failedEntries(batch.countTable);
    this.l2.failed(batch.l2);
    const { l1Offset } = this.header;
    for (const { offsetBytes } of batch.l1)
      this.#dirtyL1.add((offsetBytes - l1Offset) / SECTOR_BYTES);
    this.#pendingFrees.unshift(...batch.frees);
  }

  async #applyFrees(): Promise<void> {
    this.#readyFrees = joined(this.#readyFrees);
    const used = this.counts.usedBytes / this.clusterBytes;
    let tail = used;
    for (let next = this.#readyFrees.pop(); next !== undefined; next = this.#readyFrees.pop()) {
      const { cluster, count } = next;
      const end = cluster + count;
      const isLast = end === tail || end === this.counts.beforeBlock(tail);
      if (isLast && (await this.#endOfUnshared(cluster, end)) === end) tail = cluster;
      else await this.#punchUnshared(cluster, end);
      if ((used - tail) * this.clusterBytes >= PUNCH_BYTES) this.#tailStart = tail;
      for (let one = cluster; one < cluster + count; one++) this.l2.drop(one * this.clusterBytes);
      await this.counts.add(cluster, count, -1);
    }
  }

  /** Not while the commit lock is held: the file may be growing, and wait for it. What cannot be cut off stays. */
  #cutTail(): Promise<void> {
    const start = this.#tailStart;
    this.#tailStart = undefined;
    if (start !== undefined)
      this.#cutting = this.#cutting.then(() => this.counts.cutTail(start)).catch(() => {});
    return this.#cutting;
  }

  /** Gives the room of clusters back that nobody else refers to, before they can be taken anew. */
  async #punchUnshared(cluster: number, end: number): Promise<void> {
    if ((end - cluster) * this.clusterBytes < PUNCH_BYTES) return;
    for (let first = cluster; first < end; ) {
      const last = await this.#endOfUnshared(first, end);
      const bytes = (last - first) * this.clusterBytes;
      if (bytes >= PUNCH_BYTES) await giveBack(this.file, first * this.clusterBytes, bytes);
      first = last + 1;
    }
  }

  /** Where the clusters from `first` on end that have one reference each. */
  async #endOfUnshared(first: number, end: number): Promise<number> {
    for (let last = first; last < end; last++) {
      const count = this.counts.get(last);
      if ((count instanceof Promise ? await count : count) !== 1) return last;
    }
    return end;
  }
}

/** In order, neighbours as one. */
function joined(frees: readonly Free[]): Free[] {
  const runs: Free[] = [];
  for (const { cluster, count } of frees.toSorted((a, b) => a.cluster - b.cluster)) {
    const last = runs.at(-1);
    if (last !== undefined && last.cluster + last.count === cluster)
      runs[runs.length - 1] = { cluster: last.cluster, count: last.count + count };
    else runs.push({ cluster, count });
  }
  return runs;
}

/** Reads the refcount table; `onBad` hears of entries that lead nowhere. @throws {ImageError} `corrupt` without it. */
export async function readCountTable(
  file: HostFile,
  header: Header,
  onBad?: (entry: number) => void,
): Promise<Float64Array> {
  const clusterBytes = 2 ** header.clusterBits;
  const { refcountTableOffset: offsetBytes } = header;
  const bytes = new Uint8Array(header.refcountTableClusters * clusterBytes);
  const isThere = offsetBytes !== 0 && bytes.length > 0;
  if (isThere) await file.read(offsetBytes, bytes);
  else if (onBad === undefined)
    throw new ImageError('corrupt', `${file.path}: there is no refcount table`, {
      path: file.path,
    });
  const view = new DataView(bytes.buffer);
  const table = new Float64Array(bytes.length / 8);
  for (let first = 0; first < table.length; first += ENTRIES_AT_ONCE) {
    const end = Math.min(table.length, first + ENTRIES_AT_ONCE);
    // Most of 8,192 lead nowhere. Looked at one by one V8 would compile this function anew, for 5 ms.
    if (isZero(bytes.subarray(first * 8, end * 8))) continue;
    for (let entry = first; entry < end; entry++) {
      const offset = view.getUint32(entry * 8) * q.TWO_32 + view.getUint32(entry * 8 + 4);
      if (offset % clusterBytes === 0 && Number.isSafeInteger(offset)) table[entry] = offset;
      else if (onBad !== undefined) onBad(entry);
      else
        throw new ImageError(
          'corrupt',
          `${file.path}: entry ${entry} of the refcount table at ${offsetBytes} leads to no block; repair the image with a check`,
          { path: file.path, offsetBytes: offsetBytes + entry * 8 },
        );
    }
  }
  return table;
}
