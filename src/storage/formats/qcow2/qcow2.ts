import {
  checkRange,
  type DiskImage,
  type Extent,
  type HostFile,
  ImageError,
  type ImageFormat,
  type ImageInfo,
  type OpenContext,
  type Snapshot,
} from '../../image.ts';
import { type Header, readHeader } from './header.ts';
import { decodeEntry, type L2Entry, type L2Shape, l2Shape } from './l2-entry.ts';
import * as q from './layout.ts';
import { readSnapshots } from './snapshot-table.ts';
import { TableCache } from './table-cache.ts';

const L2_CACHE_BYTES = 8 << 20;
/** Pieces of one request that are read at once. */
const MAX_PARALLEL = 16;

interface Parts {
  readonly file: HostFile;
  readonly context: OpenContext;
  readonly header: Header;
  readonly l1: DataView;
  readonly snapshots: readonly Snapshot[];
  readonly backing: DiskImage | undefined;
}

/** A part of a request that lies in one way, in one cluster or in neighbouring ones. */
interface Run extends Extent {
  readonly offsetBytes: number;
  /** For a compressed cluster: what to read of the host file. */
  readonly compressedBytes: number;
}

/** A qcow2 image opened for reading. */
class Qcow2Image implements DiskImage {
  readonly format = 'qcow2';
  readonly readOnly = true;
  readonly path: string;
  readonly sizeBytes: number;
  readonly backing: DiskImage | undefined;
  readonly unitBytes: number;
  readonly #parts: Parts;
  readonly #shape: L2Shape;
  readonly #tables: TableCache;
  /** The last decompressed cluster: sequential reads come in smaller pieces. */
  #decompressed: { offsetBytes: number; bytes: Promise<Uint8Array> } | undefined;

