import { latin1Text } from '#base/latin1.ts';
import { Fields, readExactly } from '../../blocks/fields.ts';
import { type HostFile, SECTOR_BYTES } from '../../image.ts';
import * as v from './layout.ts';

export interface Header {
  readonly sizeBytes: number;
  readonly clusterBytes: number;
  readonly entries: number;
  /** Bytes that 1 in the table stands for. */
  readonly entryUnit: number;
  readonly dataOffset: number;
  readonly inUse: boolean;
}

export function isParallels(head: Uint8Array): boolean {
  const magic = latin1Text(head.subarray(0, 16));
  return magic === v.MAGIC || magic === v.MAGIC_EXT;
}

/** Whether this is a bundle's descriptor, in UTF-8, perhaps with its mark. */
export function isBundle(head: Uint8Array): boolean {
  const text = latin1Text(head.subarray(0, 1024));
  return /^(\xef\xbb\xbf)?\s*(<\?xml[^>]*\?>\s*)?<Parallels_disk_image\b/.test(text);
}

/** @throws {ImageError} `bad-format`, `unsupported`, `corrupt`. */
export async function readHeader(file: HostFile): Promise<Header> {
  const bytes = await readExactly(file, 0, v.HEADER_BYTES, 'header');
  const fields = new Fields(bytes, { path: file.path, littleEndian: true });
  if (!isParallels(bytes))
    throw fields.bad('bad-format', 0, 'not a Parallels image: the magic number is missing');
  const version = fields.u32(v.H_VERSION);
  if (version !== v.VERSION)
    throw fields.bad('unsupported', v.H_VERSION, `version ${version}; 2 is`);
  const clusterBytes = fields.u32(v.H_CLUSTER) * SECTOR_BYTES;
  if (clusterBytes === 0 || clusterBytes > v.MAX_CLUSTER_BYTES)
    throw fields.bad('corrupt', v.H_CLUSTER, `clusters of ${clusterBytes} bytes`);
  const isExt = fields.text(0, 16) === v.MAGIC_EXT;
  const sectors = isExt ? fields.u64(v.H_SECTORS) : fields.u32(v.H_SECTORS);
  const entries = fields.u32(v.H_ENTRIES);
  const tableEnd = v.HEADER_BYTES + entries * 4;
  if (sectors * SECTOR_BYTES > entries * clusterBytes)
    throw fields.bad('corrupt', v.H_ENTRIES, `${entries} clusters do not hold ${sectors} sectors`);
  if (tableEnd > (await file.size()))
    throw fields.bad('corrupt', v.H_ENTRIES, 'the file ends within the block table');
  const dataOffset = fields.u32(v.H_DATA) * SECTOR_BYTES;
  const tableRoom = Math.ceil(tableEnd / SECTOR_BYTES) * SECTOR_BYTES;
  if (dataOffset !== 0 && dataOffset < tableEnd)
    throw fields.bad('corrupt', v.H_DATA, `data at ${dataOffset}, within the block table`);
  return {
    sizeBytes: sectors * SECTOR_BYTES,
    clusterBytes,
    entries,
    entryUnit: isExt ? clusterBytes : SECTOR_BYTES,
    dataOffset: dataOffset === 0 ? tableRoom : dataOffset,
    inUse: fields.u32(v.H_IN_USE) === v.IN_USE,
  };
}
