import { badAt, Fields, readExactly } from '../../blocks/fields.ts';
import { UUID_BYTES } from '../../blocks/uuid.ts';
import { type HostFile, SECTOR_BYTES } from '../../image.ts';
import * as v from './layout.ts';

export interface Header {
  readonly type: number;
  readonly mapOffset: number;
  readonly dataOffset: number;
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly blockExtra: number;
  readonly blocks: number;
  readonly allocated: number;
  readonly uuid: Uint8Array;
  readonly uuidModify: Uint8Array;
  /** All zeros: no parent. */
  readonly uuidParent: Uint8Array;
  readonly uuidParentModify: Uint8Array;
}

/** Parses the first 512 bytes. @throws {ImageError} `bad-format`, `unsupported`, `corrupt`. */
export function parseHeader(bytes: Uint8Array, path: string): Header {
  const fields = new Fields(bytes, { path, littleEndian: true });
  if (fields.u32(v.H_SIGNATURE) !== v.SIGNATURE)
    throw fields.bad('bad-format', v.H_SIGNATURE, 'not a VDI image: the signature is missing');
  const version = fields.u32(v.H_VERSION);
  if (version !== v.VERSION_1_1)
    throw fields.bad('unsupported', v.H_VERSION, `version 0x${version.toString(16)}; 1.1 is`);
  const type = fields.u32(v.H_IMAGE_TYPE);
  if (type < v.TYPE_DYNAMIC || type > v.TYPE_DIFFERENCING || type === v.TYPE_UNDO)
    throw fields.bad(
      'unsupported',
      v.H_IMAGE_TYPE,
      `type ${type}; dynamic, fixed, differencing are`,
    );
  const sectorBytes = fields.u32(v.H_SECTOR_SIZE);
  if (sectorBytes !== SECTOR_BYTES)
    throw fields.bad('unsupported', v.H_SECTOR_SIZE, `sectors of ${sectorBytes} bytes; 512 are`);
  const uuid = (at: number): Uint8Array => bytes.slice(at, at + UUID_BYTES);
  const header: Header = {
    type,
    mapOffset: fields.u32(v.H_MAP_OFFSET),
    dataOffset: fields.u32(v.H_DATA_OFFSET),
    sizeBytes: Math.ceil(fields.u64(v.H_DISK_SIZE) / SECTOR_BYTES) * SECTOR_BYTES,
    blockBytes: fields.u32(v.H_BLOCK_SIZE),
    blockExtra: fields.u32(v.H_BLOCK_EXTRA),
    blocks: fields.u32(v.H_BLOCKS),
    allocated: fields.u32(v.H_ALLOCATED),
    uuid: uuid(v.H_UUID),
    uuidModify: uuid(v.H_UUID_MODIFY),
    uuidParent: uuid(v.H_UUID_PARENT),
    uuidParentModify: uuid(v.H_UUID_PARENT_MODIFY),
  };
  checkShape(fields, header);
  return header;
}

function checkShape(fields: Fields, header: Header): void {
  const { mapOffset, dataOffset, blockBytes, blockExtra, blocks } = header;
  if (blockBytes < 4096 || blockBytes > 1 << 28 || (blockBytes & (blockBytes - 1)) !== 0)
    throw fields.bad(
      'unsupported',
      v.H_BLOCK_SIZE,
      `blocks of ${blockBytes} bytes; powers of 2 are`,
    );
  if (blockExtra % SECTOR_BYTES !== 0 || blockExtra > blockBytes)
    throw fields.bad('corrupt', v.H_BLOCK_EXTRA, `${blockExtra} extra bytes for each block`);
  if (mapOffset % SECTOR_BYTES !== 0 || mapOffset < v.HEADER_BYTES)
    throw fields.bad('corrupt', v.H_MAP_OFFSET, `a block map at ${mapOffset}`);
  if (blocks > v.MAX_BLOCKS || blocks * blockBytes < header.sizeBytes)
    throw fields.bad(
      'corrupt',
      v.H_BLOCKS,
      `${blocks} blocks do not hold a disk of ${header.sizeBytes} bytes`,
    );
  if (dataOffset % SECTOR_BYTES !== 0 || dataOffset < mapOffset + blocks * 4)
    throw fields.bad('corrupt', v.H_DATA_OFFSET, `data at ${dataOffset}, within the block map`);
  // While an image is open, blocks that were freed may not be taken yet.
  if (header.allocated > blocks * 2 + v.MAX_FREED)
    throw fields.bad('corrupt', v.H_ALLOCATED, `${header.allocated} of ${blocks} blocks in use`);
  const hasParent = header.uuidParent.some((byte) => byte !== 0);
  if (hasParent !== (header.type === v.TYPE_DIFFERENCING))
    throw fields.bad(
      'corrupt',
      v.H_UUID_PARENT,
      `a parent and image type ${header.type} contradict`,
    );
}

/** @throws {ImageError} `bad-format`, `unsupported`, `corrupt`. */
export async function readHeader(file: HostFile): Promise<Header> {
  const header = parseHeader(await readExactly(file, 0, v.HEADER_BYTES, 'header'), file.path);
  const mapEnd = header.mapOffset + header.blocks * 4;
  if ((await file.size()) < mapEnd)
    throw badAt('corrupt', file.path, v.H_BLOCKS, 'the file ends within the block map');
  return header;
}
