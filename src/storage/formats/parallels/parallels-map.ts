import type { BlockMap, Place, Run } from '../../blocks/block-map.ts';
import { badAt } from '../../blocks/fields.ts';
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
  readonly #header: Header;
  readonly #cache: MetadataCache;
  readonly #tail: Tail;
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
    this.#tail = tail;
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
    if (start < this.#header.dataOffset || start >= this.#tail.endBytes)
      throw badAt(
        'corrupt',
        this.#file.path,
        v.HEADER_BYTES + unit * 4,
        `cluster ${unit} lies at ${start}, outside of the file's data`,
      );
    return { kind: 'data', lengthBytes, file: this.#file, hostOffsetBytes: start + within };
  }

  allocate(): Promise<Place> {
    return Promise.resolve(this.#tail.take(this.unitBytes));
  }

  async link(unit: number, place: Place): Promise<void> {
    const entry = place.hostOffsetBytes / this.#header.entryUnit;
    if (entry > 0xffff_ffff)
      throw new ImageError('no-space', `${this.#file.path}: its table leads no further`, {
        path: this.#file.path,
      });
    await this.#cache.setU32(v.HEADER_BYTES + unit * 4, entry, 1);
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

  async resize(sizeBytes: number): Promise<void> {
    const entries = Math.ceil(sizeBytes / this.unitBytes);
    const fits = v.HEADER_BYTES + entries * 4 <= this.#header.dataOffset;
    if (sizeBytes < this.#sizeBytes || !fits)
      throw new ImageError(
        'unsupported',
        `${this.#file.path}: its table has no room for ${sizeBytes} bytes; convert it to an image of that size`,
        { path: this.#file.path },
      );
    const old = Math.ceil(this.#sizeBytes / this.unitBytes);
    for (let unit = old; unit < entries; unit++)
      await this.#cache.setU32(v.HEADER_BYTES + unit * 4, 0, 1);
    await this.commit();
    await this.#cache.setU32(v.H_ENTRIES, Math.max(entries, this.#header.entries), 1);
    await this.#cache.setU64(v.H_SECTORS, sizeBytes / SECTOR_BYTES, 1);
    await this.commit();
    this.#sizeBytes = sizeBytes;
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
