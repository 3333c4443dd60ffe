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
  if ((bytes.byteOffset & 3) === 0) {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, end >>> 2);
    const whole = words.length & ~7;
    // Eight at once: a test a word would cost more than the loads.
    for (let at = 0; at < whole; at += 8) if (anyOfEight(words, at) !== 0) return false;
    index = whole * 4;
  }
  for (; index < end; index++) if (bytes[index] !== 0) return false;
  return true;
}

function anyOfEight(words: Int32Array, at: number): number {
  return (
    (words[at] ?? 0) |
    (words[at + 1] ?? 0) |
    (words[at + 2] ?? 0) |
    (words[at + 3] ?? 0) |
    (words[at + 4] ?? 0) |
    (words[at + 5] ?? 0) |
    (words[at + 6] ?? 0) |
    (words[at + 7] ?? 0)
  );
}
