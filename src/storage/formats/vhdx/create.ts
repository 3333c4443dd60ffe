import { backingOption } from '../../blocks/backing-option.ts';
import { crc32c } from '../../blocks/crc32c.ts';
import { Fields } from '../../blocks/fields.ts';
import { randomUuid, uuidBytes, uuidText } from '../../blocks/uuid.ts';
import {
  type CreateRequest,
  type HostFile,
  ImageError,
  SECTOR_BYTES,
  type StorageHost,
} from '../../image.ts';
import { batOf } from './bat.ts';
import * as v from './layout.ts';
import { utf16 } from './metadata.ts';
import { dataWriteOf } from './parent.ts';

/** Items of a fixed place in the metadata region. */
const ITEM_AT = v.METADATA_TABLE_BYTES;
const PARENT_AT = ITEM_AT + 4096;
const PHYSICAL_SECTOR_BYTES = 4096;

export interface Plan {
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly isFixed: boolean;
  readonly logBytes: number;
  readonly batOffset: number;
  readonly batBytes: number;
  readonly units: number;
  readonly dataOffset: number;
  readonly backing: string | undefined;
}

/** @throws {ImageError} `bad-option`. */
export function planOf(request: CreateRequest): Plan {
  const { sizeBytes, options } = request;
  const subformat = options.get('subformat') ?? 'dynamic';
  if (subformat !== 'dynamic' && subformat !== 'fixed')
    throw new ImageError('bad-option', `subformat: '${subformat}'; there are dynamic and fixed`);
  const isFixed = subformat === 'fixed';
  const backing = backingOption(request, ['vhdx']);
  if (backing !== undefined && isFixed)
    throw new ImageError('bad-option', 'subformat and backing_file: differencing images grow');
  if (sizeBytes > v.MAX_SIZE_BYTES)
    throw new ImageError('bad-option', 'VHDX images hold at most 64 TiB');
  const blockBytes = blockBytesOf(sizeBytes, options.get('block_size'), backing !== undefined);
  const logBytes = Number(options.get('log_size') ?? 0) || v.MIB;
  if (logBytes % v.MIB !== 0 || logBytes > 64 * v.MIB)
    throw new ImageError('bad-option', `log_size: ${logBytes}; whole MiB up to 64 MiB are`);
  // Headers, log, metadata, BAT, then blocks: the BAT has room to its last MiB.
  const batOffset = 2 * v.MIB + logBytes;
  const parent = backing === undefined ? undefined : new Map<string, string>();
  const shape = { sizeBytes, blockBytes, sectorBytes: SECTOR_BYTES, parent };
  const { entries, units, chunkRatio } = batOf(shape, batOffset);
  const none = units === 0 && backing === undefined ? entriesOfNone(chunkRatio) : 0;
  const room = none * v.ENTRY_BYTES <= MOST_OF_NONE ? Math.max(none, entries) : entries;
  const batBytes = Math.max(1, Math.ceil((room * v.ENTRY_BYTES) / v.MIB)) * v.MIB;
  const dataOffset = batOffset + batBytes;
  return {
    ...{ sizeBytes, blockBytes, isFixed, logBytes, batOffset, batBytes, units, dataOffset },
    backing,
  };
}

/** Blocks above 8 MiB would need more, up to 2 GiB: QEMU does not open such disks of 0 bytes. */
const MOST_OF_NONE = 64 * v.MIB;

/** What QEMU wants room for where there are no units: it counts one less than none, in 32 bits. Its own images have it too. */
function entriesOfNone(chunkRatio: number): number {
  return Math.floor(0xffff_ffff / chunkRatio);
}

