import { badAt, Fields, readExactly } from '../../blocks/fields.ts';
import { UUID_BYTES } from '../../blocks/uuid.ts';
import { type HostFile, SECTOR_BYTES } from '../../image.ts';
import { checksum, type Footer } from './footer.ts';
import * as v from './layout.ts';

export interface Locator {
  readonly platform: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export interface DynamicHeader {
  readonly tableOffset: number;
  readonly entries: number;
  readonly blockBytes: number;
  /** Of a bit for each sector, before each block. */
  readonly bitmapBytes: number;
  readonly parentUuid: Uint8Array;
  readonly parentName: string;
  readonly locators: readonly Locator[];
}

/** @throws {ImageError} `corrupt`, `unsupported`. */
export async function readDynamicHeader(file: HostFile, footer: Footer): Promise<DynamicHeader> {
  const offsetBytes = footer.dataOffset;
  if (offsetBytes % SECTOR_BYTES !== 0)
    throw badAt('corrupt', file.path, v.F_DATA_OFFSET, `a dynamic header at ${offsetBytes}`);
  const bytes = await readExactly(file, offsetBytes, v.DYNAMIC_BYTES, 'dynamic header');
  const fields = new Fields(bytes, { path: file.path, offsetBytes, littleEndian: false });
  if (fields.text(0, 8) !== v.DYNAMIC_COOKIE)
    throw fields.bad('corrupt', 0, 'no dynamic header is here');
  if (fields.u32(v.D_CHECKSUM) !== checksum(bytes, v.D_CHECKSUM))
    throw fields.bad('corrupt', v.D_CHECKSUM, "the dynamic header's checksum is wrong");
  const blockBytes = fields.u32(v.D_BLOCK_SIZE);
  if (blockBytes < 4096 || blockBytes > 1 << 28 || (blockBytes & (blockBytes - 1)) !== 0)
    throw fields.bad('unsupported', v.D_BLOCK_SIZE, `blocks of ${blockBytes} bytes`);
  const header: DynamicHeader = {
    tableOffset: fields.u64(v.D_TABLE_OFFSET),
    entries: fields.u32(v.D_ENTRIES),
    blockBytes,
    bitmapBytes: bitmapBytesOf(blockBytes),
    parentUuid: bytes.slice(v.D_PARENT_UUID, v.D_PARENT_UUID + UUID_BYTES),
    parentName: new TextDecoder('utf-16be')
      .decode(bytes.subarray(v.D_PARENT_NAME, v.D_PARENT_NAME + v.PARENT_NAME_BYTES))
      .replace(/\0.*$/s, ''),
    locators: locatorsOf(fields),
  };
  if (header.entries * blockBytes < footer.sizeBytes)
    throw fields.bad(
      'corrupt',
      v.D_ENTRIES,
      `${header.entries} blocks do not hold a disk of ${footer.sizeBytes} bytes`,
    );
  const { tableOffset, entries } = header;
  if (tableOffset % SECTOR_BYTES !== 0 || tableOffset + entries * 4 > (await file.size()))
    throw fields.bad('corrupt', v.D_TABLE_OFFSET, `a block table at ${tableOffset}`);
  return header;
}

function bitmapBytesOf(blockBytes: number): number {
  return Math.ceil(blockBytes / SECTOR_BYTES / 8 / SECTOR_BYTES) * SECTOR_BYTES;
}

function locatorsOf(fields: Fields): Locator[] {
  const locators: Locator[] = [];
  for (let index = 0; index < v.LOCATORS; index++) {
    const at = v.D_LOCATORS + index * v.LOCATOR_BYTES;
    if (fields.u32(at) === 0) continue;
    const lengthBytes = fields.u32(at + v.L_LENGTH);
    if (lengthBytes > v.MAX_LOCATOR_LENGTH)
      throw fields.bad('corrupt', at + v.L_LENGTH, `a parent locator of ${lengthBytes} bytes`);
    const platform = fields.text(at, 4);
    locators.push({ platform, lengthBytes, offsetBytes: fields.u64(at + v.L_OFFSET) });
  }
  return locators;
}
