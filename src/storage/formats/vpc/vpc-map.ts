import type { BlockMap, Place, Run } from '../../blocks/block-map.ts';
import { type Blocks, compact, evacuate } from '../../blocks/compact.ts';
import { badAt, Fields } from '../../blocks/fields.ts';
import { MetadataCache } from '../../blocks/metadata-cache.ts';
import { Tail } from '../../blocks/tail.ts';
import { type HostFile, ImageError, type ImageInfo, SECTOR_BYTES } from '../../image.ts';
import type { DynamicHeader } from './dynamic-header.ts';
import { checksum, type Footer, resizedFooter } from './footer.ts';
import * as v from './layout.ts';

/** All of an entry that is free. */
const FREE_BYTE = 0xff;

export interface VpcState {
  readonly readOnly: boolean;
  readonly fileBytes: number;
  /** Where the blocks end and the footer starts. */
  readonly endBytes: number;
  readonly info: ImageInfo;
}

/**
 * One table leads to the blocks. Before each lies a bitmap: sectors without a bit are the parent's, or zeros. The footer
 * follows the last block; its copy at the file's start serves when it is lost.
 */
export class VpcMap implements BlockMap {
  readonly unitBytes: number;
  readonly #file: HostFile;
  readonly tail: Tail;
  #footer: Footer;
  #header: DynamicHeader;
  readonly #state: VpcState;
  readonly #cache: MetadataCache;
  /** Blocks whose bits are all set: they stay so. */
  readonly #whole = new Set<number>();
  #footerBytes: number;

  constructor(file: HostFile, footer: Footer, header: DynamicHeader, state: VpcState) {
    this.unitBytes = header.blockBytes;
    this.#file = file;
    this.#footer = footer;
    this.#header = header;
    this.#state = state;
    // The old footer lies where the bitmap of the next block goes.
    const isFooterLast = state.fileBytes <= state.endBytes + header.bitmapBytes;
    this.tail = new Tail(file, isFooterLast ? state.endBytes : state.fileBytes, state.endBytes);
    this.#footerBytes = state.endBytes;
    const prepare = (): Promise<void> => this.#writeFooter();
    this.#cache = new MetadataCache(file, { pageBytes: 512, littleEndian: false, prepare });
  }

  get sizeBytes(): number {
    return this.#footer.sizeBytes;
  }

