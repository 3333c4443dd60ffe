import type { Place, Run } from '../../blocks/block-map.ts';
import { type Blocks, compact, evacuate } from '../../blocks/compact.ts';
import { badAt, Fields } from '../../blocks/fields.ts';
import { KeyLock } from '../../blocks/key-lock.ts';
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
  readonly #codec: Codec;
  readonly #cache: MetadataCache;
  readonly tail: Tail;
  readonly #adding = new KeyLock();
  #header: SparseHeader;
  /** The grain that was decompressed last. */
  #inflated: { readonly at: number; readonly bytes: Promise<Uint8Array> } | undefined;

  constructor(file: HostFile, header: SparseHeader, fileBytes: number, codec: Codec) {
    this.file = file;
    this.#header = header;
    this.#codec = codec;
    const unit = header.compressed ? SECTOR_BYTES : header.grainBytes;
    const end = Math.max(fileBytes, header.overhead);
    const tail = new Tail(file, fileBytes, Math.ceil(end / unit) * unit);
    this.tail = tail;
    const prepare = (): Promise<void> => tail.grow();
    this.#cache = new MetadataCache(file, { pageBytes: SECTOR_BYTES, littleEndian: true, prepare });
  }

  get header(): SparseHeader {
    return this.#header;
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
      if (offset + v.ENTRIES_PER_TABLE * 4 > this.tail.endBytes)
        throw this.#corrupt(directory + table * 4, `a grain table at ${offset}`);
      return offset + (grain % v.ENTRIES_PER_TABLE) * 4;
    };
    return sector instanceof Promise ? sector.then(placeIn) : placeIn(sector);
  }

  #run(entry: number, grain: number, within: number, lengthBytes: number): Run {
    if (entry === 0) return { kind: 'unallocated', lengthBytes };
    if (entry === v.ENTRY_ZERO && this.header.zeroGrains) return { kind: 'zero', lengthBytes };
    const start = entry * SECTOR_BYTES;
    if (start >= this.tail.endBytes)
      throw this.#corrupt(start, `grain ${grain} lies beyond the file's end`);
    const { compressed } = this.header;
    if (compressed)
      return { kind: 'data', lengthBytes, file: this.file, hostOffsetBytes: start, compressed };
    return { kind: 'data', lengthBytes, file: this.file, hostOffsetBytes: start + within };
  }

  /** Only the last grain may hold less than all of it: what the extent has. */
  async readCompressed(run: Run, offsetBytes: number, into: Uint8Array): Promise<void> {
    const { grainBytes, capacity } = this.header;
    const within = offsetBytes % grainBytes;
    const at = run.hostOffsetBytes ?? 0;
    if (this.#inflated?.at !== at) this.#inflated = { at, bytes: this.#inflate(at) };
    const bytes = await this.#inflated.bytes;
    const start = offsetBytes - within;
    if (bytes.length < Math.min(grainBytes, capacity - start))
      throw this.#corrupt(at, `a grain of ${bytes.length} bytes`);
    into.fill(0).set(bytes.subarray(within, within + into.length));
  }

  async #inflate(at: number): Promise<Uint8Array> {
    const { grainBytes } = this.header;
    const most = new Uint8Array(v.MARKER_BYTES + grainBytes + MAX_EXPANSION);
    const count = await this.file.read(at, most);
    const size = new DataView(most.buffer).getUint32(v.M_SIZE, true);
    if (size > count - v.MARKER_BYTES)
      throw this.#corrupt(at, `a compressed grain of ${size} bytes`);
    try {
      const from = most.subarray(v.MARKER_BYTES, v.MARKER_BYTES + size);
      return await this.#codec.inflate(from, grainBytes);
    } catch (error) {
      throw badAt('corrupt', this.file.path, at, 'a grain cannot be decompressed', error);
    }
  }

  allocate(): Place | Promise<Place> {
    return this.tail.take(this.header.grainBytes);
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
    const { hostOffsetBytes } = await this.tail.takeEnd(length);
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

  /** Grains that are written at once may need the same new table. */
  async #addTable(directory: number, grain: number): Promise<number> {
    const entry = directory + Math.floor(grain / v.ENTRIES_PER_TABLE) * 4;
    await this.#adding.run([entry], async () => {
      if ((await this.#cache.u32(entry)) !== 0) return;
      const { hostOffsetBytes } = this.tail.takeNew(this.#tableRoom);
      this.#cache.clear(hostOffsetBytes, v.ENTRIES_PER_TABLE * 4, 1);
      await this.#cache.setU32(entry, hostOffsetBytes / SECTOR_BYTES, 2);
    });
    return await this.#place(directory, grain);
  }

  async free(grain: number, asZeros: boolean): Promise<boolean> {
    const { zeroGrains, directory, grainBytes } = this.#header;
    if (asZeros && !zeroGrains) return false;
    const entry = await this.#entry(await this.#place(directory, grain));
    if (entry === 0 || (entry === v.ENTRY_ZERO && zeroGrains)) return true;
    await this.#setEntry(grain, asZeros ? v.ENTRY_ZERO : 0);
    this.tail.give(entry * SECTOR_BYTES, grainBytes);
    return true;
  }

  /** Frees the grains from this one on, and gives their room back. No request may be under way. */
  async freeFrom(grain: number): Promise<void> {
    const grains = Math.ceil(this.#header.capacity / this.#header.grainBytes);
    for (let one = grain; one < grains; one++) await this.free(one, false);
    await this.commit();
    await this.tail.release(this.tail.takePending());
    await this.compact();
  }

  get #blocks(): Blocks {
    const { grainBytes, zeroGrains, directory } = this.#header;
    return {
      file: this.file,
      tail: this.tail,
      blockBytes: grainBytes,
      each: async (visit) => {
        const grains = Math.ceil(this.#header.capacity / grainBytes);
        for (let grain = 0; grain < grains; grain++) {
          const found = this.#place(directory, grain);
          const place = found instanceof Promise ? await found : found;
          const value = this.#entry(place);
          const entry = value instanceof Promise ? await value : value;
          if (place === 0) grain += v.ENTRIES_PER_TABLE - 1 - (grain % v.ENTRIES_PER_TABLE);
          else if (entry !== 0 && !(entry === v.ENTRY_ZERO && zeroGrains))
            visit({ unit: grain, hostOffsetBytes: entry * SECTOR_BYTES });
        }
      },
      moved: (grain, hostOffsetBytes) => this.link(grain, hostOffsetBytes),
      commit: () => this.commit(),
    };
  }

  /** Tables that were added among the grains stay where they are. */
  async compact(): Promise<void> {
    let end = await compact(this.#blocks);
    if (end === undefined) return;
    for (const directory of this.#directories())
      for (let table = 0; table < this.#header.tables; table++) {
        const start = (await this.#cache.u32(directory + table * 4)) * SECTOR_BYTES;
        if (start >= this.#header.overhead) end = Math.max(end, start + this.#tableRoom);
      }
    this.tail.cutTo(end);
    if ((await this.file.size()) > end) await this.file.truncate(end);
  }

  #directories(): number[] {
    return [this.#header.directory, this.#header.redundantDirectory].filter((at) => at !== 0);
  }

  /** Whole grains, so that those after it stay aligned. */
  get #tableRoom(): number {
    const { grainBytes } = this.#header;
    return Math.ceil((v.ENTRIES_PER_TABLE * 4) / grainBytes) * grainBytes;
  }

  get canResize(): boolean {
    return !this.#header.compressed && this.#header.overhead > 0;
  }

  async resize(capacity: number): Promise<void> {
    const { grainBytes, tables: before } = this.#header;
    const tables = Math.ceil(capacity / grainBytes / v.ENTRIES_PER_TABLE);
    const next =
      tables > before
        ? { ...(await this.#addTables(tables)), capacity }
        : { ...this.#header, capacity, tables };
    const bytes = await this.#cache.get(0, v.HEADER_BYTES);
    const fields = new Fields(bytes, { path: this.file.path, littleEndian: true });
    fields.setU64(v.H_CAPACITY, capacity / SECTOR_BYTES);
    if (next.redundantDirectory !== 0)
      fields.setU64(v.H_REDUNDANT_DIRECTORY, next.redundantDirectory / SECTOR_BYTES);
    fields.setU64(v.H_DIRECTORY, next.directory / SECTOR_BYTES);
    fields.setU64(v.H_OVERHEAD, next.overhead / SECTOR_BYTES);
    await this.#cache.replace(0, bytes);
    this.#header = next;
  }

  /** Makes longer directories, with tables for what is new, where the first grains lay. The header does not lead to them yet. */
  async #addTables(tables: number): Promise<SparseHeader> {
    const { grainBytes, overhead, tables: before } = this.#header;
    const tableBytes = v.ENTRIES_PER_TABLE * 4;
    const directoryBytes = Math.ceil((tables * 4) / SECTOR_BYTES) * SECTOR_BYTES;
    const each = directoryBytes + (tables - before) * tableBytes;
    const room = Math.ceil((each * this.#directories().length) / grainBytes) * grainBytes;
    await evacuate(this.#blocks, overhead + room);
    const places: number[] = [];
    for (const [copy, old] of this.#directories().entries()) {
      const start = overhead + copy * each;
      this.#cache.clear(start, each, 1);
      for (let table = 0; table < tables; table++) {
        const added = start + directoryBytes + (table - before) * tableBytes;
        const sector =
          table < before ? await this.#cache.u32(old + table * 4) : added / SECTOR_BYTES;
        await this.#cache.setU32(start + table * 4, sector, 1);
      }
      places.push(start);
    }
    if ((await this.file.size()) < overhead + room) await this.file.truncate(overhead + room);
    await this.commit();
    return {
      ...this.#header,
      ...{ tables, overhead: overhead + room, directory: places[0] ?? 0 },
      redundantDirectory: places[1] ?? 0,
    };
  }

  commit(): Promise<void> {
    return this.#cache.commit();
  }

  #corrupt(offsetBytes: number, what: string): ImageError {
    return badAt('corrupt', this.file.path, offsetBytes, what);
  }
}
