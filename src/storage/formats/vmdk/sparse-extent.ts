import type { Place, Run } from '../../blocks/block-map.ts';
import { badAt } from '../../blocks/fields.ts';
import { MetadataCache } from '../../blocks/metadata-cache.ts';
import { Tail } from '../../blocks/tail.ts';
import { type Codec, type HostFile, ImageError, SECTOR_BYTES } from '../../image.ts';
import * as v from './layout.ts';
import type { SparseHeader } from './sparse-header.ts';

/** Compressed data may be longer than what they are of, by a little. */
const MAX_EXPANSION = 4096;

/** A part of a disk, cut into grains: a directory leads to tables, these to grains; both may be there twice. */
export class SparseExtent {
  readonly file: HostFile;
  readonly header: SparseHeader;
  readonly #codec: Codec;
  readonly #cache: MetadataCache;
  readonly #tail: Tail;
  /** The grain that was decompressed last. */
  #inflated: { readonly at: number; readonly bytes: Promise<Uint8Array> } | undefined;

  constructor(file: HostFile, header: SparseHeader, fileBytes: number, codec: Codec) {
    this.file = file;
    this.header = header;
    this.#codec = codec;
    const unit = header.compressed ? SECTOR_BYTES : header.grainBytes;
    const end = Math.max(fileBytes, header.overhead);
    const tail = new Tail(file, fileBytes, Math.ceil(end / unit) * unit);
    this.#tail = tail;
    const prepare = (): Promise<void> => tail.grow();
    this.#cache = new MetadataCache(file, { pageBytes: SECTOR_BYTES, littleEndian: true, prepare });
  }

  /** `offsetBytes` counts from the extent's start. */
  find(offsetBytes: number, lengthBytes: number): Run | Promise<Run> {
    const { grainBytes } = this.header;
    const grain = Math.floor(offsetBytes / grainBytes);
    const within = offsetBytes % grainBytes;
    const length = Math.min(lengthBytes, grainBytes - within);
    const place = this.#place(this.header.directory, grain);
    const entry =
      place instanceof Promise ? place.then((at) => this.#entry(at)) : this.#entry(place);
    if (entry instanceof Promise)
      return entry.then((value) => this.#run(value, grain, within, length));
    return this.#run(entry, grain, within, length);
  }

  #entry(place: number): number | Promise<number> {
    return place === 0 ? 0 : this.#cache.u32(place);
  }

  /** Where the grain's entry stands; 0: it has no table yet. */
  #place(directory: number, grain: number): number | Promise<number> {
    const table = Math.floor(grain / v.ENTRIES_PER_TABLE);
    const sector = this.#cache.u32(directory + table * 4);
    const placeIn = (value: number): number => {
      if (value === 0) return 0;
      const offset = value * SECTOR_BYTES;
      if (offset + v.ENTRIES_PER_TABLE * 4 > this.#tail.endBytes)
        throw this.#corrupt(directory + table * 4, `a grain table at ${offset}`);
      return offset + (grain % v.ENTRIES_PER_TABLE) * 4;
    };
    return sector instanceof Promise ? sector.then(placeIn) : placeIn(sector);
  }

  #run(entry: number, grain: number, within: number, lengthBytes: number): Run {
    if (entry === 0) return { kind: 'unallocated', lengthBytes };
    if (entry === v.ENTRY_ZERO && this.header.zeroGrains) return { kind: 'zero', lengthBytes };
    const start = entry * SECTOR_BYTES;
    if (start >= this.#tail.endBytes)
      throw this.#corrupt(start, `grain ${grain} lies beyond the file's end`);
    const { compressed } = this.header;
    if (compressed)
      return { kind: 'data', lengthBytes, file: this.file, hostOffsetBytes: start, compressed };
    return { kind: 'data', lengthBytes, file: this.file, hostOffsetBytes: start + within };
  }

  async readCompressed(run: Run, within: number, into: Uint8Array): Promise<void> {
    const at = run.hostOffsetBytes ?? 0;
    if (this.#inflated?.at !== at) this.#inflated = { at, bytes: this.#inflate(at) };
    const bytes = await this.#inflated.bytes;
    into.set(bytes.subarray(within, within + into.length));
  }

  async #inflate(at: number): Promise<Uint8Array> {
    const { grainBytes } = this.header;
    const most = new Uint8Array(v.MARKER_BYTES + grainBytes + MAX_EXPANSION);
    const count = await this.file.read(at, most);
    const size = new DataView(most.buffer).getUint32(v.M_SIZE, true);
    if (size > count - v.MARKER_BYTES)
      throw this.#corrupt(at, `a compressed grain of ${size} bytes`);
    const grain = new Uint8Array(grainBytes);
    try {
      const from = most.subarray(v.MARKER_BYTES, v.MARKER_BYTES + size);
      grain.set(await this.#codec.inflate(from, grainBytes));
    } catch (error) {
      throw badAt('corrupt', this.file.path, at, 'a grain cannot be decompressed', error);
    }
    return grain;
  }

  allocate(): Place {
    return this.#tail.take(this.header.grainBytes);
  }

  async link(grain: number, hostOffsetBytes: number): Promise<void> {
    await this.#setEntry(grain, hostOffsetBytes / SECTOR_BYTES);
  }

  async markZero(grain: number): Promise<boolean> {
    if (!this.header.zeroGrains) return false;
    await this.#setEntry(grain, v.ENTRY_ZERO);
    return true;
  }

  /** Appends a grain, compressed, with its marker. */
  async writeCompressed(grain: number, from: Uint8Array): Promise<void> {
    const data = await this.#codec.deflate(from);
    const length = Math.ceil((v.MARKER_BYTES + data.length) / SECTOR_BYTES) * SECTOR_BYTES;
    const bytes = new Uint8Array(length);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, BigInt((grain * this.header.grainBytes) / SECTOR_BYTES), true);
    view.setUint32(v.M_SIZE, data.length, true);
    bytes.set(data, v.MARKER_BYTES);
    const { hostOffsetBytes } = this.#tail.take(length);
    await this.file.write(hostOffsetBytes, bytes);
    await this.link(grain, hostOffsetBytes);
  }

  async #setEntry(grain: number, entry: number): Promise<void> {
    if (entry > 0xffff_ffff)
      throw new ImageError('no-space', `${this.file.path}: VMDK extents end at 2 TiB`, {
        path: this.file.path,
      });
    for (const directory of [this.header.directory, this.header.redundantDirectory]) {
      if (directory === 0) continue;
      let place = await this.#place(directory, grain);
      if (place === 0) place = await this.#addTable(directory, grain);
      await this.#cache.setU32(place, entry, 1);
    }
  }

  async #addTable(directory: number, grain: number): Promise<number> {
    const bytes = v.ENTRIES_PER_TABLE * 4;
    const { grainBytes } = this.header;
    // Whole grains, so that those after it stay aligned.
    const { hostOffsetBytes } = this.#tail.take(Math.ceil(bytes / grainBytes) * grainBytes);
    this.#cache.clear(hostOffsetBytes, bytes, 1);
    const table = Math.floor(grain / v.ENTRIES_PER_TABLE);
    await this.#cache.setU32(directory + table * 4, hostOffsetBytes / SECTOR_BYTES, 2);
    return hostOffsetBytes + (grain % v.ENTRIES_PER_TABLE) * 4;
  }

  commit(): Promise<void> {
    return this.#cache.commit();
  }

  #corrupt(offsetBytes: number, what: string): ImageError {
    return badAt('corrupt', this.file.path, offsetBytes, what);
  }
}
