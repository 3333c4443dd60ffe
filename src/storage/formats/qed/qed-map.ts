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
    const table = this.#cache.u64(this.#l1Place(unit));
    if (table instanceof Promise)
      return table.then((value) => this.#findIn(value, unit, within, lengthBytes));
    return this.#findIn(table, unit, within, lengthBytes);
  }

  #findIn(table: number, unit: number, within: number, lengthBytes: number): Run | Promise<Run> {
    const { entries } = this.#header;
    const left = entries - (unit % entries);
    const length = Math.min(lengthBytes, left * this.unitBytes - within);
    if (table === 0) return { kind: 'unallocated', lengthBytes: length };
    const place = this.#l2Place(table, unit);
    const entry = this.#cache.u64(place);
    if (entry instanceof Promise)
      return entry.then((value) => this.#run(value, place, within, length));
    return this.#run(entry, place, within, length);
  }

  #run(entry: number, place: number, within: number, mostBytes: number): Run {
    const isData = entry !== 0 && entry !== v.ENTRY_ZERO;
    const most = Math.ceil((within + mostBytes) / this.unitBytes);
    const alike = this.#cache.run64(place, most, isData ? this.unitBytes : 0);
    const lengthOf = (units: number): number =>
      Math.min(mostBytes, units * this.unitBytes - within);
    if (!isData)
      return { kind: entry === 0 ? 'unallocated' : 'zero', lengthBytes: lengthOf(alike) };
    this.#checkOffset(entry, this.unitBytes, place, 'a cluster');
    const inFile = Math.floor((this.#tail.endBytes - entry) / this.unitBytes);
    const lengthBytes = lengthOf(Math.min(alike, inFile));
    return { kind: 'data', lengthBytes, file: this.#file, hostOffsetBytes: entry + within };
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

  allocate(): Place | Promise<Place> {
    return this.#tail.take(this.unitBytes);
  }

  abandon(place: Place): void {
    this.#tail.putBack(place.hostOffsetBytes);
  }

  link(unit: number, place: Place): Promise<void> {
    return this.linkRun(unit, 1, place);
  }

  async linkRun(unit: number, count: number, place: Place): Promise<void> {
    const { entries } = this.#header;
    for (let done = 0; done < count; ) {
      const here = Math.min(count - done, entries - ((unit + done) % entries));
      const first = place.hostOffsetBytes + done * this.unitBytes;
      const at = await this.#entryPlace(unit + done);
      await this.#cache.setRun64(at, here, first, this.unitBytes, 1);
      done += here;
    }
  }

  async markZero(unit: number): Promise<boolean> {
    await this.#cache.setU64(await this.#entryPlace(unit), v.ENTRY_ZERO, 1);
    return true;
  }

  /** Of the entry of a unit, whose table is made if there is none. */
  async #entryPlace(unit: number): Promise<number> {
    const place = this.#l1Place(unit);
    const table = (await this.#cache.u64(place)) || (await this.#addTable(place));
    return this.#l2Place(table, unit);
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
