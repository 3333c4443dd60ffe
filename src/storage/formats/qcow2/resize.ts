import { ImageError, type ResizeOptions } from '../../image.ts';
import { fillZeros } from '../../zeros.ts';
import type { Qcow2Bitmaps } from './bitmap-store.ts';
import * as q from './layout.ts';
import type { Mapping } from './mapping.ts';
import type { Metadata } from './metadata.ts';
import type { Reader } from './reader.ts';
import type { Writer } from './writer.ts';
import type { Zeroing } from './zeroing.ts';

const PREALLOCATION = ['off', 'metadata', 'falloc', 'full'] as const;

interface Disk {
  readonly meta: Metadata;
  readonly mapping: Mapping;
  readonly reader: Reader;
  readonly writer: Writer;
  readonly zeroing: Zeroing;
  readonly bitmaps: Qcow2Bitmaps;
}

/** Gives the disk another size. Nothing else may be under way. */
export async function resize(disk: Disk, sizeBytes: number, options: ResizeOptions): Promise<void> {
  const { meta } = disk;
  const { path } = meta.file;
  const old = meta.header.sizeBytes;
  if (sizeBytes < old && options.shrink !== true)
    throw new ImageError('bad-option', `${path}: shrinking from ${old} bytes loses data`, { path });
  if (meta.header.version < 3 && meta.header.snapshotCount > 0)
    throw new ImageError(
      'unsupported',
      `${path}: version 2 images with snapshots keep their size; delete the snapshots`,
      { path },
    );
  checkPreallocation(options.preallocation);
  if (sizeBytes === old) return;
  // Their tables are as long as the disk.
  const suspended = await disk.bitmaps.suspend(sizeBytes);
  try {
    if (sizeBytes < old) await shrink(disk, sizeBytes);
    else await grow(disk, old, sizeBytes, options.preallocation ?? 'off');
    await meta.settle();
    await disk.bitmaps.restore(suspended);
  } catch (error) {
    // What fails here too is left: a growth that comes later meets it, and bitmaps that are not valid are not believed.
    await takeBack(disk, Math.min(old, meta.header.sizeBytes)).catch(() => {});
    await disk.bitmaps.restore(suspended).catch(() => {});
    throw error;
  }
}

/** What stands in the tables for more than the disk shall have. */
async function takeBack({ meta, mapping, zeroing }: Disk, sizeBytes: number): Promise<void> {
  await meta.store.settle();
  if (meta.header.sizeBytes !== sizeBytes) await meta.store.update({ sizeBytes });
  await zeroing.unmap(Math.ceil(sizeBytes / meta.clusterBytes), mapping.clusters);
  await meta.settle();
  if (meta.data !== meta.file) await meta.data.truncate(sizeBytes);
}

/** @throws {ImageError} `bad-option`. */
export function checkPreallocation(mode: string | undefined): void {
  if (mode === undefined || PREALLOCATION.some((known) => known === mode)) return;
  throw new ImageError(
    'bad-option',
    `preallocation: qcow2 images have ${PREALLOCATION.join(', ')}, not '${mode}'`,
  );
}

async function shrink({ meta, mapping, zeroing }: Disk, sizeBytes: number): Promise<void> {
  await meta.settle();
  if (meta.data !== meta.file) await meta.data.truncate(sizeBytes);
  await meta.store.update({ sizeBytes });
  await zeroing.unmap(Math.ceil(sizeBytes / meta.clusterBytes), mapping.clusters);
}

async function grow(
  disk: Disk,
  old: number,
  sizeBytes: number,
  preallocation: string,
): Promise<void> {
  const { meta, mapping, zeroing, reader } = disk;
  const { clusterBytes } = meta;
  const tables = Math.ceil(sizeBytes / (clusterBytes * mapping.perTable));
  if (tables * 8 > q.MAX_L1_BYTES) throw tooLarge(meta.file.path, sizeBytes);
  // What a shrink that was cut off left there, or a VM's saved state.
  await zeroing.unmap(Math.ceil(old / clusterBytes), mapping.clusters);
  if (tables > meta.header.l1Entries) {
    await meta.settle();
    const l1 = new Uint8Array(tables * 8);
    l1.set(new Uint8Array(meta.l1.buffer, meta.l1.byteOffset, meta.l1.byteLength));
    const replaced = await meta.switchL1(l1);
    await meta.counts.add(replaced.cluster, replaced.count, -1);
  }
  if (meta.data !== meta.file) await meta.data.truncate(sizeBytes);
  const tail = Math.min(sizeBytes, Math.ceil(old / clusterBytes) * clusterBytes);
  if (tail > old) await zeroing.writeZeroes(old, tail - old, tail, false);
  if (sizeBytes > tail && !reader.isBare(tail))
    await zeroing.writeZeroes(tail, sizeBytes - tail, sizeBytes, false);
  await preallocate(disk, old, sizeBytes, preallocation);
  await meta.settle();
  await meta.store.update({ sizeBytes });
}

export function tooLarge(path: string, sizeBytes: number): ImageError {
  return new ImageError(
    'bad-option',
    `${path}: ${sizeBytes} bytes are too many for clusters of this size; choose larger ones (cluster_size)`,
    { path },
  );
}

/** Takes room for a range of the disk ahead of its use. */
export async function preallocate(
  { meta, mapping, writer }: Pick<Disk, 'meta' | 'mapping' | 'writer'>,
  fromBytes: number,
  toBytes: number,
  mode: string,
): Promise<void> {
  if (mode === 'off') return;
  await writer.reserve(fromBytes, toBytes - fromBytes);
  await meta.commit();
  const end = meta.data === meta.file ? meta.counts.usedBytes : toBytes;
  if (mode === 'falloc' && (await meta.data.reserve(end))) return;
  if (mode === 'metadata') return;
  for (let at = fromBytes; at < toBytes; ) {
    const run = mapping.run(at, toBytes - at);
    if (run === undefined) await mapping.load(at);
    else {
      const { hostOffsetBytes, lengthBytes } = run;
      if (hostOffsetBytes !== undefined) await fillZeros(meta.data, hostOffsetBytes, lengthBytes);
      at += lengthBytes;
    }
  }
}
