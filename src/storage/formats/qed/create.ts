import { Fields } from '../../blocks/fields.ts';
import { type CreateRequest, type HostFile, ImageError } from '../../image.ts';
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

/** The header with another backing file's name, which follows it. */
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
  fields.setU32(v.H_BACKING_OFFSET, name === undefined ? 0 : v.HEADER_BYTES);
  fields.setU32(v.H_BACKING_BYTES, bytes.length);
  fields.bytes.fill(0, v.HEADER_BYTES, v.HEADER_BYTES + v.MAX_BACKING_BYTES);
  fields.bytes.set(bytes, v.HEADER_BYTES);
  return fields.bytes;
}
