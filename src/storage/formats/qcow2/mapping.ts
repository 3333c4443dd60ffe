import { type Extent, ImageError } from '../../image.ts';
import {
  decodeEntry,
  encodeRun,
  isPlaced,
  type L2Entry,
  type L2Shape,
  l2Shape,
} from './l2-entry.ts';
import * as q from './layout.ts';
import type { Metadata } from './metadata.ts';
import { Mutex } from './mutex.ts';
import type { Slice } from './table-cache.ts';

/** A part of a request that lies in one way, in one cluster or in neighbouring ones. */
export interface Run extends Extent {
  readonly offsetBytes: number;
  /** For a compressed cluster: what to read of the host file. */
  readonly compressedBytes: number;
}

/** Where an L2 entry stands in memory: to be used in the turn in which it was got. */
export interface EntryPlace {
  readonly slice: Slice;
  readonly at: number;
}

/** From offsets of the disk to offsets of the host file. */
export class Mapping {
  readonly shape: L2Shape;
  readonly perTable: number;
  readonly #meta: Metadata;
  readonly #clusterBytes: number;
  readonly #tableLock = new Mutex();

  constructor(meta: Metadata) {
    this.#meta = meta;
    this.#clusterBytes = meta.clusterBytes;
    this.shape = l2Shape(meta.header.clusterBits, meta.header.extendedL2, meta.data !== meta.file);
    this.perTable = this.#clusterBytes / this.shape.entryBytes;
  }

  /** Clusters that the L1 table has room for: those of the disk, and perhaps more. */
  get clusters(): number {
    return this.#meta.header.l1Entries * this.perTable;
  }

  /** The longest run from `offsetBytes` on that is known; undefined: `load` first. */
  run(offsetBytes: number, lengthBytes: number): Run | undefined {
    const first = this.#piece(offsetBytes, lengthBytes);
    if (first === undefined) return undefined;
    let length = first.lengthBytes;
    if (length >= lengthBytes || first.compressed === true) return first;
    while (length < lengthBytes) {
      const next = this.#piece(offsetBytes + length, lengthBytes - length);
      if (next === undefined || next.kind !== first.kind || next.compressed === true) break;
      const expected =
        first.hostOffsetBytes === undefined ? undefined : first.hostOffsetBytes + length;
      if (next.hostOffsetBytes !== expected) break;
      length += next.lengthBytes;
    }
    return { ...first, lengthBytes: length };
  }

