import { backingOption } from '../../blocks/backing-option.ts';
import { Fields } from '../../blocks/fields.ts';
import { fillU32 } from '../../blocks/tables.ts';
import { randomUuid } from '../../blocks/uuid.ts';
import {
  type CreateRequest,
  type HostFile,
  ImageError,
  SECTOR_BYTES,
  type StorageHost,
} from '../../image.ts';
import { readHeader } from './header.ts';
import * as v from './layout.ts';
import { findParent } from './parent.ts';

interface Layout {
  readonly blocks: number;
  readonly dataOffset: number;
}

export function layoutOf(sizeBytes: number): Layout {
  const blocks = Math.ceil(sizeBytes / v.BLOCK_BYTES);
  if (blocks > v.MAX_NEW_BLOCKS)
    throw new ImageError(
      'bad-option',
      `VDI images that QEMU opens hold at most ${v.MAX_NEW_BLOCKS} MiB (512 TiB); use qcow2`,
    );
  const mapEnd = v.HEADER_BYTES + blocks * 4;
  return { blocks, dataOffset: Math.ceil(mapEnd / v.BLOCK_BYTES) * v.BLOCK_BYTES };
}

export async function create(
  file: HostFile,
  request: CreateRequest,
  host: StorageHost,
): Promise<void> {
  const { blocks, dataOffset } = layoutOf(request.sizeBytes);
  const parentName = backingOption(request, ['vdi']);
  const isFixed = request.options.get('static') === true;
  if (isFixed && parentName !== undefined)
    throw new ImageError('bad-option', 'static and backing_file: a differencing image is dynamic');
  const fields = new Fields(new Uint8Array(v.HEADER_BYTES), { ...file, littleEndian: true });
  fields.setText(0, v.TEXT);
  const numbers = [
    [v.H_SIGNATURE, v.SIGNATURE],
    [v.H_VERSION, v.VERSION_1_1],
    [v.H_HEADER_SIZE, v.HEADER_SIZE],
    [v.H_IMAGE_TYPE, isFixed ? v.TYPE_FIXED : v.TYPE_DYNAMIC],
    [v.H_MAP_OFFSET, v.HEADER_BYTES],
    [v.H_DATA_OFFSET, dataOffset],
    [v.H_SECTOR_SIZE, SECTOR_BYTES],
    [v.H_BLOCK_SIZE, v.BLOCK_BYTES],
    [v.H_BLOCKS, blocks],
    [v.H_ALLOCATED, isFixed ? blocks : 0],
  ] as const;
  for (const [at, value] of numbers) fields.setU32(at, value);
  fields.setU64(v.H_DISK_SIZE, request.sizeBytes);
  fields.bytes.set(randomUuid(), v.H_UUID);
  fields.bytes.set(randomUuid(), v.H_UUID_MODIFY);
  if (parentName !== undefined) await setParent(fields, file, parentName, host);
  const map = { file, offsetBytes: v.HEADER_BYTES, count: blocks, littleEndian: true };
  await fillU32(map, (index) => (isFixed ? index : v.ENTRY_FREE));
  await file.truncate(dataOffset + (isFixed ? blocks * v.BLOCK_BYTES : 0));
  await file.write(0, fields.bytes);
  await file.flush();
}

async function setParent(
  fields: Fields,
  file: HostFile,
  name: string,
  host: StorageHost,
): Promise<void> {
  const parent = await host.openFile(host.resolve(file.path, name));
  try {
    const header = await readHeader(parent);
    fields.setU32(v.H_IMAGE_TYPE, v.TYPE_DIFFERENCING);
    fields.bytes.set(header.uuid, v.H_UUID_PARENT);
    fields.bytes.set(header.uuidModify, v.H_UUID_PARENT_MODIFY);
    // Opening will search: it fails here rather than then.
    await findParent(file, { ...header, uuidParent: header.uuid }, host);
  } finally {
    await parent.close();
  }
}
