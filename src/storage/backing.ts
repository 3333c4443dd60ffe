import type { DiskImage } from './image.ts';

/** Fills `into` from a backing image, which need not be there: what lies past its end reads as zeros. */
export async function readPadded(
  image: DiskImage | undefined,
  offsetBytes: number,
  into: Uint8Array,
): Promise<void> {
  const there = Math.max(0, Math.min(into.length, (image?.sizeBytes ?? 0) - offsetBytes));
  into.fill(0, there);
  if (there > 0) await image?.read(offsetBytes, into.subarray(0, there));
}

/** As `readPadded`, within the call ({@link DiskImage.tryRead}). False where the range goes past the image's end, too. */
export function tryReadPadded(
  image: DiskImage | undefined,
  offsetBytes: number,
  into: readonly Uint8Array[],
  lengthBytes: number,
): boolean {
  if (image !== undefined && offsetBytes < image.sizeBytes)
    return (
      offsetBytes + lengthBytes <= image.sizeBytes && (image.tryRead?.(offsetBytes, into) ?? false)
    );
  for (const piece of into) piece.fill(0);
  return true;
}