  constructor(parts: Parts) {
    const { header, file } = parts;
    this.path = file.path;
    this.sizeBytes = header.sizeBytes;
    this.backing = parts.backing;
    this.unitBytes = 2 ** header.clusterBits;
    this.#parts = parts;
    this.#shape = l2Shape(header.clusterBits, header.extendedL2);
    this.#tables = new TableCache(file, this.unitBytes, L2_CACHE_BYTES);
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<void> {
    checkRange(this, offsetBytes, into.length);
    let pending: Promise<void>[] = [];
    for (let done = 0; done < into.length; ) {
      const run = await this.#run(offsetBytes + done, into.length - done);
      pending.push(this.#readRun(run, into.subarray(done, done + run.lengthBytes)));
      done += run.lengthBytes;
      if (pending.length < MAX_PARALLEL && done < into.length) continue;
      await Promise.all(pending);
      pending = [];
    }
  }

  write(): Promise<void> {
    return Promise.reject(readOnlyError(this.path));
  }

  writeZeroes(): Promise<void> {
    return Promise.reject(readOnlyError(this.path));
  }

  discard(): Promise<void> {
    return Promise.reject(readOnlyError(this.path));
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  async extent(offsetBytes: number, lengthBytes: number): Promise<Extent> {
    checkRange(this, offsetBytes, lengthBytes);
    const {
      kind,
      lengthBytes: length,
      hostOffsetBytes,
      compressed,
    } = await this.#run(offsetBytes, lengthBytes);
    if (compressed === true) return { kind, lengthBytes: length, compressed };
    if (hostOffsetBytes === undefined) return { kind, lengthBytes: length };
    return { kind, lengthBytes: length, hostOffsetBytes };
  }

  info(): Promise<ImageInfo> {
    const { header, snapshots } = this.#parts;
    const hasFeature = (bit: number): boolean => (header.incompatible & bit) !== 0;
    const lazy = (header.compatible & q.COMPATIBLE_LAZY_REFCOUNTS) !== 0;
    const v3 = {
      'lazy-refcounts': lazy,
      'refcount-bits': header.refcountBits,
      corrupt: hasFeature(q.INCOMPATIBLE_CORRUPT),
      'extended-l2': header.extendedL2,
    };
    return Promise.resolve({
      clusterBytes: this.unitBytes,
      dirty: hasFeature(q.INCOMPATIBLE_DIRTY),
      snapshots,
      ...(header.backingName === undefined ? {} : { backingName: header.backingName }),
      ...(header.backingFormat === undefined ? {} : { backingFormat: header.backingFormat }),
      specific: {
        compat: header.version === 3 ? '1.1' : '0.10',
        'compression-type': header.compression,
        ...(header.version === 3 ? v3 : { 'refcount-bits': 16 }),
      },
    });
  }

  async close(): Promise<void> {
    try {
      await this.#parts.file.close();
    } finally {
      await this.backing?.close();
    }
  }

  /** The longest run from `offsetBytes` on, up to the end of what one part of the L2 table maps. */
  async #run(offsetBytes: number, lengthBytes: number): Promise<Run> {
    const first = await this.#piece(offsetBytes, lengthBytes);
    let length = first.lengthBytes;
    while (length < lengthBytes && first.compressed !== true) {
      const next = await this.#piece(offsetBytes + length, lengthBytes - length);
      const expected =
        first.hostOffsetBytes === undefined ? undefined : first.hostOffsetBytes + length;
      if (next.kind !== first.kind || next.compressed === true) break;
      if (next.hostOffsetBytes !== expected) break;
      length += next.lengthBytes;
    }
    return { ...first, lengthBytes: length };
  }

  /** The run from `offsetBytes` on within its subcluster, or within a whole range that has no L2 table. */
  async #piece(offsetBytes: number, lengthBytes: number): Promise<Run> {
    const { subclusterBytes, entryBytes } = this.#shape;
    const perTable = this.unitBytes * (this.unitBytes / entryBytes);
    const tableOffset = this.#l2Offset(Math.floor(offsetBytes / perTable));
    const cut = (unit: number): number => Math.min(lengthBytes, unit - (offsetBytes % unit));
    const bare = { offsetBytes, compressedBytes: 0 };
    if (tableOffset === 0) return { ...bare, kind: 'unallocated', lengthBytes: cut(perTable) };
    const entry = await this.#entry(offsetBytes, tableOffset);
    if (entry.compressedBytes > 0)
      return {
        offsetBytes,
        compressedBytes: entry.compressedBytes,
        kind: 'data',
        compressed: true,
        hostOffsetBytes: entry.hostOffset,
        lengthBytes: cut(this.unitBytes),
      };
    const within = offsetBytes % this.unitBytes;
    const bit = 1 << Math.floor(within / subclusterBytes);
    const lengthHere = cut(subclusterBytes);
    if ((entry.zero & bit) !== 0) return { ...bare, kind: 'zero', lengthBytes: lengthHere };
    if ((entry.allocated & bit) === 0)
      return { ...bare, kind: 'unallocated', lengthBytes: lengthHere };
    return {
      ...bare,
      kind: 'data',
      hostOffsetBytes: entry.hostOffset + within,
      lengthBytes: lengthHere,
    };
  }

  #l2Offset(index: number): number {
    const high = this.#parts.l1.getUint32(index * 8);
    const low = this.#parts.l1.getUint32(index * 8 + 4);
    const offset = (high & q.HI_OFFSET) * q.TWO_32 + ((low & q.LO_OFFSET) >>> 0);
    const reserved = (high & q.HI_L1_RESERVED) !== 0 || (low & ~q.LO_OFFSET) !== 0;
    if (!reserved && offset % this.unitBytes === 0 && Number.isSafeInteger(offset)) return offset;
    throw this.#corrupt(`L1 entry ${index} leads to no L2 table`, offset);
  }

  async #entry(offsetBytes: number, tableOffset: number): Promise<L2Entry> {
    const { entryBytes } = this.#shape;
    const index = Math.floor(offsetBytes / this.unitBytes) % (this.unitBytes / entryBytes);
    const place = tableOffset + index * entryBytes;
    const { view, at } = await this.#tables.get(place);
    const entry = decodeEntry(view, at, this.#shape);
    if (typeof entry === 'string') throw this.#corrupt(`L2 entry: ${entry}`, place);
    return entry;
  }

