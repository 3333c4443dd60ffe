import type { BlockMap, Place, Run } from '../../blocks/block-map.ts';
import { type Blocks, compact, evacuate } from '../../blocks/compact.ts';
import { badAt, Fields } from '../../blocks/fields.ts';
import { MetadataCache } from '../../blocks/metadata-cache.ts';
import { Tail } from '../../blocks/tail.ts';
import { randomUuid } from '../../blocks/uuid.ts';
import { type HostFile, ImageError, type ImageInfo } from '../../image.ts';
import type { Header } from './header.ts';
import * as v from './layout.ts';

/** All of an entry that is free. */
const FREE_BYTE = 0xff;

interface VdiState {
  readonly fileBytes: number;
  readonly readOnly: boolean;
  readonly info: ImageInfo;
  /** Which state the parent is in now. */
  readonly parentState: (() => Promise<Uint8Array>) | undefined;
}

/**
 * One table, an entry for each block: which of the blocks behind the table it is. New blocks come last, because other
 * programs take the header's count of blocks for the first free one.
 */
export class VdiMap implements BlockMap {
  readonly unitBytes: number;
  readonly #file: HostFile;
  readonly #readOnly: boolean;
  readonly #parentState: VdiState['parentState'];
  #header: Header;
  readonly #cache: MetadataCache;
  readonly tail: Tail;
  readonly #info: ImageInfo;
  #allocated: number;

  constructor(file: HostFile, header: Header, state: VdiState) {
    this.unitBytes = header.blockBytes;
    this.#file = file;
    this.#readOnly = state.readOnly;
    this.#parentState = state.parentState;
    this.#info = state.info;
    this.#header = header;
    this.#allocated = header.allocated;
    const tail = new Tail(file, state.fileBytes, this.#hostOffset(header.allocated));
    this.tail = tail;
    const prepare = (): Promise<void> => tail.grow();
    this.#cache = new MetadataCache(file, { pageBytes: 512, littleEndian: true, prepare });
  }

  get sizeBytes(): number {
    return this.#header.sizeBytes;
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
    const { type } = this.#header;
    // Without a parent it says itself that it is zeros.
    if (entry === v.ENTRY_ZERO || (entry === v.ENTRY_FREE && type !== v.TYPE_DIFFERENCING))
      return { kind: 'zero', lengthBytes };
    if (entry === v.ENTRY_FREE) return { kind: 'unallocated', lengthBytes };
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
    const fixed = type === v.TYPE_FIXED;
    return { kind: 'data', lengthBytes, file: this.#file, hostOffsetBytes, fixed };
  }

  #hostOffset(index: number): number {
    return this.#header.dataOffset + index * (this.unitBytes + this.#header.blockExtra);
  }

  allocate(): Place | Promise<Place> {
    const place = this.tail.take(this.#slotBytes);
    return place instanceof Promise
      ? place.then((late) => this.#counted(late))
      : this.#counted(place);
  }

  #counted(place: Place): Place | Promise<Place> {
    const { blockExtra } = this.#header;
    const counted = { ...place, hostOffsetBytes: place.hostOffsetBytes + blockExtra };
    return this.#count(place.hostOffsetBytes)?.then(() => counted) ?? counted;
  }

  get #slotBytes(): number {
    return this.unitBytes + this.#header.blockExtra;
  }

  #indexOf(hostOffsetBytes: number): number {
    return (hostOffsetBytes - this.#header.dataOffset) / this.#slotBytes;
  }

  /** Counts the block as allocated, before what leads to it: another program would give it out again. */
  #count(hostOffsetBytes: number): Promise<void> | undefined {
    this.#allocated = Math.max(this.#allocated, this.#indexOf(hostOffsetBytes) + 1);
    // Also when it was counted before: what is counted may have failed to be written.
    const isDone = this.#cache.trySetU32(v.H_ALLOCATED, this.#allocated, 0);
    return isDone ? undefined : this.#cache.setU32(v.H_ALLOCATED, this.#allocated, 0);
  }

  abandon(place: Place): void {
    this.tail.putBack(place.hostOffsetBytes - this.#header.blockExtra);
  }

  async link(unit: number, place: Place): Promise<void> {
    await this.#setBlock(unit, place.hostOffsetBytes - this.#header.blockExtra);
  }

  tryLink(unit: number, place: Place): boolean {
    const index = this.#indexOf(place.hostOffsetBytes - this.#header.blockExtra);
    return this.#cache.trySetU32(this.#header.mapOffset + unit * 4, index, 1);
  }

  async #setBlock(unit: number, hostOffsetBytes: number): Promise<void> {
    const { mapOffset } = this.#header;
    await this.#cache.setU32(mapOffset + unit * 4, this.#indexOf(hostOffsetBytes), 1);
  }

  /** Fixed images keep all their blocks. */
  async free(unit: number, asZeros: boolean): Promise<boolean> {
    return this.#header.type === v.TYPE_FIXED ? false : await this.#free(unit, asZeros);
  }

  async #free(unit: number, asZeros: boolean): Promise<boolean> {
    const { mapOffset } = this.#header;
    const entry = await this.#cache.u32(mapOffset + unit * 4);
    if (entry >= v.ENTRY_ZERO) return true;
    await this.#cache.setU32(mapOffset + unit * 4, asZeros ? v.ENTRY_ZERO : v.ENTRY_FREE, 1);
    this.tail.give(this.#hostOffset(entry), this.#slotBytes);
    return true;
  }

