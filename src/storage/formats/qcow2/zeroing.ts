import { fillZeros } from '../../zeros.ts';
import { isPlaced, type L2Entry } from './l2-entry.ts';
import * as q from './layout.ts';
import type { EntryPlace, Mapping } from './mapping.ts';
import type { Metadata } from './metadata.ts';
import type { Reader } from './reader.ts';
import type { Writer } from './writer.ts';

const ZEROS_BYTES = 1 << 20;

/** Makes ranges read as zeros by their entries, and by writing zeros where entries cannot say it. */
export class Zeroing {
  readonly #meta: Metadata;
  readonly #mapping: Mapping;
  readonly #reader: Reader;
  readonly #writer: Writer;

  constructor(meta: Metadata, mapping: Mapping, reader: Reader, writer: Writer) {
    this.#meta = meta;
    this.#mapping = mapping;
    this.#reader = reader;
    this.#writer = writer;
  }

  /** `diskBytes` is the disk's size: what is cut off by its end counts as whole. */
  async writeZeroes(
    offsetBytes: number,
    lengthBytes: number,
    diskBytes: number,
    mayUnmap: boolean,
  ): Promise<void> {
    const unit =
      this.#meta.header.version >= 3
        ? this.#mapping.shape.subclusterBytes
        : this.#meta.clusterBytes;
    const { data } = this.#meta;
    // Who reads the data file as a raw image must find zeros too.
    if (this.#isRaw && !(mayUnmap && (await data.punch(offsetBytes, lengthBytes))))
      await fillZeros(data, offsetBytes, lengthBytes);
    const end = offsetBytes + lengthBytes;
    const first = Math.min(end, Math.ceil(offsetBytes / unit) * unit);
    const last = end === diskBytes ? Math.ceil(end / unit) * unit : Math.floor(end / unit) * unit;
    if (first >= last) {
      await this.#fill(offsetBytes, lengthBytes);
      return;
    }
    await this.#fill(offsetBytes, first - offsetBytes);
    await this.#eachCluster(first, last, diskBytes, async (cluster, from, to) => {
      const mask = this.#writer.mask(from, to - from);
      const isDone = await this.#writer.change(cluster, (place) =>
        this.#zero(place, cluster, mask, mayUnmap),
      );
      if (!isDone) {
        const start = cluster * this.#meta.clusterBytes + from;
        await this.#fill(start, Math.min(to - from, diskBytes - start));
      }
    });
    await this.#fill(last, end - last);
  }

  /** Gives whole clusters back; what was not allocated stays so. */
  async discard(offsetBytes: number, lengthBytes: number, diskBytes: number): Promise<void> {
    if (this.#isRaw) return;
    const { clusterBytes } = this.#meta;
    const end = offsetBytes + lengthBytes;
    const first = Math.ceil(offsetBytes / clusterBytes) * clusterBytes;
    const last =
      end === diskBytes
        ? Math.ceil(end / clusterBytes) * clusterBytes
        : Math.floor(end / clusterBytes) * clusterBytes;
    await this.#eachTable(first, last, async (cluster) => {
      // Version 2 cannot say zeros; without them the backing file's old bytes would come back.
      if (this.#meta.header.version < 3 && !this.#reader.isBare(cluster * clusterBytes)) return;
      await this.#writer.change(cluster, (place) => {
        const old = this.#mapping.decode(place);
        if (isPlaced(old)) this.#drop(place, old, this.#meta.header.version >= 3);
      });
    });
  }

  /**
   * Makes clusters unallocated, whatever the backing file has there. Nothing else may be under way. `reach` is told how far
   * it is.
   */
  async unmap(
    fromCluster: number,
    toCluster: number,
    reach?: (cluster: number) => void,
  ): Promise<void> {
    const { clusterBytes } = this.#meta;
    const { perTable } = this.#mapping;
    await this.#eachTable(fromCluster * clusterBytes, toCluster * clusterBytes, async (cluster) => {
      reach?.(cluster);
      if (cluster % perTable === 0 && cluster + perTable <= toCluster) {
        await this.#mapping.dropTable(cluster, (entry) => this.#writer.release(entry));
        return;
      }
      await this.#writer.change(cluster, (place) => {
        const old = this.#mapping.decode(place);
        if (isPlaced(old) || old.zero !== 0) this.#drop(place, old, false);
      });
    });
  }

  get #isRaw(): boolean {
    return (this.#meta.header.autoclear & q.AUTOCLEAR_RAW_DATA) !== 0;
  }

  #drop(place: EntryPlace, old: L2Entry, zero: boolean): void {
    const { allSubclusters } = this.#mapping.shape;
    this.#writer.replace(place, old, {
      hostOffset: 0,
      copied: false,
      allocated: 0,
      zero: zero ? allSubclusters : 0,
    });
  }

  /** Whether the entry now says zeros for the subclusters of `mask`; false: zeros must be written. */
  #zero(place: EntryPlace, cluster: number, mask: number, mayUnmap: boolean): boolean {
    const { allSubclusters } = this.#mapping.shape;
    const entry = this.#mapping.decode(place);
    const isBare = this.#reader.isBare(cluster * this.#meta.clusterBytes);
    if (this.#meta.header.version < 3) {
      if (!isBare || (isPlaced(entry) && !mayUnmap)) return false;
      if (isPlaced(entry)) this.#drop(place, entry, false);
      return true;
    }
    const zeros =
      isBare && entry.compressedBytes === 0 ? entry.zero | ~entry.allocated : entry.zero;
    if ((mask & ~zeros) === 0 && (!isPlaced(entry) || !mayUnmap)) return true;
    const all = (entry.zero | mask) === allSubclusters || (entry.zero | mask) === -1;
    if (!all && entry.compressedBytes > 0) return false;
    if (all && (mayUnmap || !entry.copied)) this.#drop(place, entry, true);
    else
      this.#writer.replace(place, entry, {
        hostOffset: entry.hostOffset,
        copied: entry.copied,
        allocated: entry.allocated & ~mask,
        zero: entry.zero | mask,
      });
    return true;
  }

  /** Clusters of the range that may hold something: where there is no table and no backing file, there is nothing to do. */
  async #eachCluster(
    first: number,
    last: number,
    diskBytes: number,
    task: (cluster: number, from: number, to: number) => Promise<void>,
  ): Promise<void> {
    const { clusterBytes } = this.#meta;
    for (let offset = first; offset < Math.min(last, diskBytes); ) {
      const cluster = Math.floor(offset / clusterBytes);
      if (this.#mapping.entryOffset(cluster) === 0 && this.#reader.isBare(offset)) {
        offset = this.#nextTable(cluster) * clusterBytes;
        continue;
      }
      const start = cluster * clusterBytes;
      const to = Math.min(last - start, clusterBytes);
      await task(cluster, offset - start, to);
      offset = start + to;
    }
  }

  /** Clusters of the range that have an L2 table. */
  async #eachTable(
    first: number,
    last: number,
    task: (cluster: number) => Promise<void>,
  ): Promise<void> {
    const { clusterBytes } = this.#meta;
    const end = last / clusterBytes;
    for (let cluster = first / clusterBytes; cluster < end; )
      if (this.#mapping.entryOffset(cluster) === 0) cluster = this.#nextTable(cluster);
      else await task(cluster++);
  }

  #nextTable(cluster: number): number {
    return (Math.floor(cluster / this.#mapping.perTable) + 1) * this.#mapping.perTable;
  }

  async #fill(offsetBytes: number, lengthBytes: number): Promise<void> {
    if (lengthBytes <= 0) return;
    const zeros = new Uint8Array(Math.min(ZEROS_BYTES, lengthBytes));
    for (let done = 0; done < lengthBytes; ) {
      const run = this.#mapping.run(offsetBytes + done, lengthBytes - done);
      if (run === undefined) {
        await this.#mapping.load(offsetBytes + done);
        continue;
      }
      const isZero =
        run.kind === 'zero' ||
        (run.kind === 'unallocated' && this.#reader.isBare(offsetBytes + done));
      const bytes = isZero ? run.lengthBytes : Math.min(zeros.length, run.lengthBytes);
      if (!isZero) await this.#writer.write(offsetBytes + done, zeros.subarray(0, bytes));
      done += bytes;
    }
  }
}
