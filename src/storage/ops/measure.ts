import type { DiskImage } from '../image.ts';
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