  async markZero(unit: number): Promise<boolean> {
    await this.#cache.setU32(this.#header.mapOffset + unit * 4, v.ENTRY_ZERO, 1);
    return true;
  }

  /** Differencing images know by this that their parent has changed. */
  async beforeChange(): Promise<void> {
    await this.#cache.set(v.H_UUID_MODIFY, randomUuid(), 0);
  }

  async adoptBacking(): Promise<void> {
    const state = await this.#parentState?.();
    if (state === undefined) return;
    await this.#cache.set(v.H_UUID_PARENT_MODIFY, state, 0);
    await this.commit();
  }

  commit(): Promise<void> {
    return this.#cache.commit();
  }

  get #blocks(): Blocks {
    return {
      file: this.#file,
      tail: this.tail,
      blockBytes: this.#slotBytes,
      each: async (visit) => {
        const { blocks, mapOffset } = this.#header;
        for (let unit = 0; unit < blocks; unit++) {
          const found = this.#cache.u32(mapOffset + unit * 4);
          const entry = found instanceof Promise ? await found : found;
          if (entry < v.ENTRY_ZERO) visit({ unit, hostOffsetBytes: this.#hostOffset(entry) });
        }
      },
      moved: async (unit, hostOffsetBytes) => {
        await this.#count(hostOffsetBytes);
        await this.#setBlock(unit, hostOffsetBytes);
      },
      commit: () => this.commit(),
    };
  }

  /** Other programs reckon with no room between the blocks. */
  async compact(): Promise<void> {
    const end = await compact(this.#blocks);
    if (end === undefined) return;
    this.#allocated = this.#indexOf(end);
    this.tail.cutTo(end);
    await this.#cache.setU32(v.H_ALLOCATED, this.#allocated, 0);
    await this.commit();
    await this.#file.truncate(end);
  }

  checkResize(sizeBytes: number): void {
    const { path } = this.#file;
    if (sizeBytes > this.sizeBytes && Math.ceil(sizeBytes / this.unitBytes) > v.MAX_NEW_BLOCKS)
      throw new ImageError(
        'unsupported',
        `${path}: VDI images that QEMU opens have at most ${v.MAX_NEW_BLOCKS} blocks; convert it`,
        { path },
      );
  }

  async resize(sizeBytes: number): Promise<void> {
    const { dataOffset, mapOffset } = this.#header;
    const blocks = Math.ceil(sizeBytes / this.unitBytes);
    const tableEnd = mapOffset + blocks * 4;
    const next = tableEnd > dataOffset ? await this.#moveTable(blocks) : { ...this.#header };
    const { blocks: before, type } = this.#header;
    // Blocks are counted from where they begin.
    const moved = (next.dataOffset - dataOffset) / this.#slotBytes;
    let allocated = Math.max(this.#allocated - moved, 0);
    if (blocks > before)
      await this.#cache.fill(next.mapOffset + before * 4, (blocks - before) * 4, FREE_BYTE, 1);
    if (type === v.TYPE_FIXED) {
      for (let unit = blocks; unit < before; unit++) await this.#free(unit, false);
      for (let unit = before; unit < blocks; unit++) {
        const place = await this.tail.takeZeroed(this.#slotBytes);
        const index = (place - next.dataOffset) / this.#slotBytes;
        await this.#cache.setU32(next.mapOffset + unit * 4, index, 1);
        allocated = Math.max(allocated, index + 1);
      }
    }
    await this.commit();
    await this.#setHeader({ ...next, blocks, sizeBytes, allocated });
  }

  /** Writes the table, for `blocks`, to where the first blocks lay. The header, in one write, leads to it then. */
  async #moveTable(blocks: number): Promise<Header> {
    const old = this.#header;
    const count = Math.ceil((blocks * 4) / this.#slotBytes);
    await evacuate(this.#blocks, old.dataOffset + count * this.#slotBytes);
    const next = {
      ...old,
      mapOffset: old.dataOffset,
      dataOffset: old.dataOffset + count * this.#slotBytes,
    };
    for (let unit = 0; unit < old.blocks; unit++) {
      const entry = await this.#cache.u32(old.mapOffset + unit * 4);
      const moved = entry < v.ENTRY_ZERO ? entry - count : entry;
      await this.#cache.setU32(next.mapOffset + unit * 4, moved, 1);
    }
    return next;
  }

  /** One sector: all of it changes, or nothing. */
  async #setHeader(next: Header): Promise<void> {
    const bytes = await this.#cache.get(0, v.HEADER_BYTES);
    const fields = new Fields(bytes, { path: this.#file.path, littleEndian: true });
    fields.setU32(v.H_MAP_OFFSET, next.mapOffset);
    fields.setU32(v.H_DATA_OFFSET, next.dataOffset);
    fields.setU32(v.H_BLOCKS, next.blocks);
    fields.setU32(v.H_ALLOCATED, next.allocated);
    fields.setU64(v.H_DISK_SIZE, next.sizeBytes);
    await this.#cache.replace(0, bytes);
    this.#header = next;
    this.#allocated = next.allocated;
    this.tail.skipTo(next.dataOffset);
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
