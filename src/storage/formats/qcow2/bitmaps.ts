import { type HostFile, ImageError } from '../../image.ts';
import type { Header } from './header.ts';
import * as q from './layout.ts';

// Fields of the bitmaps extension and of a directory entry (qcow2.txt, "Bitmaps extension", "Bitmap directory").
const X_DIRECTORY_BYTES = 8;
const X_DIRECTORY_OFFSET = 16;
const EXTENSION_BYTES = 24;
const D_TABLE_ENTRIES = 8;
const D_FLAGS = 12;
const D_GRANULARITY = 17;
const D_NAME_BYTES = 18;
const D_EXTRA_BYTES = 20;
const ENTRY_BYTES = 24;

const MAX_DIRECTORY_BYTES = 64 << 20;
const MAX_TABLE_ENTRIES = 8 << 20;
const MAX_GRANULARITY_BITS = 31; // QEMU's limit

export interface Region {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** An entry of the directory. */
export interface BitmapEntry {
  /** Where in the host file its flags stand. */
  readonly flagsOffset: number;
  readonly flags: number;
  readonly table: Region;
  /** A bit stands for 2 to the power of this bytes. */
  readonly granularityBits: number;
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
    entries.push({
      flagsOffset: directory.offsetBytes + at + D_FLAGS,
      flags: fields.getUint32(at + D_FLAGS),
      table: { offsetBytes, lengthBytes: tableEntries * 8 },
      granularityBits,
    });
    const names = fields.getUint16(at + D_NAME_BYTES) + fields.getUint32(at + D_EXTRA_BYTES);
    at += Math.ceil((ENTRY_BYTES + names) / 8) * 8;
  }
  return { directory, entries };
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
    // Bit 0 without an offset means that all of the part's bits are set.
    const high = view.getUint32(at) & q.HI_OFFSET;
    const offset = high * q.TWO_32 + ((view.getUint32(at + 4) & q.LO_OFFSET) >>> 0);
    if (offset !== 0) regions.push({ offsetBytes: offset, lengthBytes: clusterBytes });
  }
  return regions;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function number64(view: DataView, at: number): number {
  return view.getUint32(at) * q.TWO_32 + view.getUint32(at + 4);
}
