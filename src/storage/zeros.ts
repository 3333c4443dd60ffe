import type { HostFile } from './image.ts';

const CHUNK_BYTES = 1 << 20;

/** Writes zeros over the range. */
export async function fillZeros(
  file: HostFile,
  offsetBytes: number,
  lengthBytes: number,
): Promise<void> {
  const zeros = new Uint8Array(Math.min(CHUNK_BYTES, lengthBytes));
  for (let done = 0; done < lengthBytes; done += zeros.length)
    await file.write(offsetBytes + done, zeros.subarray(0, lengthBytes - done));
}

/** Whether all bytes are zero. */
export function isZero(bytes: Uint8Array): boolean {
  let index = 0;
  const end = bytes.length;
  if ((bytes.byteOffset & 7) === 0) {
    const words = new BigUint64Array(bytes.buffer, bytes.byteOffset, end >>> 3);
    for (const word of words) if (word !== 0n) return false;
    index = words.length * 8;
  }
  for (; index < end; index++) if (bytes[index] !== 0) return false;
  return true;
}
