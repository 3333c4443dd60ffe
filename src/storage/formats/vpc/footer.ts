import { latin1Text } from '#base/latin1.ts';
import { Fields } from '../../blocks/fields.ts';
import { UUID_BYTES } from '../../blocks/uuid.ts';
import { type HostFile, ImageError, SECTOR_BYTES } from '../../image.ts';
import { type Geometry, geometryOf, sectorsIn } from './geometry.ts';
import * as v from './layout.ts';

// Nothing else in a footer says whether size or geometry counts: these are names that readers know.
const EXACT_CREATOR = 'qem2';
const GEOMETRY_CREATOR = 'qemu';

export interface Footer {
  readonly bytes: Uint8Array;
  readonly type: number;
  readonly dataOffset: number;
  readonly sizeBytes: number;
  readonly uuid: Uint8Array;
  readonly timestamp: number;
}

export function isFooter(bytes: Uint8Array): boolean {
  return Array.from(v.COOKIE).every((char, at) => bytes[at] === char.charCodeAt(0));
}

/** One's complement of the sum of all bytes, those of the checksum left out. */
export function checksum(bytes: Uint8Array, at: number): number {
  let sum = 0;
  for (const [index, byte] of bytes.entries()) if (index < at || index >= at + 4) sum += byte;
  return ~sum >>> 0;
}

/** @throws {ImageError} `bad-format`, `unsupported`, `corrupt`. */
function parseFooter(bytes: Uint8Array, path: string, offsetBytes: number): Footer {
  const fields = new Fields(bytes, { path, offsetBytes, littleEndian: false });
  if (!isFooter(bytes)) throw fields.bad('bad-format', 0, 'not a VHD image: no footer is here');
  if (fields.u32(v.F_CHECKSUM) !== checksum(bytes, v.F_CHECKSUM))
    throw fields.bad('corrupt', v.F_CHECKSUM, "the footer's checksum is wrong");
  if (fields.u32(v.F_VERSION) >>> 16 !== 1)
    throw fields.bad('unsupported', v.F_VERSION, 'a VHD version other than 1');
  const type = fields.u32(v.F_TYPE);
  if (type < v.TYPE_FIXED || type > v.TYPE_DIFFERENCING)
    throw fields.bad('unsupported', v.F_TYPE, `type ${type}; fixed, dynamic, differencing are`);
  return {
    bytes,
    type,
    dataOffset: type === v.TYPE_FIXED ? 0 : fields.u64(v.F_DATA_OFFSET),
    sizeBytes: sizeOf(fields),
    uuid: bytes.slice(v.F_UUID, v.F_UUID + UUID_BYTES),
    timestamp: fields.u32(v.F_TIMESTAMP),
  };
}

/** Virtual PC goes by the geometry, other programs by the size: who made the image tells. */
function sizeOf(fields: Fields): number {
  const geometry: Geometry = {
    cylinders: fields.u16(v.F_CYLINDERS),
    heads: fields.view.getUint8(v.F_HEADS),
    sectors: fields.view.getUint8(v.F_SECTORS),
  };
  const creator = latin1Text(fields.bytes.subarray(v.F_CREATOR, v.F_CREATOR + 4));
  const byGeometry = !v.SIZE_CREATORS.includes(creator);
  const sizeBytes =
    byGeometry && sectorsIn(geometry) !== v.MAX_CHS_SECTORS
      ? sectorsIn(geometry) * SECTOR_BYTES
      : Math.floor(fields.u64(v.F_SIZE) / SECTOR_BYTES) * SECTOR_BYTES;
  if (sizeBytes > v.MAX_SIZE_BYTES)
    throw fields.bad('corrupt', v.F_SIZE, `a disk of ${sizeBytes} bytes; VHD ends at 2040 GiB`);
  return sizeBytes;
}

/** The footer of a disk that gets another size; from now on the size counts, not the geometry. */
export function resizedFooter(footer: Footer, sizeBytes: number): Footer {
  const fields = new Fields(footer.bytes.slice(), { path: '', littleEndian: false });
  fields.setText(v.F_CREATOR, EXACT_CREATOR);
  fields.setU64(v.F_SIZE, sizeBytes);
  setGeometry(fields, sizeBytes);
  fields.setU32(v.F_CHECKSUM, checksum(fields.bytes, v.F_CHECKSUM));
  return { ...footer, bytes: fields.bytes, sizeBytes };
}

function setGeometry(fields: Fields, sizeBytes: number): void {
  const { cylinders, heads, sectors } = geometryOf(sizeBytes / SECTOR_BYTES);
  fields.setU16(v.F_CYLINDERS, cylinders);
  fields.bytes[v.F_HEADS] = heads;
  fields.bytes[v.F_SECTORS] = sectors;
}

export interface NewFooter {
  readonly type: number;
  readonly dataOffset: number | undefined;
  readonly sizeBytes: number;
  readonly byGeometry: boolean;
  readonly uuid: Uint8Array;
  readonly nowMs: number;
}

export function makeFooter(from: NewFooter): Uint8Array {
  const fields = new Fields(new Uint8Array(v.FOOTER_BYTES), { path: '', littleEndian: false });
  fields.setText(0, v.COOKIE);
  fields.setU32(v.F_FEATURES, v.FEATURES_RESERVED);
  fields.setU32(v.F_VERSION, v.VERSION_1);
  fields.setU32(v.F_DATA_OFFSET, from.dataOffset === undefined ? v.NOWHERE : 0);
  fields.setU32(v.F_DATA_OFFSET + 4, from.dataOffset ?? v.NOWHERE);
  fields.setU32(v.F_TIMESTAMP, Math.max(0, Math.floor(from.nowMs / 1000) - v.EPOCH_2000));
  fields.setText(v.F_CREATOR, from.byGeometry ? GEOMETRY_CREATOR : EXACT_CREATOR);
  fields.setU32(v.F_CREATOR_VERSION, 0x0005_0003);
  fields.setText(v.F_CREATOR_HOST, 'Wi2k');
  fields.setU64(v.F_ORIGINAL_SIZE, from.sizeBytes);
  fields.setU64(v.F_SIZE, from.sizeBytes);
  setGeometry(fields, from.sizeBytes);
  fields.setU32(v.F_TYPE, from.type);
  fields.bytes.set(from.uuid, v.F_UUID);
  fields.setU32(v.F_CHECKSUM, checksum(fields.bytes, v.F_CHECKSUM));
  return fields.bytes;
}

/** The footer at the file's end or, of dynamic images that lost it, the copy at the start. */
export async function readFooter(file: HostFile): Promise<Footer> {
  const fileBytes = await file.size();
  const last = Math.max(0, fileBytes - v.FOOTER_BYTES);
  const end = new Uint8Array(v.FOOTER_BYTES);
  await file.read(last, end);
  const start = new Uint8Array(v.FOOTER_BYTES);
  await file.read(0, start);
  // A fixed image starts with the disk, where a guest may have written anything.
  if (isFooter(end)) {
    try {
      return parseFooter(end, file.path, last);
    } catch (error) {
      if (!(error instanceof ImageError) || error.kind !== 'corrupt' || !isFooter(start))
        throw error;
    }
  }
  const footer = parseFooter(start, file.path, 0);
  if (footer.type !== v.TYPE_FIXED) return footer;
  throw new ImageError('corrupt', `${file.path}: at 0: a fixed image has its footer at its end`, {
    path: file.path,
    offsetBytes: 0,
  });
}
