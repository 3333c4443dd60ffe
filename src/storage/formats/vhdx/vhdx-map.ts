import type { BlockMap, Place, Run } from '../../blocks/block-map.ts';
import { type Blocks, compact } from '../../blocks/compact.ts';
import { badAt } from '../../blocks/fields.ts';
import { MetadataCache } from '../../blocks/metadata-cache.ts';
import { Tail } from '../../blocks/tail.ts';
import { uuidText } from '../../blocks/uuid.ts';
import { type HostFile, ImageError, type ImageInfo } from '../../image.ts';
import { type Bat, batOf, bitmapEntryAt, entryAt, fits } from './bat.ts';
import type { Header, Region } from './header.ts';
import * as v from './layout.ts';
import { LogWriter } from './log-writer.ts';
import { type Metadata, utf16 } from './metadata.ts';

export interface VhdxParts {
  readonly file: HostFile;
  readonly readOnly: boolean;
  readonly header: Header;
  readonly batRegion: Region;
  readonly metadataRegion: Region;
  readonly metadata: Metadata;
  readonly fileBytes: number;
  readonly info: ImageInfo;
  /** Which state the parent is in now. */
  readonly parentState: (() => Promise<Uint8Array | undefined>) | undefined;
}

/** The BAT has an entry for each block: its state and where it lies. All metadata is written through the log. */
export class VhdxMap implements BlockMap {
  readonly unitBytes: number;
  readonly #parts: VhdxParts;
  readonly #cache: MetadataCache;
  readonly #log: LogWriter;
  readonly tail: Tail;
  #bat: Bat;
  #sizeBytes: number;

