import { Fields } from '../../blocks/fields.ts';
import { type CreateRequest, type HostFile, ImageError, SECTOR_BYTES } from '../../image.ts';
import { maxSize } from './header.ts';
import * as v from './layout.ts';

export interface Plan {
  readonly clusterBytes: number;
  readonly tableClusters: number;
  readonly tableBytes: number;
}

/** @throws {ImageError} `bad-option`. */
export function planOf({ sizeBytes, options }: CreateRequest): Plan {
  const clusterBytes = Number(options.get('cluster_size') ?? v.CLUSTER_BYTES);
  const isPower = Number.isInteger(Math.log2(clusterBytes));
  if (!isPower || clusterBytes < v.MIN_CLUSTER_BYTES || clusterBytes > v.MAX_CLUSTER_BYTES)
    throw new ImageError(
      'bad-option',
      `cluster_size: ${clusterBytes}; powers of 2 from 4k to 64M are`,
    );
  const tableClusters = Number(options.get('table_size') ?? v.TABLE_CLUSTERS);
  // The format allows 1 too, and QEMU refuses to open that.
  if (![2, 4, 8, 16].includes(tableClusters))
    throw new ImageError('bad-option', `table_size: ${tableClusters}; 2, 4, 8 and 16 are`);
  const tableBytes = tableClusters * clusterBytes;
  if (sizeBytes > maxSize(clusterBytes, tableBytes))
    throw new ImageError(
      'bad-option',
      `cluster_size, table_size: too small for ${sizeBytes} bytes; they hold ${maxSize(clusterBytes, tableBytes)}`,
    );
  return { clusterBytes, tableClusters, tableBytes };
}

export async function create(file: HostFile, request: CreateRequest): Promise<void> {
  const { clusterBytes, tableClusters, tableBytes } = planOf(request);
  const fields = new Fields(new Uint8Array(4096), { path: '', littleEndian: true });
  fields.setU32(0, v.MAGIC);
  fields.setU32(v.H_CLUSTER, clusterBytes);
  fields.setU32(v.H_TABLE, tableClusters);
  fields.setU32(v.H_HEADER, 1);
  fields.setU64(v.H_L1, clusterBytes);
  fields.setU64(v.H_SIZE, request.sizeBytes);
  const name = request.options.get('backing_file');
  const format = request.options.get('backing_fmt');
  const bytes = backingHeader(
    fields.bytes,
    name === undefined ? undefined : String(name),
    format === undefined ? undefined : String(format),
  );
  await file.truncate(clusterBytes + tableBytes);
  await file.write(0, bytes);
  await file.flush();
}

/** Long names lie here or there: behind the first sector, which leads to them, and not where the old one is. */
const LONG_NAME_PLACES = [SECTOR_BYTES, 4 * SECTOR_BYTES] as const;

function placeOf(nameBytes: number, fields: Fields): number {
  if (v.HEADER_BYTES + nameBytes <= SECTOR_BYTES) return v.HEADER_BYTES;
  const [first, second] = LONG_NAME_PLACES;
  const oldEnd = fields.u32(v.H_BACKING_OFFSET) + fields.u32(v.H_BACKING_BYTES);
  return oldEnd <= first || fields.u32(v.H_BACKING_OFFSET) >= second ? first : second;
}

/** The header's first 4 KiB with another backing file's name. What lies behind the first sector may be written before that. */
export function backingHeader(
  header: Uint8Array,
  name: string | undefined,
  format: string | undefined,
): Uint8Array {
  const fields = new Fields(header.slice(), { path: '', littleEndian: true });
  const bytes = new TextEncoder().encode(name ?? '');
  if (bytes.length > v.MAX_BACKING_BYTES || (name !== undefined && bytes.length === 0))
    throw new ImageError(
      'bad-option',
      `backing_file: names have 1 to ${v.MAX_BACKING_BYTES} bytes`,
    );
  const others = fields.u32(v.H_FEATURES) & ~(v.FEATURE_BACKING | v.FEATURE_BACKING_RAW);
  const raw = format === 'raw' ? v.FEATURE_BACKING_RAW : 0;
  fields.setU32(v.H_FEATURES, others | (name === undefined ? 0 : v.FEATURE_BACKING | raw));
  const place = placeOf(bytes.length, fields);
  fields.setU32(v.H_BACKING_OFFSET, name === undefined ? 0 : place);
  fields.setU32(v.H_BACKING_BYTES, bytes.length);
  fields.bytes.fill(0, v.HEADER_BYTES, SECTOR_BYTES);
  fields.bytes.set(bytes, place);
  return fields.bytes;
}
