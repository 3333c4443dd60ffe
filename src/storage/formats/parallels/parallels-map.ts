import type { BlockMap, Place, Run } from '../../blocks/block-map.ts';
import { type Blocks, compact, evacuate } from '../../blocks/compact.ts';
import { badAt, Fields } from '../../blocks/fields.ts';
import { MetadataCache } from '../../blocks/metadata-cache.ts';
import { Tail } from '../../blocks/tail.ts';
import { type HostFile, ImageError, type ImageInfo, SECTOR_BYTES } from '../../image.ts';
import type { Header } from './header.ts';
import * as v from './layout.ts';

/** One table behind the header leads to the clusters. The header says while a program may write. */
export class ParallelsMap implements BlockMap {
  readonly unitBytes: number;
  readonly #file: HostFile;
  readonly #readOnly: boolean;
  #header: Header;
  readonly #cache: MetadataCache;
  readonly tail: Tail;
  #sizeBytes: number;
  #inUse = false;

  constructor(file: HostFile, header: Header, fileBytes: number, readOnly: boolean) {
    this.#file = file;
    this.#readOnly = readOnly;
    this.#header = header;
    this.unitBytes = header.clusterBytes;
    this.#sizeBytes = header.sizeBytes;
    // Other programs reckon with clusters from the file's start on, or from its data on.
    const base = header.entryUnit === SECTOR_BYTES ? header.dataOffset : 0;
    const end = Math.max(fileBytes, header.dataOffset) - base;
    const tail = new Tail(file, fileBytes, base + Math.ceil(end / this.unitBytes) * this.unitBytes);
    this.tail = tail;
    const prepare = (): Promise<void> => tail.grow();
    this.#cache = new MetadataCache(file, { pageBytes: SECTOR_BYTES, littleEndian: true, prepare });
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  find(offsetBytes: number, lengthBytes: number): Run | Promise<Run> {
    const unit = Math.floor(offsetBytes / this.unitBytes);
    const within = offsetBytes % this.unitBytes;
    const length = Math.min(lengthBytes, this.unitBytes - within);
    const entry = this.#cache.u32(v.HEADER_BYTES + unit * 4);
    if (entry instanceof Promise)
      return entry.then((value) => this.#run(value, unit, within, length));
    return this.#run(entry, unit, within, length);
  }

  #run(entry: number, unit: number, within: number, lengthBytes: number): Run {
    if (entry === 0) return { kind: 'unallocated', lengthBytes };
    const start = entry * this.#header.entryUnit;
    if (start < this.#header.dataOffset || start >= this.tail.endBytes)
      throw badAt(
        'corrupt',
        this.#file.path,
        v.HEADER_BYTES + unit * 4,
        `cluster ${unit} lies at ${start}, outside of the file's data`,
      );
    return { kind: 'data', lengthBytes, file: this.#file, hostOffsetBytes: start + within };
  }

  allocate(): Place | Promise<Place> {
    return this.tail.take(this.unitBytes);
  }

  abandon(place: Place): void {
    this.tail.putBack(place.hostOffsetBytes);
  }

  async link(unit: number, place: Place): Promise<void> {
    await this.#cache.setU32(v.HEADER_BYTES + unit * 4, this.#entryOf(place), 1);
  }

  tryLink(unit: number, place: Place): boolean {
    return this.#cache.trySetU32(v.HEADER_BYTES + unit * 4, this.#entryOf(place), 1);
  }

  #entryOf({ hostOffsetBytes }: Place): number {
    const entry = hostOffsetBytes / this.#header.entryUnit;
    if (entry <= 0xffff_ffff) return entry;
    const { path } = this.#file;
    throw new ImageError('no-space', `${path}: its table leads no further`, { path });
  }

  async free(unit: number): Promise<boolean> {
    const place = v.HEADER_BYTES + unit * 4;
    const entry = await this.#cache.u32(place);
    if (entry === 0) return true;
    await this.#cache.setU32(place, 0, 1);
    this.tail.give(entry * this.#header.entryUnit, this.unitBytes);
    return true;
  }

  /** What others keep beside the disk, dirty bitmaps, is not true any more when it changes. */
  async beforeChange(): Promise<void> {
    await this.#cache.setU32(v.H_IN_USE, v.IN_USE, 0);
    await this.#cache.setU64(v.H_EXTENSION, 0, 0);
    await this.#cache.commit();
    this.#inUse = true;
  }

  commit(): Promise<void> {
    return this.#cache.commit();
  }

  info(): ImageInfo {
    return { clusterBytes: this.unitBytes, dirty: this.#header.inUse };
  }

  get #blocks(): Blocks {
    return {
      file: this.#file,
      tail: this.tail,
      blockBytes: this.unitBytes,
      each: async (visit) => {
        const { entries, entryUnit } = this.#header;
        for (let unit = 0; unit < entries; unit++) {
          const found = this.#cache.u32(v.HEADER_BYTES + unit * 4);
          const entry = found instanceof Promise ? await found : found;
          if (entry !== 0) visit({ unit, hostOffsetBytes: entry * entryUnit });
        }
      },
      moved: (unit, hostOffsetBytes) =>
        this.link(unit, { file: this.#file, hostOffsetBytes, zeroed: false }),
      commit: () => this.commit(),
    };
  }

  async compact(): Promise<void> {
    const end = await compact(this.#blocks);
    if (end === undefined) return;
    this.tail.cutTo(end);
    if ((await this.#file.size()) > end) await this.#file.truncate(end);
  }

  #tableFor(sizeBytes: number): { entries: number; dataOffset: number } {
    const { entries: before, dataOffset } = this.#header;
    const entries = Math.max(before, Math.ceil(sizeBytes / this.unitBytes));
    const missing = Math.max(0, v.HEADER_BYTES + entries * 4 - dataOffset);
    const units = Math.ceil(missing / this.unitBytes);
    return { entries, dataOffset: dataOffset + units * this.unitBytes };
  }

  checkResize(sizeBytes: number): void {
    const { entries, dataOffset } = this.#tableFor(sizeBytes);
    if (entries <= 0xffff_ffff && dataOffset / SECTOR_BYTES <= 0xffff_ffff) return;
    throw new ImageError(
      'unsupported',
      `${this.#file.path}: its table cannot tell of ${sizeBytes} bytes; convert it to an image of that size`,
      { path: this.#file.path },
    );
  }

  async resize(sizeBytes: number): Promise<void> {
    const old = this.#header;
    const { entries, dataOffset } = this.#tableFor(sizeBytes);
    if (dataOffset > old.dataOffset) await evacuate(this.#blocks, dataOffset);
    const from = v.HEADER_BYTES + old.entries * 4;
    await this.#cache.fill(from, (entries - old.entries) * 4, 0, 1);
    await this.commit();
    await this.#setHeader({ ...old, entries, dataOffset, sizeBytes });
  }

  /** Within one sector: it changes as a whole. */
  async #setHeader(next: Header): Promise<void> {
    const bytes = await this.#cache.get(0, v.HEADER_BYTES);
    const fields = new Fields(bytes, { path: this.#file.path, littleEndian: true });
    fields.setU32(v.H_ENTRIES, next.entries);
    const sectors = next.sizeBytes / SECTOR_BYTES;
    // Old images have 32 bits for it, and what follows is not of the number.
    if (fields.text(0, 16) === v.MAGIC_EXT) fields.setU64(v.H_SECTORS, sectors);
    else fields.setU32(v.H_SECTORS, sectors);
    fields.setU32(v.H_DATA, next.dataOffset / SECTOR_BYTES);
    await this.#cache.replace(0, bytes);
    this.#header = next;
    this.#sizeBytes = next.sizeBytes;
    this.tail.skipTo(next.dataOffset);
  }

  async close(): Promise<void> {
    try {
      if (this.#readOnly) return;
      await this.commit();
      if (!this.#inUse) return;
      await this.#cache.setU32(v.H_IN_USE, 0, 0);
      await this.commit();
    } finally {
      await this.#file.close();
    }
  }
}