  /** Brings the L2 entry for `offsetBytes` into memory. */
  async load(offsetBytes: number): Promise<void> {
    const place = this.entryOffset(Math.floor(offsetBytes / this.#clusterBytes));
    if (place !== 0) await this.#meta.l2.load(place);
  }

  /** Where the entry of a cluster lies in the host file; 0: it has no L2 table. */
  entryOffset(cluster: number): number {
    const table = this.#tableOffset(Math.floor(cluster / this.perTable));
    return table === 0 ? 0 : table + (cluster % this.perTable) * this.shape.entryBytes;
  }

  /** The entry of a cluster, for change; undefined: `makeWritable` first. */
  writable(cluster: number): EntryPlace | undefined {
    const index = Math.floor(cluster / this.perTable);
    if ((this.#meta.l1.getUint32(index * 8) & q.HI_COPIED) === 0) return undefined;
    const place = this.entryOffset(cluster);
    const slice = place === 0 ? undefined : this.#meta.l2.peek(place);
    return slice === undefined ? undefined : { slice, at: place - slice.start };
  }

  /** Reads, makes or copies the L2 table of a cluster, so that its entries may be changed. */
  async makeWritable(cluster: number): Promise<void> {
    if (this.#meta.isFull) await this.#meta.commit();
    const index = Math.floor(cluster / this.perTable);
    if (this.#isOurs(index)) await this.load(cluster * this.#clusterBytes);
    else
      await this.#tableLock.run(async () => {
        if (!this.#isOurs(index)) await this.#newTable(index);
      });
  }

  /** Takes the L2 table that begins with this cluster off the disk, and all that it leads to. */
  async dropTable(cluster: number, release: (entry: L2Entry) => void): Promise<void> {
    if (this.#meta.isFull) await this.#meta.commit();
    const table = this.entryOffset(cluster);
    const entries: L2Entry[] = [];
    for (let from = 0; from < this.#clusterBytes; from += this.#meta.l2.sliceBytes) {
      const slice = await this.#meta.l2.load(table + from);
      for (let at = 0; at < slice.bytes.length; at += this.shape.entryBytes) {
        const entry = this.decode({ slice, at });
        if (isPlaced(entry)) entries.push(entry);
      }
    }
    // All of it or, where a part cannot be read, nothing.
    for (const entry of entries) release(entry);
    this.#meta.setL1(cluster / this.perTable, 0, 0);
    this.#meta.freeLater(table / this.#clusterBytes, 1);
  }

  /** As `writable`, of an entry that was looked at within this turn. */
  inMemory(cluster: number): EntryPlace {
    const place = this.writable(cluster);
    if (place === undefined) throw new Error('an L2 table left memory within a turn');
    return place;
  }

  /** How many entries from that of `cluster` on say nothing at all; at most `most`, and those of one slice. */
  emptyFrom(cluster: number, most: number): number {
    const place = this.writable(cluster);
    if (place === undefined) return 0;
    const { entryBytes } = this.shape;
    const { view, bytes } = place.slice;
    const end = Math.min(bytes.length, place.at + most * entryBytes);
    let at = place.at;
    while (at < end && (view.getUint32(at) | view.getUint32(at + 4)) === 0) at += 8;
    return Math.floor((at - place.at) / entryBytes);
  }

  /**
   * Lets `count` vacant clusters lead to what lies one behind the other from `hostOffset` on, with `allocated` of their
   * subclusters in use. Their tables are in memory.
   */
  pointWhole(cluster: number, count: number, hostOffset: number, allocated: number): void {
    const { entryBytes } = this.shape;
    for (let done = 0; done < count; ) {
      const { slice, at: start } = this.inMemory(cluster + done);
      const here = Math.min((slice.bytes.length - start) / entryBytes, count - done);
      const host = hostOffset + done * this.#clusterBytes;
      encodeRun(slice.view, start, this.shape, here, host, allocated);
      done += here;
      this.#meta.l2.markDirty(slice);
    }
  }

  decode({ slice, at }: EntryPlace): L2Entry {
    const entry = decodeEntry(slice.view, at, this.shape);
    if (typeof entry === 'string') throw this.corrupt(`L2 entry: ${entry}`, slice.start + at);
    return entry;
  }

  corrupt(what: string, offsetBytes: number, cause?: unknown): ImageError {
    const { path } = this.#meta.file;
    this.#meta.isCorrupt = true;
    const message = `${path}: at ${offsetBytes}: ${what}`;
    return new ImageError('corrupt', message, { path, offsetBytes }, { cause });
  }

  /** Whether the L2 table is no snapshot's too. */
  #isOurs(index: number): boolean {
    return (
      this.#tableOffset(index) !== 0 && (this.#meta.l1.getUint32(index * 8) & q.HI_COPIED) !== 0
    );
  }

  async #newTable(index: number): Promise<void> {
    const old = this.#tableOffset(index);
    let bytes: Uint8Array | undefined;
    if (old !== 0) {
      bytes = new Uint8Array(this.#clusterBytes);
      for (let at = 0; at < bytes.length; at += this.#meta.l2.sliceBytes)
        bytes.set((await this.#meta.l2.load(old + at)).bytes, at);
    }
    const { start } = await this.#meta.counts.takeOne();
    const offset = start * this.#clusterBytes;
    this.#meta.l2.create(offset, bytes);
    this.#meta.setL1(index, Math.floor(offset / q.TWO_32) | q.HI_COPIED, offset);
    if (old !== 0) this.#meta.freeLater(old / this.#clusterBytes, 1);
  }

  /** The run from `offsetBytes` on within its subcluster, or within a whole range without an entry in the file. */
  #piece(offsetBytes: number, lengthBytes: number): Run | undefined {
    const clusterBytes = this.#clusterBytes;
    const cluster = Math.floor(offsetBytes / clusterBytes);
    const place = this.entryOffset(cluster);
    const bare = { offsetBytes, compressedBytes: 0 };
    // A hostile L1 table may lead to a hundred thousand places past the end.
    if (place === 0 || this.#meta.l2.isPastEnd(place)) {
      const bytes = clusterBytes * this.perTable;
      const length = Math.min(lengthBytes, bytes - (offsetBytes % bytes));
      return { ...bare, kind: 'unallocated', lengthBytes: length };
    }
    const slice = this.#meta.l2.peek(place);
    if (slice === undefined) return undefined;
    const entry = this.decode({ slice, at: place - slice.start });
    const within = offsetBytes % clusterBytes;
    if (entry.compressedBytes > 0)
      return {
        offsetBytes,
        compressedBytes: entry.compressedBytes,
        kind: 'data',
        compressed: true,
        hostOffsetBytes: entry.hostOffset,
        lengthBytes: Math.min(lengthBytes, clusterBytes - within),
      };
    const { kind, endBytes } = this.#likeSubclusters(entry, within);
    const length = Math.min(lengthBytes, endBytes - within);
    if (kind !== 'data') {
      const isWhole = entry.hostOffset === 0 && within + length === clusterBytes;
      const more = isWhole ? this.#alike(slice, place - slice.start, lengthBytes - length) : 0;
      const taken = isPlaced(entry) ? { hostOffsetBytes: entry.hostOffset + within } : {};
      return { ...bare, ...taken, kind, lengthBytes: length + more };
    }
    const isWhole =
      entry.allocated === this.shape.allSubclusters && within + length === clusterBytes;
    const more = isWhole ? this.#adjoining(slice, place - slice.start, lengthBytes - length) : 0;
    const hostOffsetBytes = entry.hostOffset + within;
    return { ...bare, kind, hostOffsetBytes, lengthBytes: length + more };
  }

  /** Bytes of the clusters, all data, that lie behind that of the entry at `at` in disk and file alike. */
  #adjoining({ view, bytes }: Slice, at: number, mostBytes: number): number {
    const { entryBytes, extendedL2, allSubclusters } = this.shape;
    const most = Math.ceil(mostBytes / this.#clusterBytes) * entryBytes;
    const end = Math.min(bytes.length, at + entryBytes + most);
    const high = view.getUint32(at);
    // Above 32 bits no entry has it: the run ends there.
    let low = view.getUint32(at + 4) + this.#clusterBytes;
    let next = at + entryBytes;
    while (next < end && view.getUint32(next) === high && view.getUint32(next + 4) === low) {
      const isData =
        !extendedL2 ||
        (view.getUint32(next + 8) === 0 && view.getUint32(next + 12) === allSubclusters);
      if (!isData) break;
      low += this.#clusterBytes;
      next += entryBytes;
    }
    const clusters = (next - at) / entryBytes - 1;
    return Math.min(clusters * this.#clusterBytes, mostBytes);
  }

  /** Bytes of the clusters whose entries follow that at `at` and are the same: large disks have millions that lie nowhere. */
  #alike({ view, bytes }: Slice, at: number, mostBytes: number): number {
    const { entryBytes } = this.shape;
    const most = Math.ceil(mostBytes / this.#clusterBytes) * entryBytes;
    const end = Math.min(bytes.length, at + entryBytes + most);
    let next = at + entryBytes;
    while (next < end && view.getUint32(next) === view.getUint32(next - entryBytes)) {
      let word = 4;
      while (
        word < entryBytes &&
        view.getUint32(next + word) === view.getUint32(next + word - entryBytes)
      )
        word += 4;
      if (word < entryBytes) break;
      next += entryBytes;
    }
    const clusters = (next - at) / entryBytes - 1;
    return Math.min(clusters * this.#clusterBytes, mostBytes);
  }

  /** What the subcluster at byte `within` is, and where in the cluster those like it end. */
  #likeSubclusters(entry: L2Entry, within: number): { kind: Extent['kind']; endBytes: number } {
    const { subclusterBytes, subclusters } = this.shape;
    const first = Math.floor(within / subclusterBytes);
    const kind = kindOf(entry, first);
    let end = first + 1;
    while (end < subclusters && kindOf(entry, end) === kind) end++;
    return { kind, endBytes: end * subclusterBytes };
  }

  #tableOffset(index: number): number {
    const high = this.#meta.l1.getUint32(index * 8);
    const low = this.#meta.l1.getUint32(index * 8 + 4);
    const offset = (high & q.HI_OFFSET) * q.TWO_32 + ((low & q.LO_OFFSET) >>> 0);
    const reserved = (high & q.HI_L1_RESERVED) !== 0 || (low & ~q.LO_OFFSET) !== 0;
    if (!reserved && offset % this.#clusterBytes === 0 && Number.isSafeInteger(offset))
      return offset;
    throw this.corrupt(`L1 entry ${index} leads to no L2 table`, offset);
  }
}

function kindOf(entry: L2Entry, subcluster: number): Extent['kind'] {
  const bit = 1 << subcluster;
  if ((entry.zero & bit) !== 0) return 'zero';
  return (entry.allocated & bit) === 0 ? 'unallocated' : 'data';
}
