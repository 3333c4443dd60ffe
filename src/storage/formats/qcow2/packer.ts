import { type Codec, ImageError } from '../../image.ts';
import { settle } from '../../settle.ts';
import { encodeCompressed, maxCompressedOffset } from './l2-entry.ts';
import type { Mapping } from './mapping.ts';
import type { Metadata } from './metadata.ts';
import type { Writer } from './writer.ts';

/** As QEMU's: readers may keep a window of this size alone. */
const WINDOW_BITS = 12;

/** Writes compressed clusters, one behind the other: several share a cluster of the host file. */
export class Packer {
  readonly #meta: Metadata;
  readonly #mapping: Mapping;
  readonly #writer: Writer;
  readonly #codec: Codec;
  /** The free rest of the last cluster, in bytes of the host file. */
  #next = 0;
  #end = 0;
  /** `compressedFrees` when that cluster was taken: one freed since may be another's by now. */
  #frees = 0;

  constructor(meta: Metadata, mapping: Mapping, writer: Writer, codec: Codec) {
    this.#meta = meta;
    this.#mapping = mapping;
    this.#writer = writer;
    this.#codec = codec;
  }

  /** `from` starts at a cluster; where it ends within one, zeros follow. */
  async write(offsetBytes: number, from: Uint8Array): Promise<void> {
    const { clusterBytes } = this.#meta;
    if (offsetBytes % clusterBytes !== 0)
      throw new ImageError(
        'out-of-range',
        `${this.#meta.file.path}: a compressed write at ${offsetBytes} does not start at a cluster`,
      );
    const clusters: Promise<void>[] = [];
    for (let done = 0; done < from.length; done += clusterBytes)
      clusters.push(
        this.#writeCluster(offsetBytes + done, from.subarray(done, done + clusterBytes)),
      );
    await settle(clusters);
  }

  async #writeCluster(offsetBytes: number, from: Uint8Array): Promise<void> {
    const { clusterBytes, header } = this.#meta;
    let whole = from;
    if (from.length < clusterBytes) {
      whole = new Uint8Array(clusterBytes);
      whole.set(from);
    }
    const packed =
      header.compression === 'zstd'
        ? await this.#codec.zstdCompress(whole)
        : await this.#codec.deflateRaw(whole, { windowBits: WINDOW_BITS });
    if (packed.length >= clusterBytes || this.#meta.data !== this.#meta.file) {
      await this.#writer.write(offsetBytes, from);
      return;
    }
    const cluster = offsetBytes / clusterBytes;
    for (let lock = this.#writer.lockOf(cluster); lock; lock = this.#writer.lockOf(cluster))
      await lock;
    await this.#writer.locked(cluster, 1, () => this.#store(cluster, packed));
  }

  async #store(cluster: number, packed: Uint8Array): Promise<void> {
    const host = await this.#place(packed.length);
    await this.#meta.file.write(host, packed);
    const { shape } = this.#mapping;
    let place = this.#mapping.writable(cluster);
    for (; place === undefined; place = this.#mapping.writable(cluster))
      await this.#mapping.makeWritable(cluster);
    const old = this.#mapping.decode(place);
    encodeCompressed(place.slice.view, place.at, shape, host, packed.length);
    this.#meta.l2.markDirty(place.slice);
    this.#writer.release(old);
  }

  /** Bytes of the host file for a compressed cluster, referred to once more. */
  async #place(lengthBytes: number): Promise<number> {
    const { clusterBytes, counts } = this.#meta;
    for (;;) {
      if (this.#next + lengthBytes <= this.#end && this.#share()) break;
      const run = counts.take(1);
      if (run === undefined) {
        await counts.prepare();
        continue;
      }
      const start = run.start * clusterBytes;
      const table = this.#meta.tableAt(start, clusterBytes);
      if (table !== undefined)
        throw this.#mapping.corrupt(`data would be written over the ${table}`, start);
      // The new cluster may carry on the last one.
      const isNext = start === this.#end && this.#next < this.#end && this.#share();
      if (!isNext) this.#next = start;
      this.#frees = this.#writer.compressedFrees;
      this.#end = start + clusterBytes;
      break;
    }
    const host = this.#next;
    this.#next += lengthBytes;
    if (host + lengthBytes <= maxCompressedOffset(this.#meta.header.clusterBits)) return host;
    throw new ImageError(
      'no-space',
      `${this.#meta.file.path}: is too long for more compressed clusters; use smaller clusters`,
      { path: this.#meta.file.path },
    );
  }

  /** Refers to the last cluster once more; false: its count is the largest, or it was freed or is not in memory. */
  #share(): boolean {
    const cluster = Math.floor(this.#next / this.#meta.clusterBytes);
    if (this.#frees !== this.#writer.compressedFrees || this.#next >= this.#end) return false;
    return this.#meta.counts.tryShare(cluster);
  }

  /** Begins a new cluster with the next write. */
  forget(): void {
    this.#next = 0;
    this.#end = 0;
  }
}
