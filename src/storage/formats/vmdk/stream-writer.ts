import { Fields } from '../../blocks/fields.ts';
import { type DiskImage, type HostFile, SECTOR_BYTES, type StorageHost } from '../../image.ts';
import { isZero } from '../../zeros.ts';
import { makeDescriptor, UNKNOWN_TOOLS } from './descriptor.ts';
import * as v from './layout.ts';

const GRAIN_SECTORS = v.GRAIN_BYTES / SECTOR_BYTES;
const TABLE_GRAINS = v.ENTRIES_PER_TABLE;
/** Grains that are compressed at once. */
const BATCH_GRAINS = 16;
/** Kinds of markers that are no grains (Virtual Disk Format 5.0, "Stream-Optimized Compressed Sparse Extents"). */
const MARKER_END = 0;
const MARKER_TABLE = 1;
const MARKER_DIRECTORY = 2;
const MARKER_FOOTER = 3;
const OVERHEAD_SECTORS = 128;

/**
 * Writes a disk as a stream that readers take from start to end: grains in order, each table behind its grains, the
 * directory and a footer last. Resolves with how many bytes from `startBytes` on it has.
 */
export async function writeStream(
  image: DiskImage,
  to: { readonly file: HostFile; readonly startBytes: number; readonly name: string },
  host: StorageHost,
): Promise<number> {
  const writer = new StreamWriter(image, to, host);
  return await writer.run();
}

class StreamWriter {
  readonly #image: DiskImage;
  readonly #to: { readonly file: HostFile; readonly startBytes: number; readonly name: string };
  readonly #host: StorageHost;
  readonly #directory: number[] = [];
  #endBytes = OVERHEAD_SECTORS * SECTOR_BYTES;

  constructor(
    image: DiskImage,
    to: { readonly file: HostFile; readonly startBytes: number; readonly name: string },
    host: StorageHost,
  ) {
    this.#image = image;
    this.#to = to;
    this.#host = host;
  }

