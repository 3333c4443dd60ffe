import { utf8Text } from '#base/utf8.ts';
import { type HostFile, ImageError } from '../../image.ts';
import type { Header } from './header.ts';
import * as q from './layout.ts';

// Fields of the bitmaps extension and of a directory entry (qcow2.txt, "Bitmaps extension", "Bitmap directory").
const X_DIRECTORY_BYTES = 8;
const X_DIRECTORY_OFFSET = 16;
const EXTENSION_BYTES = 24;
const D_TABLE_ENTRIES = 8;
const D_FLAGS = 12;
const D_TYPE = 16;
const TYPE_DIRTY_TRACKING = 1;
const D_GRANULARITY = 17;
const D_NAME_BYTES = 18;
const D_EXTRA_BYTES = 20;
const ENTRY_BYTES = 24;

// Flags of a directory entry.
export const FLAG_IN_USE = 1 << 0;
export const FLAG_AUTO = 1 << 1;
/** A table entry without an offset whose bits are all set. */
export const ALL_ONES = 1;

const MAX_DIRECTORY_BYTES = 64 << 20;
const MAX_TABLE_ENTRIES = 8 << 20;
const MAX_GRANULARITY_BITS = 31; // QEMU's limit

export interface Region {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** An entry of the directory. */
export interface BitmapEntry {
  readonly name: string;
  /** As it was read: it need not be UTF-8. */
  readonly rawName?: Uint8Array;
  /** Where in the host file its flags stand. */
  readonly flagsOffset: number;
  readonly flags: number;
  readonly table: Region;
  /** A bit stands for 2 to the power of this bytes. */
  readonly granularityBits: number;
  /** What the entry has beyond the fields that we know. */
  readonly extra: Uint8Array;
}

/** The directory and its entries; none when the last writer did not keep them up. @throws {ImageError} `corrupt`. */
export async function readBitmaps(
  file: HostFile,
  header: Header,
): Promise<{ directory: Region; entries: readonly BitmapEntry[] } | undefined> {
  const extension = header.extensions.find((one) => one.type === q.EXT_BITMAPS);
  if (extension === undefined || (header.autoclear & q.AUTOCLEAR_BITMAPS) === 0) return undefined;
  const corrupt = (what: string): ImageError =>
    new ImageError('corrupt', `${file.path}: bitmaps: ${what}`, { path: file.path });
  if (extension.data.length < EXTENSION_BYTES) throw corrupt('the header extension is too short');
  const view = viewOf(extension.data);
  const directory = {
    offsetBytes: number64(view, X_DIRECTORY_OFFSET),
    lengthBytes: number64(view, X_DIRECTORY_BYTES),
  };
  if (directory.lengthBytes > MAX_DIRECTORY_BYTES) throw corrupt('the directory is too long');
  if (!Number.isSafeInteger(directory.offsetBytes)) throw corrupt('the directory lies nowhere');
  const bytes = new Uint8Array(directory.lengthBytes);
  await file.read(directory.offsetBytes, bytes);
  const fields = viewOf(bytes);
  const count = view.getUint32(0);
  const entries: BitmapEntry[] = [];
  for (let at = 0; entries.length < count; ) {
    if (at + ENTRY_BYTES > bytes.length) throw corrupt('the directory ends before its entries');
    const tableEntries = fields.getUint32(at + D_TABLE_ENTRIES);
    const granularityBits = fields.getUint8(at + D_GRANULARITY);
    const offsetBytes = number64(fields, at);
    if (tableEntries > MAX_TABLE_ENTRIES) throw corrupt('a table is too long');
    if (granularityBits > MAX_GRANULARITY_BITS) throw corrupt('the bits are too coarse');
    if (!Number.isSafeInteger(offsetBytes)) throw corrupt('a table lies nowhere');
    const extraBytes = fields.getUint32(at + D_EXTRA_BYTES);
    const nameAt = at + ENTRY_BYTES + extraBytes;
    const nameEnd = nameAt + fields.getUint16(at + D_NAME_BYTES);
    if (nameEnd > bytes.length) throw corrupt('the directory ends within an entry');
    const rawName = bytes.subarray(nameAt, nameEnd);
    entries.push({
      name: utf8Text(rawName),
      rawName,
      extra: bytes.slice(at + ENTRY_BYTES, nameAt),
      flagsOffset: directory.offsetBytes + at + D_FLAGS,
      flags: fields.getUint32(at + D_FLAGS),
      table: { offsetBytes, lengthBytes: tableEntries * 8 },
      granularityBits,
    });
    at += Math.ceil((nameEnd - at) / 8) * 8;
  }
  return { directory, entries };
}

/** The directory as it stands in the file. */
export function encodeDirectory(entries: readonly BitmapEntry[]): Uint8Array {
  const parts = entries.map((entry) => {
    const name = entry.rawName ?? new TextEncoder().encode(entry.name);
    const length = ENTRY_BYTES + entry.extra.length + name.length;
    const bytes = new Uint8Array(Math.ceil(length / 8) * 8);
    const view = viewOf(bytes);
    view.setBigUint64(0, BigInt(entry.table.offsetBytes));
    view.setUint32(D_TABLE_ENTRIES, entry.table.lengthBytes / 8);
    view.setUint32(D_FLAGS, entry.flags);
    view.setUint8(D_TYPE, TYPE_DIRTY_TRACKING);
    view.setUint8(D_GRANULARITY, entry.granularityBits);
    view.setUint16(D_NAME_BYTES, name.length);
    view.setUint32(D_EXTRA_BYTES, entry.extra.length);
    bytes.set(entry.extra, ENTRY_BYTES);
    bytes.set(name, ENTRY_BYTES + entry.extra.length);
    return bytes;
  });
  const bytes = new Uint8Array(parts.reduce((sum, one) => sum + one.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Where bitmaps lie: their directory, their tables and their clusters. @throws {ImageError} `corrupt`. */
export async function bitmapRegions(file: HostFile, header: Header): Promise<Region[]> {
  const bitmaps = await readBitmaps(file, header);
  if (bitmaps === undefined) return [];
  const regions: Region[] = [bitmaps.directory];
  for (const { table } of bitmaps.entries)
    regions.push(table, ...(await bitmapClusters(file, table, 2 ** header.clusterBits)));
  return regions;
}

async function bitmapClusters(
  file: HostFile,
  { offsetBytes, lengthBytes }: Region,
  clusterBytes: number,
): Promise<Region[]> {
  const bytes = new Uint8Array(lengthBytes);
  await file.read(offsetBytes, bytes);
  const view = viewOf(bytes);
  const regions: Region[] = [];
  for (let at = 0; at < lengthBytes; at += 8) {
    const offset = fromTableEntry(view, at);
    if (offset > ALL_ONES) regions.push({ offsetBytes: offset, lengthBytes: clusterBytes });
  }
  return regions;
}

/** Where a cluster of bits lies; 0: no bit is set, ALL_ONES: all are. */
export function fromTableEntry(view: DataView, at: number): number {
  const low = view.getUint32(at + 4);
  const offset = (view.getUint32(at) & q.HI_OFFSET) * q.TWO_32 + ((low & q.LO_OFFSET) >>> 0);
  return offset === 0 ? low & ALL_ONES : offset;
}

export function setBits(bytes: Uint8Array, from: number, to: number): void {
  for (let bit = from; bit < to; ) {
    if (bit % 8 === 0 && to - bit >= 8) {
      const end = Math.floor(to / 8);
      bytes.fill(0xff, bit / 8, end);
      bit = end * 8;
    } else {
      const at = Math.floor(bit / 8);
      bytes[at] = (bytes[at] ?? 0) | (1 << (bit % 8));
      bit++;
    }
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function number64(view: DataView, at: number): number {
  return view.getUint32(at) * q.TWO_32 + view.getUint32(at + 4);
}
