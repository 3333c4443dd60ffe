import { latin1Text } from '#base/latin1.ts';
import { crc32c } from '../../blocks/crc32c.ts';
import { badAt, Fields, readExactly } from '../../blocks/fields.ts';
import { UUID_BYTES, uuidText } from '../../blocks/uuid.ts';
import { type HostFile, ImageError } from '../../image.ts';
import * as v from './layout.ts';

export interface Header {
  readonly bytes: Uint8Array;
  /** Which of the two it is. */
  readonly slot: number;
  readonly sequence: number;
  readonly dataWrite: Uint8Array;
  /** All zeros: the log is empty. */
  readonly logGuid: Uint8Array;
  readonly logOffset: number;
  readonly logBytes: number;
}

export interface Region {
  readonly id: string;
  readonly offset: number;
  readonly length: number;
  readonly required: boolean;
}

/** The header that counts. @throws {ImageError} `bad-format`, `unsupported`, `corrupt`. */
export async function readHeader(file: HostFile): Promise<Header> {
  const start = new Uint8Array(v.SIGNATURE.length);
  await file.read(0, start);
  if (latin1Text(start) !== v.SIGNATURE)
    throw badAt('bad-format', file.path, 0, 'not a VHDX image: the signature is missing');
  const headers: Header[] = [];
  for (const [slot, offset] of v.HEADER_OFFSETS.entries()) {
    const header = parseHeader(await readPart(file, offset, v.HEADER_BYTES), file.path, slot);
    if (header !== undefined) headers.push(header);
  }
  const [first, second] = headers;
  if (first === undefined)
    throw badAt('corrupt', file.path, v.HEADER_OFFSETS[0], 'both headers are damaged');
  return second !== undefined && second.sequence > first.sequence ? second : first;
}

async function readPart(file: HostFile, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  await file.read(offset, bytes);
  return bytes;
}

/** Undefined when it is damaged: the other one counts then. */
function parseHeader(bytes: Uint8Array, path: string, slot: number): Header | undefined {
  const offsetBytes = v.HEADER_OFFSETS[slot] ?? 0;
  const fields = new Fields(bytes, { path, offsetBytes, littleEndian: true });
  if (fields.text(0, 4) !== v.HEADER_SIGNATURE) return undefined;
  if (fields.u32(v.CHECKSUM_AT) !== crc32c(bytes, v.CHECKSUM_AT)) return undefined;
  if (fields.u16(v.H_VERSION) !== 1)
    throw fields.bad('unsupported', v.H_VERSION, `version ${fields.u16(v.H_VERSION)}; 1 is`);
  const guid = (at: number): Uint8Array => bytes.slice(at, at + UUID_BYTES);
  const header = {
    bytes,
    slot,
    sequence: fields.u64(v.H_SEQUENCE),
    dataWrite: guid(v.H_DATA_WRITE),
    logGuid: guid(v.H_LOG_GUID),
    logOffset: fields.u64(v.H_LOG_OFFSET),
    logBytes: fields.u32(v.H_LOG_LENGTH),
  };
  const { logOffset, logBytes } = header;
  if (logOffset % v.MIB !== 0 || logBytes % v.MIB !== 0 || logOffset < v.MIB || logBytes === 0)
    throw fields.bad('corrupt', v.H_LOG_OFFSET, `a log of ${logBytes} bytes at ${logOffset}`);
  if (fields.u16(v.H_LOG_VERSION) !== 0 && header.logGuid.some((byte) => byte !== 0))
    throw fields.bad('unsupported', v.H_LOG_VERSION, 'a log of another version than 0');
  return header;
}

/** The next header, with its checksum. */
export function nextHeader(
  header: Header,
  change: {
    readonly logGuid?: Uint8Array;
    readonly fileWrite?: Uint8Array;
    readonly dataWrite?: Uint8Array;
  },
): Header {
  const bytes = header.bytes.slice();
  const fields = new Fields(bytes, { path: '', littleEndian: true });
  const sequence = header.sequence + 1;
  fields.setU64(v.H_SEQUENCE, sequence);
  if (change.logGuid !== undefined) bytes.set(change.logGuid, v.H_LOG_GUID);
  if (change.fileWrite !== undefined) bytes.set(change.fileWrite, v.H_FILE_WRITE);
  if (change.dataWrite !== undefined) bytes.set(change.dataWrite, v.H_DATA_WRITE);
  fields.setU32(v.CHECKSUM_AT, crc32c(bytes, v.CHECKSUM_AT));
  return {
    ...header,
    bytes,
    slot: 1 - header.slot,
    sequence,
    logGuid: bytes.slice(v.H_LOG_GUID, v.H_LOG_GUID + UUID_BYTES),
    dataWrite: bytes.slice(v.H_DATA_WRITE, v.H_DATA_WRITE + UUID_BYTES),
  };
}

/** The regions, from the table or, when that is damaged, its copy. @throws {ImageError} `corrupt`, `unsupported`. */
export async function readRegions(file: HostFile): Promise<readonly Region[]> {
  let failure: unknown;
  for (const offset of v.REGION_OFFSETS)
    try {
      const bytes = await readExactly(file, offset, v.REGION_TABLE_BYTES, 'region table');
      return parseRegions(bytes, file.path, offset);
    } catch (error) {
      if (!(error instanceof ImageError) || error.kind !== 'corrupt') throw error;
      failure ??= error;
    }
  throw failure;
}

function parseRegions(bytes: Uint8Array, path: string, offsetBytes: number): Region[] {
  const fields = new Fields(bytes, { path, offsetBytes, littleEndian: true });
  if (fields.text(0, 4) !== v.REGION_SIGNATURE)
    throw fields.bad('corrupt', 0, 'no region table is here');
  if (fields.u32(v.CHECKSUM_AT) !== crc32c(bytes, v.CHECKSUM_AT))
    throw fields.bad('corrupt', v.CHECKSUM_AT, "the region table's checksum is wrong");
  const count = fields.u32(v.R_COUNT);
  if (count > v.MAX_REGIONS) throw fields.bad('corrupt', v.R_COUNT, `${count} regions`);
  const regions: Region[] = [];
  for (let index = 0; index < count; index++)
    regions.push(parseRegion(fields, v.R_ENTRIES + index * v.REGION_ENTRY_BYTES));
  for (const id of [v.REGION_BAT, v.REGION_METADATA])
    if (regions.filter((region) => region.id === id).length !== 1)
      throw fields.bad('corrupt', v.R_COUNT, `there is not one region {${id}}`);
  return regions;
}

function parseRegion(fields: Fields, at: number): Region {
  const region = {
    id: uuidText(fields.bytes.subarray(at, at + UUID_BYTES)),
    offset: fields.u64(at + v.E_OFFSET),
    length: fields.u32(at + v.E_LENGTH),
    required: (fields.u32(at + v.E_REQUIRED) & 1) !== 0,
  };
  const { id, offset, length } = region;
  const isKnown = id === v.REGION_BAT || id === v.REGION_METADATA;
  if (!isKnown && region.required)
    throw fields.bad('unsupported', at, `a region {${id}} that readers must know`);
  if (offset % v.MIB !== 0 || length % v.MIB !== 0 || offset < v.MIB || length === 0)
    throw fields.bad('corrupt', at, `a region of ${length} bytes at ${offset}`);
  return region;
}

/** The one region of a kind that must be there. */
export function regionOf(regions: readonly Region[], id: string, path: string): Region {
  const region = regions.find((one) => one.id === id);
  if (region !== undefined) return region;
  throw badAt('corrupt', path, v.REGION_OFFSETS[0], `there is no region {${id}}`);
}
