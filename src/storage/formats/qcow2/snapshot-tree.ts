import { ImageError, type Snapshot } from '../../image.ts';
import { decodeEntry, hostClusters } from './l2-entry.ts';
import * as q from './layout.ts';
import type { Mapping } from './mapping.ts';
import type { Metadata } from './metadata.ts';
import { encodeSnapshots, type SnapshotRecord, snapshotTableBytes } from './snapshot-table.ts';
import type { Slice } from './table-cache.ts';

/** Neighbouring host clusters: first and count. */
type Clusters = [number, number];

/**
 * Makes, applies and deletes snapshots. Each is a tree of tables that shares clusters with the disk; refcounts tell how
 * many trees a cluster is in. Nothing else may be under way. Between the writing of refcounts and of the flags that mirror
 * them the image is marked as dirty: whoever opens it after a crash counts anew.
 */
export class SnapshotTree {
  readonly #meta: Metadata;
  readonly #mapping: Mapping;
  #records: readonly SnapshotRecord[];
  /** Something was done by halves: clusters have more references than lead to them. */
  isLeaking = false;

  constructor(meta: Metadata, mapping: Mapping, records: readonly SnapshotRecord[]) {
    this.#meta = meta;
    this.#mapping = mapping;
    this.#records = records;
  }

  list(): readonly Snapshot[] {
    return this.#records.map(({ snapshot }) => snapshot);
  }

  async create(name: string, nowMs: number): Promise<Snapshot> {
    const meta = this.#meta;
    this.#checkRoom();
    const snapshot: Snapshot = {
      id: String(Math.max(0, ...this.#records.map((one) => Number(one.snapshot.id) || 0)) + 1),
      name,
      vmStateBytes: 0,
      createdNs: BigInt(Math.floor(nowMs)) * 1_000_000n,
      vmClockNs: 0n,
      sizeBytes: meta.header.sizeBytes,
    };
    await this.#marked(async () => {
      const l1 = withoutFlags(meta.l1);
      const start = await meta.counts.takeAtEnd(Math.max(1, this.#l1Clusters(l1)));
      await meta.file.write(start * meta.clusterBytes, l1);
      for (let index = 0; index < meta.header.l1Entries; index++)
        if (tableOf(meta.l1, index) !== 0) await this.#share(index);
      await meta.settle();
      const record = {
        snapshot,
        l1Offset: start * meta.clusterBytes,
        l1Entries: l1.length / 8,
        extra: new Uint8Array(0),
      };
      await this.#writeTable([...this.#records, record]);
    });
    return snapshot;
  }

  async apply(which: string): Promise<void> {
    const meta = this.#meta;
    const record = this.#find(which);
    const { sizeBytes } = record.snapshot;
    await this.#marked(async () => {
      const tables = Math.ceil(sizeBytes / (meta.clusterBytes * this.#mapping.perTable));
      const l1 = new Uint8Array(Math.max(tables, record.l1Entries) * 8);
      const saved = await this.#readL1(record);
      l1.set(saved);
      await this.#count(new DataView(l1.buffer), 1);
      await meta.settle();
      const old = new DataView(new Uint8Array(meta.l1.byteLength).buffer);
      new Uint8Array(old.buffer).set(
        new Uint8Array(meta.l1.buffer, meta.l1.byteOffset, meta.l1.byteLength),
      );
      const replaced = await meta.switchL1(l1, { sizeBytes });
      await this.#count(old, -1);
      await meta.counts.add(replaced.cluster, replaced.count, -1);
      await this.#setFlags();
    });
  }

  /** Writes the table anew, with all that version 3 wants in it. */
  async rewrite(): Promise<void> {
    await this.#marked(() => this.#writeTable(this.#records));
  }

  async delete(which: string): Promise<void> {
    const record = this.#find(which);
    await this.#marked(async () => {
      const l1 = await this.#readL1(record);
      await this.#writeTable(this.#records.filter((one) => one !== record));
      await this.#count(new DataView(l1.buffer), -1);
      const clusters = this.#l1Clusters(l1);
      await this.#meta.counts.add(record.l1Offset / this.#meta.clusterBytes, clusters, -1);
      await this.#setFlags();
    });
  }