  find(offsetBytes: number, lengthBytes: number): Run | Promise<Run> {
    const unit = Math.floor(offsetBytes / this.unitBytes);
    const length = Math.min(lengthBytes, this.unitBytes - (offsetBytes % this.unitBytes));
    const entry = this.#cache.u32(this.#header.tableOffset + unit * 4);
    if (entry instanceof Promise)
      return entry.then((value) => this.#run(value, offsetBytes, length));
    return this.#run(entry, offsetBytes, length);
  }

  #run(entry: number, offsetBytes: number, lengthBytes: number): Run | Promise<Run> {
    if (entry === v.ENTRY_FREE) return { kind: this.#unsaid, lengthBytes };
    const unit = Math.floor(offsetBytes / this.unitBytes);
    const start = this.#blockStart(entry, unit);
    const data = start + this.#header.bitmapBytes + (offsetBytes % this.unitBytes);
    const run: Run = { kind: 'data', lengthBytes, file: this.#file, hostOffsetBytes: data };
    return this.#whole.has(unit) ? run : this.#partialRun(unit, start, run);
  }

  /** What there is of no block, or sector: without a parent the image says itself that it is zeros. */
  get #unsaid(): 'zero' | 'unallocated' {
    return this.#footer.type === v.TYPE_DIFFERENCING ? 'unallocated' : 'zero';
  }

  #blockStart(entry: number, unit: number): number {
    const start = entry * SECTOR_BYTES;
    const end = start + this.#header.bitmapBytes + this.unitBytes;
    if (end <= this.tail.endBytes && start >= v.FOOTER_BYTES) return start;
    const place = this.#header.tableOffset + unit * 4;
    const what = `an entry leads to a block at ${start}, beyond the file's end`;
    throw badAt('corrupt', this.#file.path, place, what);
  }

  async #partialRun(unit: number, start: number, run: Run): Promise<Run> {
    const bitmap = await this.#cache.get(start, this.#header.bitmapBytes);
    const sectors = this.unitBytes / SECTOR_BYTES;
    if (areAllSet(bitmap, sectors >>> 3)) {
      this.#whole.add(unit);
      return run;
    }
    const isSet = (sector: number): boolean =>
      ((bitmap[sector >>> 3] ?? 0) & (0x80 >>> (sector & 7))) !== 0;
    const within = (run.hostOffsetBytes ?? 0) - start - this.#header.bitmapBytes;
    const first = within / SECTOR_BYTES;
    const end = first + run.lengthBytes / SECTOR_BYTES;
    let sector = first + 1;
    while (sector < end && isSet(sector) === isSet(first)) sector++;
    const lengthBytes = (sector - first) * SECTOR_BYTES;
    return isSet(first) ? { ...run, lengthBytes } : { kind: this.#unsaid, lengthBytes };
  }

  async allocate(unit: number): Promise<Place> {
    const { bitmapBytes, tableOffset } = this.#header;
    const entry = await this.#cache.u32(tableOffset + unit * 4);
    if (entry !== v.ENTRY_FREE) {
      const hostOffsetBytes = this.#blockStart(entry, unit) + bitmapBytes;
      return { file: this.#file, hostOffsetBytes, zeroed: false };
    }
    const place = await this.tail.take(this.#slotBytes);
    const start = place.hostOffsetBytes;
    // The footer comes behind it, and needs no other end.
    const { file, zeroed, isNew = false } = place;
    return { file, hostOffsetBytes: start + bitmapBytes, zeroed, isNew };
  }

  get #slotBytes(): number {
    return this.#header.bitmapBytes + this.unitBytes;
  }

  /** Nothing says that zeros stand before what the parent has. */
  async free(unit: number, asZeros: boolean): Promise<boolean> {
    if (asZeros) return false;
    const place = this.#header.tableOffset + unit * 4;
    const entry = await this.#cache.u32(place);
    if (entry === v.ENTRY_FREE) return true;
    const start = this.#blockStart(entry, unit);
    await this.#cache.setU32(place, v.ENTRY_FREE, 1);
    this.#whole.delete(unit);
    this.tail.give(start, this.#slotBytes);
    return true;
  }

  abandon(place: Place): void {
    this.tail.putBack(place.hostOffsetBytes - this.#header.bitmapBytes);
  }

  async link(unit: number, place: Place): Promise<void> {
    const { bitmapBytes, tableOffset } = this.#header;
    const start = place.hostOffsetBytes - bitmapBytes;
    const entry = await this.#cache.u32(tableOffset + unit * 4);
    const isNew = entry === v.ENTRY_FREE;
    const bits = new Uint8Array(bitmapBytes).fill(0xff);
    await this.#cache.set(start, bits, isNew ? 0 : 1);
    if (isNew) await this.#cache.setU32(tableOffset + unit * 4, start / SECTOR_BYTES, 1);
    this.#whole.add(unit);
  }

  async #writeFooter(): Promise<void> {
    const { endBytes } = this.tail;
    if (endBytes === this.#footerBytes) return;
    await this.#file.write(endBytes, this.#footer.bytes);
    this.#footerBytes = endBytes;
  }

  get #blocks(): Blocks {
    return {
      file: this.#file,
      tail: this.tail,
      blockBytes: this.#slotBytes,
      each: async (visit) => {
        const { entries, tableOffset } = this.#header;
        for (let unit = 0; unit < entries; unit++) {
          const found = this.#cache.u32(tableOffset + unit * 4);
          const entry = found instanceof Promise ? await found : found;
          if (entry !== v.ENTRY_FREE)
            visit({ unit, hostOffsetBytes: this.#blockStart(entry, unit) });
        }
      },
      moved: async (unit, start) => {
        const { tableOffset, bitmapBytes } = this.#header;
        const place = tableOffset + unit * 4;
        const old = this.#blockStart(await this.#cache.u32(place), unit);
        // What another block had there may still be in memory.
        await this.#cache.set(start, await this.#cache.get(old, bitmapBytes), 0);
        await this.#cache.setU32(place, start / SECTOR_BYTES, 1);
      },
      commit: () => this.commit(),
    };
  }

  async compact(): Promise<void> {
    const end = await compact(this.#blocks);
    if (end === undefined) return;
    this.tail.cutTo(end);
    await this.commit();
    await this.#file.truncate(end + v.FOOTER_BYTES);
  }

  checkResize(sizeBytes: number): void {
    const { path } = this.#file;
    const { type, dataOffset } = this.#footer;
    const { tableOffset } = this.#header;
    const refuse = (why: string): ImageError =>
      new ImageError('unsupported', `${path}: ${why}`, { path });
    if (type === v.TYPE_DIFFERENCING)
      throw refuse('differencing VHD images are as large as their parent; commit it, resize that');
    if (sizeBytes > v.MAX_SIZE_BYTES)
      throw refuse('VHD images hold at most 2040 GiB; convert it to vhdx for more');
    if (dataOffset > tableOffset && dataOffset < this.#tableEnd(sizeBytes))
      throw refuse('its header lies behind its table, which cannot grow; convert it');
  }

  #tableEnd(sizeBytes: number): number {
    const entries = Math.ceil(sizeBytes / this.unitBytes);
    const end = this.#header.tableOffset + entries * 4;
    return Math.ceil(end / SECTOR_BYTES) * SECTOR_BYTES;
  }

  async resize(sizeBytes: number): Promise<void> {
    const old = this.#header;
    const entries = Math.ceil(sizeBytes / this.unitBytes);
    const tableEnd = this.#tableEnd(sizeBytes);
    if (entries > old.entries) {
      await evacuate(this.#blocks, tableEnd);
      // To the end of the sector: the rest of what blocks had there is not looked at.
      const from = old.tableOffset + old.entries * 4;
      await this.#cache.fill(from, tableEnd - from, FREE_BYTE, 1);
      await this.commit();
      await this.#setEntries(entries);
    }
    // A table that is longer than the disk needs does no harm.
    await this.#setFooter(resizedFooter(this.#footer, sizeBytes));
  }

  /** All within one sector: it changes as a whole. */
  async #setEntries(entries: number): Promise<void> {
    const at = this.#footer.dataOffset;
    const bytes = await this.#cache.get(at, v.DYNAMIC_BYTES);
    const fields = new Fields(bytes, { path: this.#file.path, littleEndian: false });
    fields.setU32(v.D_ENTRIES, entries);
    fields.setU32(v.D_CHECKSUM, checksum(bytes, v.D_CHECKSUM));
    await this.#cache.replace(at, bytes.subarray(0, SECTOR_BYTES));
    this.#header = { ...this.#header, entries };
  }

  /** The one at the end counts: first it, then its copy. */
  async #setFooter(footer: Footer): Promise<void> {
    const old = this.#footer;
    try {
      await this.#file.write(this.tail.endBytes, footer.bytes);
      await this.#file.flush();
      this.#footer = footer;
      this.#footerBytes = this.tail.endBytes;
      await this.#cache.replace(0, footer.bytes);
    } catch (error) {
      // The next commit writes the old one over it.
      this.#footer = old;
      this.#footerBytes = -1;
      throw error;
    }
  }

  commit(): Promise<void> {
    return this.#cache.commit();
  }

  info(): ImageInfo {
    return this.#state.info;
  }

  async close(): Promise<void> {
    try {
      if (!this.#state.readOnly) await this.commit();
    } finally {
      await this.#file.close();
    }
  }
}

function areAllSet(bitmap: Uint8Array, lengthBytes: number): boolean {
  for (let at = 0; at < lengthBytes; at++) if (bitmap[at] !== 0xff) return false;
  return true;
}