  constructor(parts: VhdxParts) {
    const { file, metadata } = parts;
    this.#parts = parts;
    this.unitBytes = metadata.blockBytes;
    this.#sizeBytes = metadata.sizeBytes;
    this.#bat = batOf(metadata, parts.batRegion.offset);
    const log = new LogWriter(file, parts.header);
    const tail = new Tail(file, parts.fileBytes, Math.ceil(parts.fileBytes / v.MIB) * v.MIB);
    this.#log = log;
    this.tail = tail;
    this.#cache = new MetadataCache(file, {
      pageBytes: v.LOG_SECTOR_BYTES,
      littleEndian: true,
      prepare: () => tail.grow(),
      writeBack: (writes) => log.write(writes),
    });
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  find(offsetBytes: number, lengthBytes: number): Run | Promise<Run> {
    const unit = Math.floor(offsetBytes / this.unitBytes);
    const length = Math.min(lengthBytes, this.unitBytes - (offsetBytes % this.unitBytes));
    const place = entryAt(this.#bat, unit);
    const entry = this.#cache.u64(place);
    const low = this.#cache.u32(place);
    if (entry instanceof Promise || low instanceof Promise)
      return Promise.all([entry, low]).then(([value, bits]) =>
        this.#run(value, bits & v.STATE_MASK, offsetBytes, length),
      );
    return this.#run(entry, low & v.STATE_MASK, offsetBytes, length);
  }

  #run(entry: number, state: number, offsetBytes: number, lengthBytes: number): Run | Promise<Run> {
    if (state === v.NOT_PRESENT) return { kind: 'unallocated', lengthBytes };
    if (state <= v.UNMAPPED) return { kind: 'zero', lengthBytes };
    const unit = Math.floor(offsetBytes / this.unitBytes);
    const hostOffsetBytes = this.#blockAt(entry, unit) + (offsetBytes % this.unitBytes);
    const run: Run = { kind: 'data', lengthBytes, file: this.#parts.file, hostOffsetBytes };
    if (state === v.FULLY_PRESENT) return run;
    if (state === v.PARTIALLY_PRESENT && this.#parts.metadata.parent !== undefined)
      return this.#partialRun(unit, offsetBytes, run);
    throw this.#corrupt(entryAt(this.#bat, unit), `unit ${unit} is in state ${state}`);
  }

  #blockAt(entry: number, unit: number, lengthBytes = this.unitBytes): number {
    const offset = Math.floor(entry / v.MIB) * v.MIB;
    if (offset >= v.MIB && offset + lengthBytes <= this.tail.endBytes) return offset;
    throw this.#corrupt(
      entryAt(this.#bat, unit),
      `unit ${unit} leads to ${offset}, beyond the file's end`,
    );
  }

  /** Sectors whose bit is set are here, the others are the parent's. */
  async #partialRun(unit: number, offsetBytes: number, run: Run): Promise<Run> {
    const { chunkRatio } = this.#bat;
    const { sectorBytes } = this.#parts.metadata;
    const place = bitmapEntryAt(this.#bat, unit);
    const state = (await this.#cache.u32(place)) & v.STATE_MASK;
    if (state !== v.FULLY_PRESENT)
      throw this.#corrupt(place, `the sector bitmap of unit ${unit} is missing`);
    const bitmap = this.#blockAt(await this.#cache.u64(place), unit, v.MIB);
    const first = Math.floor((offsetBytes % (chunkRatio * this.unitBytes)) / sectorBytes);
    const within = offsetBytes % sectorBytes;
    const count = Math.ceil((within + run.lengthBytes) / sectorBytes);
    const fromByte = first >>> 3;
    const bits = await this.#cache.get(
      bitmap + fromByte,
      ((first + count - 1) >>> 3) + 1 - fromByte,
    );
    const isSet = (sector: number): boolean =>
      ((bits[(sector >>> 3) - fromByte] ?? 0) & (1 << (sector & 7))) !== 0;
    let sector = first + 1;
    while (sector < first + count && isSet(sector) === isSet(first)) sector++;
    const lengthBytes = Math.min(run.lengthBytes, (sector - first) * sectorBytes - within);
    return isSet(first) ? { ...run, lengthBytes } : { kind: 'unallocated', lengthBytes };
  }

  async allocate(unit: number): Promise<Place> {
    const { file } = this.#parts;
    const place = entryAt(this.#bat, unit);
    const state = (await this.#cache.u32(place)) & v.STATE_MASK;
    if (state === v.PARTIALLY_PRESENT) {
      const hostOffsetBytes = this.#blockAt(await this.#cache.u64(place), unit);
      return { file, hostOffsetBytes, zeroed: false };
    }
    return await this.tail.take(this.unitBytes);
  }

  abandon(place: Place): void {
    this.tail.putBack(place.hostOffsetBytes);
  }

  async link(unit: number, place: Place): Promise<void> {
    const entry = place.hostOffsetBytes + v.FULLY_PRESENT;
    await this.#cache.setU64(entryAt(this.#bat, unit), entry, 1);
  }

  async markZero(unit: number): Promise<boolean> {
    await this.#cache.setU64(entryAt(this.#bat, unit), v.STATE_ZERO, 1);
    return true;
  }

  /** Images whose blocks all stay allocated keep them. */
  async free(unit: number, asZeros: boolean): Promise<boolean> {
    return this.#parts.metadata.leavesAllocated ? false : await this.#free(unit, asZeros);
  }

  async #free(unit: number, asZeros: boolean): Promise<boolean> {
    const place = entryAt(this.#bat, unit);
    const state = (await this.#cache.u32(place)) & v.STATE_MASK;
    if (state < v.FULLY_PRESENT) return true;
    const start = this.#blockAt(await this.#cache.u64(place), unit);
    await this.#cache.setU64(place, asZeros ? v.STATE_ZERO : v.NOT_PRESENT, 1);
    this.tail.give(start, this.unitBytes);
    return true;
  }

  async beforeChange(): Promise<void> {
    await this.#log.start();
  }

  async adoptBacking(): Promise<void> {
    const { metadata, parentState } = this.#parts;
    const state = await parentState?.();
    if (metadata.linkageAt === undefined || state === undefined) return;
    await this.#log.start(false);
    await this.#cache.replace(metadata.linkageAt, utf16(`{${uuidText(state)}}`));
  }

  commit(): Promise<void> {
    return this.#cache.commit();
  }

  info(): ImageInfo {
    return this.#parts.info;
  }

  get #blocks(): Blocks {
    return {
      file: this.#parts.file,
      tail: this.tail,
      blockBytes: this.unitBytes,
      each: async (visit) => {
        for (let unit = 0; unit < this.#bat.units; unit++) {
          const found = this.#cache.u32(entryAt(this.#bat, unit));
          const low = found instanceof Promise ? await found : found;
          if ((low & v.STATE_MASK) < v.FULLY_PRESENT) continue;
          const entry = await this.#cache.u64(entryAt(this.#bat, unit));
          visit({ unit, hostOffsetBytes: this.#blockAt(entry, unit) });
        }
      },
      moved: async (unit, hostOffsetBytes) => {
        const place = entryAt(this.#bat, unit);
        const state = (await this.#cache.u32(place)) & v.STATE_MASK;
        await this.#cache.setU64(place, hostOffsetBytes + state, 1);
      },
      commit: () => this.commit(),
    };
  }

  /** Sector bitmaps stay where they are. */
  async compact(): Promise<void> {
    let end = await compact(this.#blocks);
    if (end === undefined) return;
    const { batRegion, metadata, header, metadataRegion, file } = this.#parts;
    const { chunkRatio, units } = this.#bat;
    if (metadata.parent !== undefined)
      for (let unit = 0; unit < units; unit += chunkRatio) {
        const entry = await this.#cache.u64(bitmapEntryAt(this.#bat, unit));
        if (entry % 8 === v.FULLY_PRESENT) end = Math.max(end, entry - (entry % 8) + v.MIB);
      }
    for (const { offset, length } of [batRegion, metadataRegion])
      end = Math.max(end, offset + length);
    end = Math.max(end, header.logOffset + header.logBytes);
    this.tail.cutTo(end);
    // Entries of the log ask for a file as long as it was.
    await this.#log.finish();
    await file.truncate(end);
    await this.#log.start();
  }

  /** Works while the BAT has room. */
  checkResize(sizeBytes: number): void {
    const { metadata, batRegion } = this.#parts;
    const bat = batOf({ ...metadata, sizeBytes }, batRegion.offset);
    if (sizeBytes % metadata.sectorBytes !== 0)
      throw this.#keeps(`its sectors are of ${metadata.sectorBytes} bytes; choose a multiple`);
    if (metadata.parent !== undefined)
      throw this.#keeps('it differs from a parent; commit it, and resize that');
    if (!fits(bat, batRegion) || sizeBytes > v.MAX_SIZE_BYTES)
      throw this.#keeps('its BAT has no room for so much; convert it to an image of that size');
  }

  async resize(sizeBytes: number): Promise<void> {
    const { metadata, batRegion } = this.#parts;
    const bat = batOf({ ...metadata, sizeBytes }, batRegion.offset);
    const isFixed = metadata.leavesAllocated;
    for (let unit = this.#bat.units; unit < bat.units; unit++) {
      const entry = isFixed
        ? (await this.tail.takeZeroed(this.unitBytes)) + v.FULLY_PRESENT
        : v.NOT_PRESENT;
      await this.#cache.setU64(entryAt(bat, unit), entry, 1);
    }
    if (isFixed)
      for (let unit = bat.units; unit < this.#bat.units; unit++) await this.#free(unit, false);
    await this.commit();
    const size = new Uint8Array(8);
    new DataView(size.buffer).setBigUint64(0, BigInt(sizeBytes), true);
    await this.#cache.replace(metadata.sizeAt, size);
    this.#bat = bat;
    this.#sizeBytes = sizeBytes;
  }

  #keeps(why: string): ImageError {
    const { path } = this.#parts.file;
    return new ImageError('unsupported', `${path}: ${why}`, { path });
  }

  async close(): Promise<void> {
    try {
      if (this.#parts.readOnly) return;
      await this.commit();
      await this.#log.finish();
    } finally {
      await this.#parts.file.close();
    }
  }

  #corrupt(offsetBytes: number, what: string): ImageError {
    return badAt('corrupt', this.#parts.file.path, offsetBytes, what);
  }
}
