import type { BlockMap, Place, Run } from '../../blocks/block-map.ts';
import { badAt } from '../../blocks/fields.ts';
import { MetadataCache } from '../../blocks/metadata-cache.ts';
import { Tail } from '../../blocks/tail.ts';
import { randomUuid } from '../../blocks/uuid.ts';
import type { HostFile, ImageInfo } from '../../image.ts';
import type { Header } from './header.ts';
import * as v from './layout.ts';

/**
 * One table, an entry for each block: which of the blocks behind the table it is. New blocks come last, because other
 * programs take the header's count of blocks for the first free one.
 */
export class VdiMap implements BlockMap {
  readonly sizeBytes: number;
  readonly unitBytes: number;
  readonly #file: HostFile;
  readonly #readOnly: boolean;
  readonly #header: Header;
  readonly #cache: MetadataCache;
  readonly #tail: Tail;
  readonly #info: ImageInfo;
  #allocated: number;

  constructor(
    file: HostFile,
    header: Header,
    state: { readonly fileBytes: number; readonly readOnly: boolean; readonly info: ImageInfo },
  ) {
    this.sizeBytes = header.sizeBytes;
    this.unitBytes = header.blockBytes;
    this.#file = file;
    this.#readOnly = state.readOnly;
    this.#info = state.info;
    this.#header = header;
    this.#allocated = header.allocated;
    const tail = new Tail(file, state.fileBytes, this.#hostOffset(header.allocated));
    this.#tail = tail;
    const prepare = (): Promise<void> => tail.grow();
    this.#cache = new MetadataCache(file, { pageBytes: 512, littleEndian: true, prepare });
  }

  find(offsetBytes: number, lengthBytes: number): Run | Promise<Run> {
    const block = Math.floor(offsetBytes / this.unitBytes);
    const length = Math.min(lengthBytes, this.unitBytes - (offsetBytes % this.unitBytes));
    const entry = this.#cache.u32(this.#header.mapOffset + block * 4);
    if (entry instanceof Promise)
      return entry.then((value) => this.#run(value, offsetBytes, length));
    return this.#run(entry, offsetBytes, length);
  }

  #run(entry: number, offsetBytes: number, lengthBytes: number): Run {
    if (entry === v.ENTRY_FREE) return { kind: 'unallocated', lengthBytes };
    if (entry === v.ENTRY_ZERO) return { kind: 'zero', lengthBytes };
    if (entry >= this.#allocated) {
      const place = this.#header.mapOffset + Math.floor(offsetBytes / this.unitBytes) * 4;
      throw badAt(
        'corrupt',
        this.#file.path,
        place,
        `an entry leads to block ${entry}; there are ${this.#allocated}`,
      );
    }
    const hostOffsetBytes =
      this.#hostOffset(entry) + this.#header.blockExtra + (offsetBytes % this.unitBytes);
    return { kind: 'data', lengthBytes, file: this.#file, hostOffsetBytes };
  }

  #hostOffset(index: number): number {
    return this.#header.dataOffset + index * (this.unitBytes + this.#header.blockExtra);
  }

  async allocate(): Promise<Place> {
    const { blockExtra } = this.#header;
    const place = this.#tail.take(this.unitBytes + blockExtra);
    this.#allocated++;
    // Before what leads to the block: another program would give it out again.
    await this.#cache.setU32(v.H_ALLOCATED, this.#allocated, 0);
    return { ...place, hostOffsetBytes: place.hostOffsetBytes + blockExtra };
  }

  async link(unit: number, place: Place): Promise<void> {
    const { dataOffset, blockExtra, mapOffset } = this.#header;
    const offset = place.hostOffsetBytes - blockExtra - dataOffset;
    await this.#cache.setU32(mapOffset + unit * 4, offset / (this.unitBytes + blockExtra), 1);
  }

  async markZero(unit: number): Promise<boolean> {
    await this.#cache.setU32(this.#header.mapOffset + unit * 4, v.ENTRY_ZERO, 1);
    return true;
  }

  /** Differencing images know by this that their parent has changed. */
  async beforeChange(): Promise<void> {
    await this.#cache.set(v.H_UUID_MODIFY, randomUuid(), 0);
  }

  commit(): Promise<void> {
    return this.#cache.commit();
  }

  info(): ImageInfo {
    return this.#info;
  }

  async close(): Promise<void> {
    try {
      if (!this.#readOnly) await this.commit();
    } finally {
      await this.#file.close();
    }
  }
}