  async #readRun(run: Run, into: Uint8Array): Promise<void> {
    if (run.kind === 'zero') into.fill(0);
    else if (run.kind === 'unallocated') await this.#readBacking(run.offsetBytes, into);
    else if (run.compressed === true) {
      const start = run.offsetBytes % this.unitBytes;
      const bytes = await this.#decompress(run);
      into.set(bytes.subarray(start, start + into.length));
    } else await this.#parts.file.read(run.hostOffsetBytes ?? 0, into);
  }

  async #readBacking(offsetBytes: number, into: Uint8Array): Promise<void> {
    const there = Math.max(0, Math.min(into.length, (this.backing?.sizeBytes ?? 0) - offsetBytes));
    into.fill(0, there);
    if (there > 0) await this.backing?.read(offsetBytes, into.subarray(0, there));
  }

  #decompress(run: Run): Promise<Uint8Array> {
    const offsetBytes = run.offsetBytes - (run.offsetBytes % this.unitBytes);
    if (this.#decompressed?.offsetBytes === offsetBytes) return this.#decompressed.bytes;
    const bytes = this.#inflate(run.hostOffsetBytes ?? 0, run.compressedBytes);
    this.#decompressed = { offsetBytes, bytes };
    return bytes;
  }

  async #inflate(hostOffset: number, compressedBytes: number): Promise<Uint8Array> {
    const { codec } = this.#parts.context.host;
    const from = new Uint8Array(compressedBytes);
    const count = await this.#parts.file.read(hostOffset, from);
    const inflate =
      this.#parts.header.compression === 'zstd' ? codec.zstdDecompress : codec.inflateRaw;
    try {
      const bytes = await inflate(from.subarray(0, count), this.unitBytes);
      if (bytes.length === this.unitBytes) return bytes;
    } catch (error) {
      throw this.#corrupt('a compressed cluster cannot be decompressed', hostOffset, error);
    }
    throw this.#corrupt('a compressed cluster is too short', hostOffset);
  }

  #corrupt(what: string, offsetBytes: number, cause?: unknown): ImageError {
    const message = `${this.path}: at ${offsetBytes}: ${what}`;
    return new ImageError('corrupt', message, { path: this.path, offsetBytes }, { cause });
  }
}

function readOnlyError(path: string): ImageError {
  return new ImageError(
    'read-only',
    `${path}: qcow2 images can only be read; write to a raw copy`,
    {
      path,
    },
  );
}

async function readParts(file: HostFile, context: OpenContext): Promise<Parts> {
  if (!context.readOnly) throw readOnlyError(file.path);
  const header = await readHeader(file);
  const l1 = new Uint8Array(header.l1Entries * 8);
  if ((await file.read(header.l1Offset, l1)) < l1.length)
    throw new ImageError('corrupt', `${file.path}: the file ends within the L1 table`, {
      path: file.path,
      offsetBytes: header.l1Offset,
    });
  const snapshots = await readSnapshots(file, header);
  const { backingName, backingFormat } = header;
  const backing =
    backingName === undefined
      ? undefined
      : await context.openBacking(file.path, backingName, backingFormat);
  return { file, context, header, l1: new DataView(l1.buffer), snapshots, backing };
}

/** QEMU's format, versions 2 and 3, for reading. */
export const qcow2: ImageFormat = {
  name: 'qcow2',
  probe: (head) =>
    head.length >= q.V2_HEADER_BYTES &&
    new DataView(head.buffer, head.byteOffset).getUint32(0) === q.MAGIC,
  open: async (file, context) => {
    try {
      return new Qcow2Image(await readParts(file, context));
    } catch (error) {
      await file.close();
      throw error;
    }
  },
  createOptions: [],
};
