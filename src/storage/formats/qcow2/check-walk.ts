import type { HostFile } from '../../image.ts';
import { ImageError } from '../../image.ts';
import { bitmapRegions } from './bitmaps.ts';
import type { Header } from './header.ts';
import { decodeEntry, hostClusters, type L2Entry, type L2Shape, l2Shape } from './l2-entry.ts';
import * as q from './layout.ts';
import { readSnapshots } from './snapshot-table.ts';
import { Tally } from './tally.ts';

const MAX_MESSAGES = 2000;

/** An L1 or L2 entry of the disk that leads to a cluster, by its place in the host file. */
export interface FlaggedEntry {
  readonly offsetBytes: number;
  readonly cluster: number;
  readonly copied: boolean;
}

/** An entry that cannot be: it will be overwritten by a repair. */
export interface BadEntry {
  readonly offsetBytes: number;
  /** Bytes of the entry. */
  readonly lengthBytes: number;
  readonly isL1: boolean;
}

/** All that refers to clusters, counted by walking every table. */
export class Walk {
  readonly tally = new Tally();
  readonly messages: string[] = [];
  readonly bad: BadEntry[] = [];
  corruptions = 0;
  checkErrors = 0;
  allocated = 0;
  fragmented = 0;
  compressed = 0;
  readonly shape: L2Shape;
  readonly clusterBytes: number;
  readonly #file: HostFile;
  readonly #header: Header;
  readonly #fileClusters: number;
  /** How many L1 entries lead to each L2 table. */
  readonly #tables = new Map<number, number>();
  /** Entries of the disk's L1 table: L2 table to place. */
  readonly #active = new Map<number, FlaggedEntry>();
  #lastHost = -1;

  constructor(file: HostFile, header: Header, fileBytes: number) {
    this.#file = file;
    this.#header = header;
    this.clusterBytes = 2 ** header.clusterBits;
    this.shape = l2Shape(header.clusterBits, header.extendedL2, header.dataFile !== undefined);
    this.#fileClusters = Math.ceil(fileBytes / this.clusterBytes);
  }

  say(message: string): void {
    if (this.messages.length < MAX_MESSAGES) this.messages.push(message);
  }

  /** Walks all tables but the refcounts'. */
  async run(): Promise<void> {
    const header = this.#header;
    this.tally.add(0, 1);
    await this.#walkL1(header.l1Offset, header.l1Entries, true);
    await this.#attempt('snapshot table', async () => {
      const snapshots = await readSnapshots(this.#file, header);
      const ends = snapshots.length > 0 ? await this.#snapshotTableBytes() : 0;
      this.region(header.snapshotsOffset, ends, 'snapshot table');
      for (const { l1Offset, l1Entries } of snapshots)
        await this.#walkL1(l1Offset, l1Entries, false);
    });
    for (const table of [...this.#tables.keys()].sort((a, b) => a - b)) await this.#walkL2(table);
    await this.#attempt('bitmaps', async () => {
      for (const { offsetBytes, lengthBytes } of await bitmapRegions(this.#file, header))
        this.region(offsetBytes, lengthBytes, 'bitmap');
    });
  }

  /** Counts a reference to the clusters of a region; false: it does not lie in the file. */
  region(offsetBytes: number, lengthBytes: number, what: string): boolean {
    if (lengthBytes === 0) return true;
    const first = Math.floor(offsetBytes / this.clusterBytes);
    const last = Math.floor((offsetBytes + lengthBytes - 1) / this.clusterBytes);
    if (offsetBytes % this.clusterBytes !== 0 || last >= this.#fileClusters) {
      this.corrupt(`ERROR ${what} at ${offsetBytes} does not lie in the file`);
      return false;
    }
    for (let cluster = first; cluster <= last; cluster++) this.tally.add(cluster, 1);
    return true;
  }

  corrupt(message: string): void {
    this.corruptions++;
    this.say(message);
  }

  /** Calls `each` with all entries of the disk that lead to clusters, those of compressed ones apart. */
  async eachFlagged(each: (entry: FlaggedEntry) => Promise<void> | void): Promise<void> {
    for (const [table, entry] of this.#active) {
      await each(entry);
      // Clusters of another file are not counted.
      if (this.shape.isExternal) continue;
      const view = await this.#readTable(table);
      for (let at = 0; at < this.clusterBytes; at += this.shape.entryBytes) {
        const decoded = decodeEntry(view, at, this.shape);
        if (typeof decoded === 'string' || decoded.hostOffset === 0) continue;
        if (decoded.compressedBytes > 0) continue;
        const cluster = decoded.hostOffset / this.clusterBytes;
        await each({ offsetBytes: table + at, cluster, copied: decoded.copied });
      }
    }
  }

  async #attempt(what: string, task: () => Promise<void>): Promise<void> {
    try {
      await task();
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      if (error.kind === 'corrupt') this.corrupt(`ERROR ${what}: ${error.message}`);
      else {
        this.checkErrors++;
        this.say(`${what}: ${error.message}`);
      }
    }
  }

