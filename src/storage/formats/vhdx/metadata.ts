import { badAt, Fields, readExactly } from '../../blocks/fields.ts';
import { UUID_BYTES, uuidText } from '../../blocks/uuid.ts';
import { type HostFile, SECTOR_BYTES } from '../../image.ts';
import type { Region } from './header.ts';
import * as v from './layout.ts';

export interface Metadata {
  readonly sizeBytes: number;
  /** Where in the file the size stands. */
  readonly sizeAt: number;
  readonly blockBytes: number;
  readonly leavesAllocated: boolean;
  readonly sectorBytes: number;
  /** Keys and values of the parent locator; undefined: no parent. */
  readonly parent: ReadonlyMap<string, string> | undefined;
  /** Where in the file `parent_linkage` stands, the parent's state as a GUID in braces; undefined: there is none of that length. */
  readonly linkageAt?: number | undefined;
}

/** Of a GUID in braces, in UTF-16. */
const LINKAGE_BYTES = 38 * 2;

interface Item {
  readonly id: string;
  readonly offset: number;
  readonly length: number;
  readonly required: boolean;
}

const LENGTHS: ReadonlyMap<string, number> = new Map([
  [v.ITEM_PARAMETERS, 8],
  [v.ITEM_SIZE, 8],
  [v.ITEM_DISK_ID, 16],
  [v.ITEM_LOGICAL_SECTOR, 4],
  [v.ITEM_PHYSICAL_SECTOR, 4],
]);

/** What the metadata region says of the disk. @throws {ImageError} `corrupt`, `unsupported`. */
export async function readMetadata(file: HostFile, region: Region): Promise<Metadata> {
  const table = await readExactly(file, region.offset, v.METADATA_TABLE_BYTES, 'metadata table');
  const items = parseItems(table, file.path, region);
  const itemOf = async (id: string): Promise<Fields> => {
    const item = items.find((one) => one.id === id);
    if (item === undefined)
      throw badAt('corrupt', file.path, region.offset, `there is no metadata item {${id}}`);
    const offsetBytes = region.offset + item.offset;
    const bytes = await readExactly(file, offsetBytes, item.length, 'metadata');
    return new Fields(bytes, { path: file.path, offsetBytes, littleEndian: true });
  };
  const parameters = await itemOf(v.ITEM_PARAMETERS);
  const flags = parameters.u32(4);
  const size = await itemOf(v.ITEM_SIZE);
  const sector = await itemOf(v.ITEM_LOGICAL_SECTOR);
  const hasParent = (flags & v.HAS_PARENT) !== 0;
  const locator = hasParent ? parseLocator(await itemOf(v.ITEM_PARENT)) : undefined;
  const metadata = {
    sizeBytes: size.u64(0),
    sizeAt: size.offsetBytes,
    blockBytes: parameters.u32(0),
    leavesAllocated: (flags & v.LEAVE_ALLOCATED) !== 0,
    sectorBytes: sector.u32(0),
    parent: locator?.values,
    linkageAt: locator?.linkageAt,
  };
  const { blockBytes, sectorBytes, sizeBytes } = metadata;
  if (blockBytes < v.MIB || blockBytes > 256 * v.MIB || (blockBytes & (blockBytes - 1)) !== 0)
    throw parameters.bad('corrupt', 0, `blocks of ${blockBytes} bytes`);
  if (sectorBytes !== SECTOR_BYTES && sectorBytes !== 4096)
    throw sector.bad('corrupt', 0, `sectors of ${sectorBytes} bytes`);
  if (sizeBytes % sectorBytes !== 0 || sizeBytes > v.MAX_SIZE_BYTES)
    throw size.bad('corrupt', 0, `a disk of ${sizeBytes} bytes`);
  return metadata;
}

function parseItems(table: Uint8Array, path: string, region: Region): Item[] {
  const fields = new Fields(table, { path, offsetBytes: region.offset, littleEndian: true });
  if (fields.text(0, 8) !== v.METADATA_SIGNATURE)
    throw fields.bad('corrupt', 0, 'no metadata table is here');
  const count = fields.u16(v.M_COUNT);
  if (count > v.MAX_ITEMS) throw fields.bad('corrupt', v.M_COUNT, `${count} metadata items`);
  const items: Item[] = [];
  for (let index = 0; index < count; index++) {
    const at = v.M_ENTRIES + index * v.METADATA_ENTRY_BYTES;
    const item = {
      id: uuidText(table.subarray(at, at + UUID_BYTES)),
      offset: fields.u32(at + v.I_OFFSET),
      length: fields.u32(at + v.I_LENGTH),
      required: (fields.u32(at + v.I_FLAGS) & v.FLAG_REQUIRED) !== 0,
    };
    checkItem(fields, at, item, region);
    items.push(item);
  }
  return items;
}

function checkItem(fields: Fields, at: number, item: Item, region: Region): void {
  const { id, offset, length } = item;
  const expected = LENGTHS.get(id);
  if (expected === undefined && id !== v.ITEM_PARENT) {
    if (item.required)
      throw fields.bad('unsupported', at, `metadata {${id}} that readers must know`);
    return;
  }
  const isWithin = offset >= v.METADATA_TABLE_BYTES && offset + length <= region.length;
  if (!isWithin || length > v.MIB || length !== (expected ?? length))
    throw fields.bad('corrupt', at, `metadata {${id}} of ${length} bytes at ${offset}`);
}

/** Keys and values in UTF-16 (2.6.2.6). */
function parseLocator(fields: Fields): {
  values: Map<string, string>;
  linkageAt: number | undefined;
} {
  if (fields.bytes.length < v.LOCATOR_ENTRIES)
    throw fields.bad('corrupt', 0, 'the parent locator is too short');
  const type = uuidText(fields.bytes.subarray(0, UUID_BYTES));
  if (type !== v.LOCATOR_TYPE)
    throw fields.bad('unsupported', 0, `a parent locator of type {${type}}`);
  const count = fields.u16(v.LOCATOR_COUNT);
  if (v.LOCATOR_ENTRIES + count * v.LOCATOR_ENTRY_BYTES > fields.bytes.length)
    throw fields.bad('corrupt', v.LOCATOR_COUNT, `${count} entries in the parent locator`);
  const values = new Map<string, string>();
  let linkageAt: number | undefined;
  for (let index = 0; index < count; index++) {
    const at = v.LOCATOR_ENTRIES + index * v.LOCATOR_ENTRY_BYTES;
    const text = (offsetAt: number, lengthAt: number): string => {
      const offset = fields.u32(offsetAt);
      const length = fields.u16(lengthAt);
      if (offset + length > fields.bytes.length)
        throw fields.bad('corrupt', offsetAt, 'the parent locator ends within a text');
      return new TextDecoder('utf-16le').decode(fields.bytes.subarray(offset, offset + length));
    };
    const key = text(at, at + 8);
    values.set(key, text(at + 4, at + 10));
    if (key === 'parent_linkage' && fields.u16(at + 10) === LINKAGE_BYTES)
      linkageAt = fields.offsetBytes + fields.u32(at + 4);
  }
  return { values, linkageAt };
}

/** As VHDX keeps its texts: little-endian. */
export function utf16(text: string): Uint8Array {
  const view = new DataView(new ArrayBuffer(text.length * 2));
  for (let at = 0; at < text.length; at++) view.setUint16(at * 2, text.charCodeAt(at), true);
  return new Uint8Array(view.buffer);
}
