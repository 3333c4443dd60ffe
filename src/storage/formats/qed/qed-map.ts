import type { BlockMap, Place, Run } from '../../blocks/block-map.ts';
import { badAt } from '../../blocks/fields.ts';
import { KeyLock } from '../../blocks/key-lock.ts';
import { MetadataCache } from '../../blocks/metadata-cache.ts';
import { Tail } from '../../blocks/tail.ts';
import { type HostFile, ImageError, type ImageInfo, SECTOR_BYTES } from '../../image.ts';
import { backingHeader } from './create.ts';
import { type Header, maxSize } from './header.ts';
import * as v from './layout.ts';

/** Tables of two levels, as long as each other. Room is only ever taken at the file's end. */
export class QedMap implements BlockMap {
  readonly unitBytes: number;
  readonly #file: HostFile;
  readonly #readOnly: boolean;
  readonly #header: Header;
  readonly #cache: MetadataCache;
  readonly #tail: Tail;
  /** L2 tables that are being added, by their place in the L1 table. */
  readonly #adding = new KeyLock();
  #sizeBytes: number;
  #backing: Pick<ImageInfo, 'backingName' | 'backingFormat'>;

  constructor(file: HostFile, header: Header, fileBytes: number, readOnly: boolean) {
    this.#file = file;
    this.#readOnly = readOnly;
    this.#header = header;
    this.unitBytes = header.clusterBytes;
    this.#sizeBytes = header.sizeBytes;
    this.#backing = namesOf(header.backingName, header.backingFormat);
    const tail = new Tail(file, fileBytes, Math.ceil(fileBytes / this.unitBytes) * this.unitBytes);
    this.#tail = tail;
    const prepare = (): Promise<void> => tail.grow();
    this.#cache = new MetadataCache(file, { pageBytes: 4096, littleEndian: true, prepare });
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  find(offsetBytes: number, lengthBytes: number): Run | Promise<Run> {
    const unit = Math.floor(offsetBytes / this.unitBytes);
    const within = offsetBytes % this.unitBytes;
    const length = Math.min(lengthBytes, this.unitBytes - within);
    const place = this.#l1Place(unit);
    const table = this.#cache.u64(place);
    if (table instanceof Promise)
      return table.then((value) => this.#findIn(value, unit, within, length));
    return this.#findIn(table, unit, within, length);
  }

  #findIn(table: number, unit: number, within: number, lengthBytes: number): Run | Promise<Run> {
    if (table === 0) return { kind: 'unallocated', lengthBytes };
    const place = this.#l2Place(table, unit);
    const entry = this.#cache.u64(place);
    if (entry instanceof Promise)
      return entry.then((value) => this.#run(value, place, within, lengthBytes));
    return this.#run(entry, place, within, lengthBytes);
  }

  #run(entry: number, place: number, within: number, lengthBytes: number): Run {
    if (entry === 0) return { kind: 'unallocated', lengthBytes };
    if (entry === v.ENTRY_ZERO) return { kind: 'zero', lengthBytes };
    this.#checkOffset(entry, this.unitBytes, place, 'a cluster');
    const hostOffsetBytes = entry + within;
    return { kind: 'data', lengthBytes, file: this.#file, hostOffsetBytes };
  }

  #l1Place(unit: number): number {
    return this.#header.l1Offset + Math.floor(unit / this.#header.entries) * v.ENTRY_BYTES;
  }

  #l2Place(table: number, unit: number): number {
    this.#checkOffset(table, this.#header.tableBytes, this.#l1Place(unit), 'an L2 table');
    return table + (unit % this.#header.entries) * v.ENTRY_BYTES;
  }

  #checkOffset(offset: number, lengthBytes: number, place: number, what: string): void {
    const { headerBytes } = this.#header;
    const isWithin = offset >= headerBytes && offset + lengthBytes <= this.#tail.endBytes;
    if (isWithin && offset % this.unitBytes === 0) return;
    throw badAt('corrupt', this.#file.path, place, `${what} at ${offset}, outside of the file`);
  }

  allocate(): Promise<Place> {
    return this.#tail.take(this.unitBytes);
  }

  abandon(place: Place): void {
    this.#tail.putBack(place.hostOffsetBytes);
  }

  async link(unit: number, place: Place): Promise<void> {
    await this.#setEntry(unit, place.hostOffsetBytes);
  }

  async markZero(unit: number): Promise<boolean> {
    await this.#setEntry(unit, v.ENTRY_ZERO);
    return true;
  }

  async #setEntry(unit: number, entry: number): Promise<void> {
    const place = this.#l1Place(unit);
    const table = (await this.#cache.u64(place)) || (await this.#addTable(place));
    await this.#cache.setU64(this.#l2Place(table, unit), entry, 1);
  }

  /** Units that are written at once may need the same new table. */
  #addTable(place: number): Promise<number> {
    return this.#adding.run([place], async () => {
      const added = await this.#cache.u64(place);
      if (added !== 0) return added;
      const { hostOffsetBytes } = this.#tail.takeNew(this.#header.tableBytes);
      this.#cache.clear(hostOffsetBytes, this.#header.tableBytes, 1);
      await this.#cache.setU64(place, hostOffsetBytes, 2);
      return hostOffsetBytes;
    });
  }

  /** Features that only hold while all writers know them. */
  async beforeChange(): Promise<void> {
    await this.#cache.setU64(v.H_AUTOCLEAR, 0, 0);
    await this.#cache.commit();
  }

  commit(): Promise<void> {
    return this.#cache.commit();
  }

  info(): ImageInfo {
    return {
      clusterBytes: this.unitBytes,
      dirty: this.#header.needsCheck,
      ...this.#backing,
    };
  }

  checkResize(sizeBytes: number): void {
    const { path } = this.#file;
    if (sizeBytes < this.#sizeBytes)
      throw new ImageError('unsupported', `${path}: QED images only grow; convert it`, { path });
    if (sizeBytes > maxSize(this.unitBytes, this.#header.tableBytes))
      throw new ImageError(
        'unsupported',
        `${path}: its tables have no room for ${sizeBytes} bytes`,
        {
          path,
        },
      );
  }

  async resize(sizeBytes: number): Promise<void> {
    await this.commit();
    const size = new Uint8Array(8);
    new DataView(size.buffer).setBigUint64(0, BigInt(sizeBytes), true);
    await this.#cache.replace(v.H_SIZE, size);
    this.#sizeBytes = sizeBytes;
  }

  async setBacking(name: string | undefined, format: string | undefined): Promise<void> {
    await this.commit();
    const old = await this.#cache.get(0, Math.min(this.#header.headerBytes, 4096));
    const next = backingHeader(old, name, format);
    // A name behind the first sector is there before that leads to it.
    await this.#cache.set(SECTOR_BYTES, next.subarray(SECTOR_BYTES), 1);
    await this.commit();
    await this.#cache.replace(0, next);
    this.#backing = namesOf(name, format === 'raw' ? 'raw' : undefined);
  }

  async close(): Promise<void> {
    try {
      if (!this.#readOnly) await this.commit();
    } finally {
      await this.#file.close();
    }
  }
}

function namesOf(
  backingName: string | undefined,
  backingFormat: string | undefined,
): Pick<ImageInfo, 'backingName' | 'backingFormat'> {
  return {
    ...(backingName === undefined ? {} : { backingName }),
    ...(backingName === undefined || backingFormat === undefined ? {} : { backingFormat }),
  };
}