  /** The table has no length of its own: entries follow one another. */
  async #snapshotTableBytes(): Promise<number> {
    const fixed = new Uint8Array(40);
    const view = new DataView(fixed.buffer);
    let bytes = 0;
    for (let index = 0; index < this.#header.snapshotCount; index++) {
      await this.#file.read(this.#header.snapshotsOffset + bytes, fixed);
      const length = 40 + view.getUint32(36) + view.getUint16(12) + view.getUint16(14);
      bytes += Math.ceil(length / 8) * 8;
    }
    return bytes;
  }

  async #walkL1(offsetBytes: number, entries: number, isActive: boolean): Promise<void> {
    const what = isActive ? 'L1 table' : 'L1 table of a snapshot';
    if (!this.region(offsetBytes, entries * 8, what)) return;
    const bytes = new Uint8Array(entries * 8);
    await this.#file.read(offsetBytes, bytes);
    const view = new DataView(bytes.buffer);
    for (let index = 0; index < entries; index++) {
      const high = view.getUint32(index * 8);
      const low = view.getUint32(index * 8 + 4);
      const table = (high & q.HI_OFFSET) * q.TWO_32 + ((low & q.LO_OFFSET) >>> 0);
      const place = offsetBytes + index * 8;
      const isReserved = (high & q.HI_L1_RESERVED) !== 0 || (low & ~q.LO_OFFSET) !== 0;
      if (table === 0 && !isReserved) continue;
      if (isReserved || !this.#isCluster(table)) {
        this.corrupt(`ERROR ${what}: entry ${index} leads to no L2 table: ${table}`);
        this.bad.push({ offsetBytes: place, lengthBytes: 8, isL1: true });
        continue;
      }
      const cluster = table / this.clusterBytes;
      this.tally.add(cluster, 1);
      this.#tables.set(table, (this.#tables.get(table) ?? 0) + 1);
      const copied = (high & q.HI_COPIED) !== 0;
      if (isActive) this.#active.set(table, { offsetBytes: place, cluster, copied });
    }
  }

  #isCluster(offsetBytes: number): boolean {
    return (
      offsetBytes > 0 &&
      offsetBytes % this.clusterBytes === 0 &&
      offsetBytes / this.clusterBytes < this.#fileClusters
    );
  }

  async #readTable(table: number): Promise<DataView> {
    const bytes = new Uint8Array(this.clusterBytes);
    await this.#file.read(table, bytes);
    return new DataView(bytes.buffer);
  }

  async #walkL2(table: number): Promise<void> {
    const view = await this.#readTable(table);
    const references = this.#tables.get(table) ?? 0;
    const isActive = this.#active.has(table);
    const isExternal = this.#header.dataFile !== undefined;
    // As QEMU counts: each table begins anew.
    this.#lastHost = -1;
    for (let at = 0; at < this.clusterBytes; at += this.shape.entryBytes) {
      const isEmpty = view.getUint32(at) === 0 && view.getUint32(at + 4) === 0;
      const entry = isEmpty ? undefined : this.#entry(view, table, at);
      if (entry === undefined) continue;
      const [first, count] = hostClusters(entry, this.clusterBytes);
      if (isActive && count > 0) this.#count(entry.compressedBytes > 0, entry.hostOffset);
      if (isExternal && entry.compressedBytes === 0) continue;
      for (let one = first; one < first + count; one++) this.tally.add(one, references);
    }
  }

  /** An entry of an L2 table that leads into the file. */
  #entry(view: DataView, table: number, at: number): L2Entry | undefined {
    const { entryBytes } = this.shape;
    const entry = decodeEntry(view, at, this.shape);
    let problem: string;
    if (typeof entry === 'string') problem = entry;
    else {
      const [first, count] = hostClusters(entry, this.clusterBytes);
      const isExternal = this.#header.dataFile !== undefined && entry.compressedBytes === 0;
      if (isExternal || first + count <= this.#fileClusters) return entry;
      problem = 'the cluster lies beyond the end of the file';
    }
    this.corrupt(`ERROR L2 table at ${table}: entry ${at / entryBytes}: ${problem}`);
    this.bad.push({ offsetBytes: table + at, lengthBytes: entryBytes, isL1: false });
    return undefined;
  }

  /** A cluster is fragmented when it does not follow the one before it in its table. */
  #count(isCompressed: boolean, hostOffset: number): void {
    this.allocated++;
    if (isCompressed) {
      // QEMU counts compressed clusters as fragmented.
      this.compressed++;
      this.fragmented++;
      return;
    }
    if (this.#lastHost >= 0 && hostOffset !== this.#lastHost + this.clusterBytes) this.fragmented++;
    this.#lastHost = hostOffset;
  }
}