/** Small for small disks, so that little is taken; large for large ones, so that the BAT stays small. */
function blockBytesOf(
  sizeBytes: number,
  wanted: string | number | boolean | undefined,
  isDifferencing: boolean,
): number {
  const asked = Number(wanted ?? 0);
  if (asked !== 0) {
    if (asked < v.MIB || asked > 256 * v.MIB || !Number.isInteger(Math.log2(asked)))
      throw new ImageError('bad-option', `block_size: ${asked}; powers of 2 from 1M to 256M are`);
    return asked;
  }
  if (isDifferencing) return 2 * v.MIB;
  if (sizeBytes > 32 * 2 ** 40) return 64 * v.MIB;
  if (sizeBytes > 100 * 2 ** 30) return 32 * v.MIB;
  return sizeBytes > 2 ** 30 ? 16 * v.MIB : 8 * v.MIB;
}

export async function create(
  file: HostFile,
  request: CreateRequest,
  host: StorageHost,
): Promise<void> {
  const plan = planOf(request);
  const parent = plan.backing === undefined ? undefined : await locatorOf(file, plan.backing, host);
  await file.truncate(plan.dataOffset + (plan.isFixed ? plan.units * plan.blockBytes : 0));
  await writeMetadata(file, plan, parent);
  if (plan.isFixed) await writeFixedBat(file, plan);
  for (const offset of v.REGION_OFFSETS) await file.write(offset, regionTable(plan));
  for (const [slot, offset] of v.HEADER_OFFSETS.entries())
    await file.write(offset, header(plan, slot));
  await file.write(0, identifier());
  await file.flush();
}

function identifier(): Uint8Array {
  const fields = newFields(v.CREATOR_AT + 512);
  fields.setText(0, v.SIGNATURE);
  fields.bytes.set(utf16('ring0'), v.CREATOR_AT);
  return fields.bytes;
}

function header(plan: Plan, slot: number): Uint8Array {
  const fields = newFields(v.HEADER_BYTES);
  fields.setText(0, v.HEADER_SIGNATURE);
  fields.setU64(v.H_SEQUENCE, slot + 1);
  fields.bytes.set(randomUuid(), v.H_FILE_WRITE);
  fields.bytes.set(randomUuid(), v.H_DATA_WRITE);
  fields.setU16(v.H_VERSION, 1);
  fields.setU32(v.H_LOG_LENGTH, plan.logBytes);
  fields.setU64(v.H_LOG_OFFSET, v.MIB);
  fields.setU32(v.CHECKSUM_AT, crc32c(fields.bytes, v.CHECKSUM_AT));
  return fields.bytes;
}

function regionTable(plan: Plan): Uint8Array {
  const fields = newFields(v.REGION_TABLE_BYTES);
  fields.setText(0, v.REGION_SIGNATURE);
  const regions = [
    [v.REGION_BAT, plan.batOffset, plan.batBytes],
    [v.REGION_METADATA, plan.batOffset - v.MIB, v.MIB],
  ] as const;
  fields.setU32(v.R_COUNT, regions.length);
  for (const [index, [id, offset, length]] of regions.entries()) {
    const at = v.R_ENTRIES + index * v.REGION_ENTRY_BYTES;
    fields.bytes.set(uuidBytes(id), at);
    fields.setU64(at + v.E_OFFSET, offset);
    fields.setU32(at + v.E_LENGTH, length);
    fields.setU32(at + v.E_REQUIRED, 1);
  }
  fields.setU32(v.CHECKSUM_AT, crc32c(fields.bytes, v.CHECKSUM_AT));
  return fields.bytes;
}

