import type { BlockMap, Place, Run } from '../../blocks/block-map.ts';
import { badAt } from '../../blocks/fields.ts';
import { MetadataCache } from '../../blocks/metadata-cache.ts';
import { type HostFile, type ImageInfo, SECTOR_BYTES } from '../../image.ts';
import type { DynamicHeader } from './dynamic-header.ts';
import type { Footer } from './footer.ts';
import * as v from './layout.ts';

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
  readonly sizeBytes: number;
  readonly unitBytes: number;
  readonly #file: HostFile;
  readonly #footer: Footer;
  readonly #header: DynamicHeader;
  readonly #state: VpcState;
  readonly #cache: MetadataCache;
  /** Blocks whose bits are all set: they stay so. */
  readonly #whole = new Set<number>();
  #endBytes: number;
  #footerBytes: number;

  constructor(file: HostFile, footer: Footer, header: DynamicHeader, state: VpcState) {
    this.sizeBytes = footer.sizeBytes;
    this.unitBytes = header.blockBytes;
    this.#file = file;
    this.#footer = footer;
    this.#header = header;
    this.#state = state;
    this.#endBytes = state.endBytes;
    this.#footerBytes = state.endBytes;
    const prepare = (): Promise<void> => this.#writeFooter();
    this.#cache = new MetadataCache(file, { pageBytes: 512, littleEndian: false, prepare });
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
    if (entry === v.ENTRY_FREE) return { kind: 'unallocated', lengthBytes };
    const unit = Math.floor(offsetBytes / this.unitBytes);
    const start = this.#blockStart(entry, unit);
    const data = start + this.#header.bitmapBytes + (offsetBytes % this.unitBytes);
    const run: Run = { kind: 'data', lengthBytes, file: this.#file, hostOffsetBytes: data };
    return this.#whole.has(unit) ? run : this.#partialRun(unit, start, run);
  }

  #blockStart(entry: number, unit: number): number {
    const start = entry * SECTOR_BYTES;
    const end = start + this.#header.bitmapBytes + this.unitBytes;
    if (end <= this.#endBytes && start >= v.FOOTER_BYTES) return start;
    const place = this.#header.tableOffset + unit * 4;
    const what = `an entry leads to a block at ${start}, beyond the file's end`;
    throw badAt('corrupt', this.#file.path, place, what);
  }

  async #partialRun(unit: number, start: number, run: Run): Promise<Run> {
    const bitmap = await this.#cache.get(start, this.#header.bitmapBytes);
    const sectors = this.unitBytes / SECTOR_BYTES;
    if (bitmap.subarray(0, sectors >>> 3).every((byte) => byte === 0xff)) {
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
    return isSet(first) ? { ...run, lengthBytes } : { kind: 'unallocated', lengthBytes };
  }

  async allocate(unit: number): Promise<Place> {
    const { bitmapBytes, tableOffset } = this.#header;
    const entry = await this.#cache.u32(tableOffset + unit * 4);
    if (entry !== v.ENTRY_FREE) {
      const hostOffsetBytes = this.#blockStart(entry, unit) + bitmapBytes;
      return { file: this.#file, hostOffsetBytes, zeroed: false };
    }
    const start = this.#endBytes;
    this.#endBytes += bitmapBytes + this.unitBytes;
    // The old footer lies where the bitmap goes.
    const zeroed = start + bitmapBytes >= this.#state.fileBytes;
    return { file: this.#file, hostOffsetBytes: start + bitmapBytes, zeroed };
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
    const endBytes = this.#endBytes;
    if (endBytes === this.#footerBytes) return;
    await this.#file.write(endBytes, this.#footer.bytes);
    this.#footerBytes = endBytes;
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