  async run(): Promise<number> {
    const start = new Uint8Array(this.#endBytes);
    start.set(this.#header(undefined));
    start.set(this.#descriptor(), SECTOR_BYTES);
    await this.#to.file.write(this.#to.startBytes, start);
    const grains = Math.ceil(this.#image.sizeBytes / v.GRAIN_BYTES);
    for (let first = 0; first < grains; first += TABLE_GRAINS)
      this.#directory.push(await this.#writeTable(first, Math.min(TABLE_GRAINS, grains - first)));
    const directory = await this.#append(MARKER_DIRECTORY, u32s(this.#directory));
    await this.#append(MARKER_FOOTER, this.#header(directory));
    await this.#append(MARKER_END, new Uint8Array(0));
    return this.#endBytes;
  }

  /** Writes grains and then their table; the table's sector, 0 when all are zeros. */
  async #writeTable(first: number, count: number): Promise<number> {
    const entries = new Array<number>(TABLE_GRAINS).fill(0);
    for (let done = 0; done < count; done += BATCH_GRAINS) {
      const batch = Math.min(BATCH_GRAINS, count - done);
      for (const [index, grain] of (await this.#readGrains(first + done, batch)).entries())
        if (grain !== undefined) {
          entries[done + index] = this.#endBytes / SECTOR_BYTES;
          await this.#writeGrain(first + done + index, grain);
        }
    }
    if (entries.every((entry) => entry === 0)) return 0;
    return await this.#append(MARKER_TABLE, u32s(entries));
  }

  /** Grains, compressed; undefined for those of zeros. */
  async #readGrains(first: number, count: number): Promise<(Uint8Array | undefined)[]> {
    const offset = first * v.GRAIN_BYTES;
    const length = Math.min(count * v.GRAIN_BYTES, this.#image.sizeBytes - offset);
    const none = new Array<undefined>(count).fill(undefined);
    if (this.#image.backing === undefined) {
      const run = await this.#image.extent(offset, length);
      if (run.kind !== 'data' && run.lengthBytes === length) return none;
    }
    const bytes = new Uint8Array(count * v.GRAIN_BYTES);
    await this.#image.read(offset, bytes.subarray(0, length));
    return await Promise.all(
      none.map(async (_, index) => {
        const grain = bytes.subarray(index * v.GRAIN_BYTES, (index + 1) * v.GRAIN_BYTES);
        return isZero(grain) ? undefined : await this.#host.codec.deflate(grain);
      }),
    );
  }

  async #writeGrain(grain: number, data: Uint8Array): Promise<void> {
    const bytes = new Uint8Array(wholeSectors(v.MARKER_BYTES + data.length));
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, BigInt(grain * GRAIN_SECTORS), true);
    view.setUint32(v.M_SIZE, data.length, true);
    bytes.set(data, v.MARKER_BYTES);
    await this.#write(bytes);
  }

  /** Writes metadata behind a marker; the sector of the metadata. */
  async #append(type: number, content: Uint8Array): Promise<number> {
    const bytes = new Uint8Array(SECTOR_BYTES + wholeSectors(content.length));
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, BigInt(wholeSectors(content.length) / SECTOR_BYTES), true);
    view.setUint32(v.MARKER_BYTES, type, true);
    bytes.set(content, SECTOR_BYTES);
    const sector = this.#endBytes / SECTOR_BYTES + 1;
    await this.#write(bytes);
    return sector;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    await this.#to.file.write(this.#to.startBytes + this.#endBytes, bytes);
    this.#endBytes += bytes.length;
  }

  /** At the start it says that the footer says where the directory is. */
  #header(directory: number | undefined): Uint8Array {
    const fields = new Fields(new Uint8Array(v.HEADER_BYTES), { path: '', littleEndian: true });
    fields.setText(0, v.MAGIC);
    fields.setU32(v.H_VERSION, 3);
    fields.setU32(v.H_FLAGS, v.FLAG_NEWLINES | v.FLAG_COMPRESSED | v.FLAG_MARKERS);
    fields.setU64(v.H_CAPACITY, this.#image.sizeBytes / SECTOR_BYTES);
    fields.setU64(v.H_GRAIN, GRAIN_SECTORS);
    fields.setU64(v.H_DESCRIPTOR, 1);
    fields.setU64(v.H_DESCRIPTOR_SIZE, v.DESCRIPTOR_SECTORS);
    fields.setU32(v.H_ENTRIES, v.ENTRIES_PER_TABLE);
    fields.setU32(v.H_DIRECTORY, directory ?? v.AT_END);
    fields.setU32(v.H_DIRECTORY + 4, directory === undefined ? v.AT_END : 0);
    fields.setU64(v.H_OVERHEAD, OVERHEAD_SECTORS);
    fields.bytes.set(new TextEncoder().encode('\n \r\n'), v.H_NEWLINES);
    fields.setU16(v.H_COMPRESSION, v.COMPRESSION_DEFLATE);
    return fields.bytes;
  }

  #descriptor(): Uint8Array {
    const cid = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    const { sizeBytes } = this.#image;
    const text = makeDescriptor({
      createType: 'streamOptimized',
      cid: Math.min(cid, 0xffff_fffe).toString(16).padStart(8, '0'),
      parentCid: undefined,
      parentName: undefined,
      extents: [`RW ${sizeBytes / SECTOR_BYTES} SPARSE "${this.#to.name}"`],
      sizeBytes,
      adapter: 'lsilogic',
      hwVersion: '4',
      toolsVersion: UNKNOWN_TOOLS,
    });
    return new TextEncoder().encode(text);
  }
}

function wholeSectors(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;
}

function u32s(values: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * 4));
  for (const [index, value] of values.entries()) view.setUint32(index * 4, value, true);
  return new Uint8Array(view.buffer);
}