async function writeMetadata(
  file: HostFile,
  plan: Plan,
  parent: Uint8Array | undefined,
): Promise<void> {
  const fields = newFields(PARENT_AT + (parent?.length ?? 0));
  const flags = (plan.isFixed ? v.LEAVE_ALLOCATED : 0) | (parent === undefined ? 0 : v.HAS_PARENT);
  fields.setText(0, v.METADATA_SIGNATURE);
  const items: [string, number, number, number][] = [
    [v.ITEM_PARAMETERS, ITEM_AT, 8, v.FLAG_REQUIRED],
    [v.ITEM_SIZE, ITEM_AT + 8, 8, v.FLAG_REQUIRED | v.FLAG_VIRTUAL_DISK],
    [v.ITEM_DISK_ID, ITEM_AT + 16, 16, v.FLAG_REQUIRED | v.FLAG_VIRTUAL_DISK],
    [v.ITEM_LOGICAL_SECTOR, ITEM_AT + 32, 4, v.FLAG_REQUIRED | v.FLAG_VIRTUAL_DISK],
    [v.ITEM_PHYSICAL_SECTOR, ITEM_AT + 36, 4, v.FLAG_REQUIRED | v.FLAG_VIRTUAL_DISK],
  ];
  if (parent !== undefined) {
    items.push([v.ITEM_PARENT, PARENT_AT, parent.length, v.FLAG_REQUIRED]);
    fields.bytes.set(parent, PARENT_AT);
  }
  fields.setU16(v.M_COUNT, items.length);
  for (const [index, [id, offset, length, itemFlags]] of items.entries()) {
    const at = v.M_ENTRIES + index * v.METADATA_ENTRY_BYTES;
    fields.bytes.set(uuidBytes(id), at);
    fields.setU32(at + v.I_OFFSET, offset);
    fields.setU32(at + v.I_LENGTH, length);
    fields.setU32(at + v.I_FLAGS, itemFlags);
  }
  fields.setU32(ITEM_AT, plan.blockBytes);
  fields.setU32(ITEM_AT + 4, flags);
  fields.setU64(ITEM_AT + 8, plan.sizeBytes);
  fields.bytes.set(randomUuid(), ITEM_AT + 16);
  fields.setU32(ITEM_AT + 32, SECTOR_BYTES);
  fields.setU32(ITEM_AT + 36, PHYSICAL_SECTOR_BYTES);
  await file.write(plan.batOffset - v.MIB, fields.bytes);
}

async function writeFixedBat(file: HostFile, plan: Plan): Promise<void> {
  const fields = newFields(plan.batBytes);
  const shape = { ...plan, sectorBytes: SECTOR_BYTES, parent: undefined };
  const { chunkRatio } = batOf(shape, 0);
  for (let unit = 0; unit < plan.units; unit++) {
    const at = (unit + Math.floor(unit / chunkRatio)) * v.ENTRY_BYTES;
    fields.setU64(at, plan.dataOffset + unit * plan.blockBytes + v.FULLY_PRESENT);
  }
  await file.write(plan.batOffset, fields.bytes);
}

/** Which image the parent is and where, as keys and values. */
async function locatorOf(file: HostFile, name: string, host: StorageHost): Promise<Uint8Array> {
  const guid = await dataWriteOf(host.resolve(file.path, name), host);
  if (guid === undefined)
    throw new ImageError('bad-option', `backing_file: ${name} is not a VHDX image`);
  const windows = name.replaceAll('/', '\\');
  const isAbsolute = name.startsWith('/');
  const values: [string, string][] = [
    ['parent_linkage', `{${uuidText(guid)}}`],
    [isAbsolute ? 'absolute_win32_path' : 'relative_path', isAbsolute ? windows : `.\\${windows}`],
  ];
  const texts = values.flatMap(([key, value]) => [utf16(key), utf16(value)]);
  const entriesEnd = v.LOCATOR_ENTRIES + values.length * v.LOCATOR_ENTRY_BYTES;
  const fields = newFields(texts.reduce((sum, text) => sum + text.length, entriesEnd));
  fields.bytes.set(uuidBytes(v.LOCATOR_TYPE), 0);
  fields.setU16(v.LOCATOR_COUNT, values.length);
  let end = entriesEnd;
  for (const [index, text] of texts.entries()) {
    const at = v.LOCATOR_ENTRIES + Math.floor(index / 2) * v.LOCATOR_ENTRY_BYTES;
    fields.setU32(at + (index % 2) * 4, end);
    fields.setU16(at + 8 + (index % 2) * 2, text.length);
    fields.bytes.set(text, end);
    end += text.length;
  }
  return fields.bytes;
}

function newFields(lengthBytes: number): Fields {
  return new Fields(new Uint8Array(lengthBytes), { path: '', littleEndian: true });
}