  /** A failure leaves the mark: what was done by halves is counted anew when the image is closed, or opened. */
  async #marked(task: () => Promise<void>): Promise<void> {
    await this.#meta.settle();
    await this.#meta.setDirty(true);
    const wasLeaking = this.isLeaking;
    this.isLeaking = true;
    await task();
    await this.#meta.settle();
    this.isLeaking = wasLeaking;
    if (!wasLeaking) await this.#meta.setDirty(false);
  }

  #checkRoom(): void {
    const { path } = this.#meta.file;
    if (this.#meta.data !== this.#meta.file)
      throw new ImageError(
        'unsupported',
        `${path}: images with an external data file have no snapshots`,
      );
    if (this.#meta.counts.codec.max < 2)
      throw new ImageError(
        'unsupported',
        `${path}: refcounts of 1 bit allow no snapshots; convert to an image with larger refcount_bits`,
      );
    if (this.#records.length >= q.MAX_SNAPSHOTS)
      throw new ImageError('unsupported', `${path}: there are ${q.MAX_SNAPSHOTS} snapshots`);
  }

  #find(which: string): SnapshotRecord {
    const record =
      this.#records.find(({ snapshot }) => snapshot.id === which) ??
      this.#records.find(({ snapshot }) => snapshot.name === which);
    if (record !== undefined) return record;
    const { path } = this.#meta.file;
    throw new ImageError('not-found', `${path}: there is no snapshot '${which}'`, { path });
  }

  #l1Clusters(l1: Uint8Array): number {
    return Math.ceil(l1.length / this.#meta.clusterBytes);
  }

  async #readL1({ l1Offset, l1Entries, snapshot }: SnapshotRecord): Promise<Uint8Array> {
    const bytes = new Uint8Array(l1Entries * 8);
    if ((await this.#meta.file.read(l1Offset, bytes)) < bytes.length)
      throw this.#mapping.corrupt(`the L1 table of snapshot '${snapshot.id}' is cut`, l1Offset);
    return withoutFlags(new DataView(bytes.buffer));
  }

  async #writeTable(records: readonly SnapshotRecord[]): Promise<void> {
    const meta = this.#meta;
    const { header, clusterBytes } = meta;
    const old = {
      cluster: header.snapshotsOffset / clusterBytes,
      count: Math.ceil(snapshotTableBytes(this.#records) / clusterBytes),
    };
    const bytes = encodeSnapshots(records);
    let start = 0;
    if (bytes.length > 0) {
      start = await meta.counts.takeAtEnd(Math.ceil(bytes.length / clusterBytes));
      await meta.file.write(start * clusterBytes, bytes);
    }
    await meta.settle();
    await meta.store.update({
      snapshotCount: records.length,
      snapshotsOffset: start * clusterBytes,
    });
    this.#records = records;
    await meta.counts.add(old.cluster, old.count, -1);
  }

  /** Counts one more reference to an L2 table of the disk and to all it leads to, and takes the flags off. */
  async #share(index: number): Promise<void> {
    const meta = this.#meta;
    const table = tableOf(meta.l1, index);
    for (let at = 0; at < meta.clusterBytes; at += meta.l2.sliceBytes) {
      const clusters: Clusters[] = [];
      const slice = await meta.l2.load(table + at);
      this.#eachEntry(slice, (entryAt, first, count, isFlagged) => {
        clusters.push([first, count]);
        if (!isFlagged) return;
        slice.view.setUint32(entryAt, slice.view.getUint32(entryAt) & ~q.HI_COPIED);
        meta.l2.markDirty(slice);
      });
      for (const [first, count] of clusters) await meta.counts.add(first, count, 1);
    }
    await meta.counts.add(table / meta.clusterBytes, 1, 1);
    meta.setL1(index, Math.floor(table / q.TWO_32), table);
    if (meta.l2.isFull || meta.counts.cache.isFull) await meta.settle();
  }

  /** Counts `delta` more references to all that an L1 table leads to. */
  async #count(l1: DataView, delta: number): Promise<void> {
    const meta = this.#meta;
    for (let index = 0; index < l1.byteLength / 8; index++) {
      const table = tableOf(l1, index);
      if (table === 0) continue;
      if (table % meta.clusterBytes !== 0)
        throw this.#mapping.corrupt(`L1 entry ${index} leads to no L2 table`, table);
      for (let at = 0; at < meta.clusterBytes; at += meta.l2.sliceBytes) {
        const clusters: Clusters[] = [];
        this.#eachEntry(await meta.l2.load(table + at), (_at, first, count) => {
          clusters.push([first, count]);
        });
        for (const [first, count] of clusters) await meta.counts.add(first, count, delta);
      }
      await meta.counts.add(table / meta.clusterBytes, 1, delta);
      if (delta < 0 && (await meta.counts.get(table / meta.clusterBytes)) === 0)
        meta.l2.drop(table);
      if (meta.counts.cache.isFull) await meta.settle();
    }
  }

  /** Sets the flags of the disk's tables: that a cluster has one reference alone. */
  async #setFlags(): Promise<void> {
    const meta = this.#meta;
    for (let index = 0; index < meta.header.l1Entries; index++) {
      const table = tableOf(meta.l1, index);
      if (table === 0) continue;
      const isOurs = (await meta.counts.get(table / meta.clusterBytes)) === 1;
      const flag = isOurs ? q.HI_COPIED : 0;
      meta.setL1(index, Math.floor(table / q.TWO_32) | flag, table);
      // A table that is shared leads to clusters that are shared.
      for (let at = 0; isOurs && at < meta.clusterBytes; at += meta.l2.sliceBytes)
        await this.#setFlagsOf(table + at);
      if (meta.l2.isFull) await meta.commit();
    }
  }

  async #setFlagsOf(start: number): Promise<void> {
    const { l2, counts } = this.#meta;
    const places: [number, number, boolean][] = [];
    this.#eachEntry(await l2.load(start), (at, first, _count, isFlagged, isCompressed) => {
      if (!isCompressed) places.push([at, first, isFlagged]);
    });
    const wrong: [number, boolean][] = [];
    for (const [at, cluster, isFlagged] of places) {
      const isOurs = (await counts.get(cluster)) === 1;
      if (isOurs !== isFlagged) wrong.push([at, isOurs]);
    }
    if (wrong.length === 0) return;
    const slice = await l2.load(start);
    for (const [at, isOurs] of wrong) {
      const high = slice.view.getUint32(at) & ~q.HI_COPIED;
      slice.view.setUint32(at, isOurs ? high | q.HI_COPIED : high);
    }
    l2.markDirty(slice);
  }

  /** Calls `each` for the entries of a slice that lead somewhere. */
  #eachEntry(
    slice: Slice,
    each: (
      at: number,
      first: number,
      count: number,
      isFlagged: boolean,
      isCompressed: boolean,
    ) => void,
  ): void {
    const { shape } = this.#mapping;
    for (let at = 0; at < slice.bytes.length; at += shape.entryBytes) {
      if (slice.view.getUint32(at) === 0 && slice.view.getUint32(at + 4) === 0) continue;
      const entry = decodeEntry(slice.view, at, shape);
      if (typeof entry === 'string')
        throw this.#mapping.corrupt(`L2 entry: ${entry}`, slice.start + at);
      const [first, count] = hostClusters(entry, this.#meta.clusterBytes);
      if (count > 0) each(at, first, count, entry.copied, entry.compressedBytes > 0);
    }
  }
}

/** Where an L1 entry's table lies; 0: none. */
function tableOf(l1: DataView, index: number): number {
  const high = l1.getUint32(index * 8) & q.HI_OFFSET;
  return high * q.TWO_32 + ((l1.getUint32(index * 8 + 4) & q.LO_OFFSET) >>> 0);
}

function withoutFlags(l1: DataView): Uint8Array {
  const bytes = new Uint8Array(l1.buffer, l1.byteOffset, l1.byteLength).slice();
  for (let at = 0; at < bytes.length; at += 8) bytes[at] = (bytes[at] ?? 0) & 0x7f;
  return bytes;
}
