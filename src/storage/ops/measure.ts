import type { Bitmap, DiskImage } from '../image.ts';
import { statusAt } from './status.ts';

/** Bytes of the disk in units of `unitBytes` that hold data, the chain's included. */
export async function dataBytesOf(
  image: DiskImage,
  unitBytes: number,
  signal?: AbortSignal,
): Promise<number> {
  let count = 0;
  /** End of the last unit that was counted. */
  let counted = 0;
  for (let at = 0; at < image.sizeBytes; ) {
    signal?.throwIfAborted();
    const { kind, lengthBytes } = await statusAt(image, at, image.sizeBytes - at);
    at += lengthBytes;
    if (kind === 'zero') continue;
    const start = Math.max(counted, Math.floor((at - lengthBytes) / unitBytes) * unitBytes);
    counted = Math.max(counted, Math.ceil(at / unitBytes) * unitBytes);
    count += counted - Math.min(start, counted);
  }
  return count;
}

const TABLE_ENTRY_BYTES = 8;
const DIRECTORY_ENTRY_BYTES = 24;

/** Bytes that copies of these bitmaps take in a qcow2 image at most. */
export function bitmapBytesOf(
  bitmaps: readonly Bitmap[],
  sizeBytes: number,
  clusterBytes: number,
): number {
  const whole = (bytes: number): number => Math.ceil(bytes / clusterBytes) * clusterBytes;
  let [sum, directory] = [0, 0];
  for (const { name, granularityBytes, inconsistent } of bitmaps) {
    if (inconsistent) continue;
    const bits = whole(Math.ceil(Math.ceil(sizeBytes / granularityBytes) / 8));
    sum += bits + whole((bits / clusterBytes) * TABLE_ENTRY_BYTES);
    const nameBytes = new TextEncoder().encode(name).length;
    directory += Math.ceil((DIRECTORY_ENTRY_BYTES + nameBytes) / 8) * 8;
  }
  return sum + whole(directory);
}
