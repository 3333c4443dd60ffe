import { Fields, readExactly } from '../../blocks/fields.ts';
import { type HostFile, SECTOR_BYTES } from '../../image.ts';
import * as v from './layout.ts';

export interface Header {
  readonly bytes: Uint8Array;
  readonly clusterBytes: number;
  readonly headerBytes: number;
  readonly tableBytes: number;
  /** Of each table. */
  readonly entries: number;
  readonly l1Offset: number;
  readonly sizeBytes: number;
  readonly needsCheck: boolean;
  readonly backingName: string | undefined;
  /** Undefined: the image does not say. */
  readonly backingFormat: string | undefined;
}

export function maxSize(clusterBytes: number, tableBytes: number): number {
  return (tableBytes / v.ENTRY_BYTES) ** 2 * clusterBytes;
}

/** @throws {ImageError} `bad-format`, `unsupported`, `corrupt`. */
export async function readHeader(file: HostFile): Promise<Header> {
  const bytes = await readExactly(file, 0, v.HEADER_BYTES, 'header');
  const fields = new Fields(bytes, { path: file.path, littleEndian: true });
  if (fields.u32(0) !== v.MAGIC)
    throw fields.bad('bad-format', 0, 'not a QED image: the magic number is missing');
  const clusterBytes = fields.u32(v.H_CLUSTER);
  const isPower = (clusterBytes & (clusterBytes - 1)) === 0;
  if (!isPower || clusterBytes < v.MIN_CLUSTER_BYTES || clusterBytes > v.MAX_CLUSTER_BYTES)
    throw fields.bad('corrupt', v.H_CLUSTER, `clusters of ${clusterBytes} bytes`);
  const tableClusters = fields.u32(v.H_TABLE);
  if (tableClusters < 1 || tableClusters > v.MAX_TABLE_CLUSTERS || !isPowerOf2(tableClusters))
    throw fields.bad('corrupt', v.H_TABLE, `tables of ${tableClusters} clusters`);
  const [features, unknown] = [fields.u32(v.H_FEATURES), fields.u32(v.H_FEATURES + 4)];
  const known = v.FEATURE_BACKING | v.FEATURE_NEED_CHECK | v.FEATURE_BACKING_RAW;
  if ((features & ~known) !== 0 || unknown !== 0)
    throw fields.bad('unsupported', v.H_FEATURES, 'features newer than this program');
  const tableBytes = tableClusters * clusterBytes;
  const hasBacking = (features & v.FEATURE_BACKING) !== 0;
  const header: Header = {
    bytes,
    clusterBytes,
    tableBytes,
    headerBytes: fields.u32(v.H_HEADER) * clusterBytes,
    entries: tableBytes / v.ENTRY_BYTES,
    l1Offset: fields.u64(v.H_L1),
    sizeBytes: fields.u64(v.H_SIZE),
    needsCheck: (features & v.FEATURE_NEED_CHECK) !== 0,
    backingName: hasBacking ? await readBackingName(file, fields) : undefined,
    backingFormat: (features & v.FEATURE_BACKING_RAW) === 0 ? undefined : 'raw',
  };
  await checkShape(file, fields, header);
  return header;
}

function isPowerOf2(value: number): boolean {
  return (value & (value - 1)) === 0;
}

async function readBackingName(file: HostFile, fields: Fields): Promise<string> {
  const offset = fields.u32(v.H_BACKING_OFFSET);
  const length = fields.u32(v.H_BACKING_BYTES);
  if (length > v.MAX_BACKING_BYTES || length === 0)
    throw fields.bad('corrupt', v.H_BACKING_BYTES, `a backing file's name of ${length} bytes`);
  return new TextDecoder().decode(await readExactly(file, offset, length, "backing file's name"));
}

async function checkShape(file: HostFile, fields: Fields, header: Header): Promise<void> {
  const { l1Offset, clusterBytes, tableBytes, sizeBytes, headerBytes } = header;
  if (headerBytes === 0 || headerBytes > v.MAX_CLUSTER_BYTES)
    throw fields.bad('corrupt', v.H_HEADER, `a header of ${headerBytes} bytes`);
  if (sizeBytes % SECTOR_BYTES !== 0 || sizeBytes > maxSize(clusterBytes, tableBytes))
    throw fields.bad('corrupt', v.H_SIZE, `a disk of ${sizeBytes} bytes`);
  const end = l1Offset + tableBytes;
  if (l1Offset % clusterBytes !== 0 || l1Offset < headerBytes || end > (await file.size()))
    throw fields.bad('corrupt', v.H_L1, `an L1 table at ${l1Offset}`);
}
