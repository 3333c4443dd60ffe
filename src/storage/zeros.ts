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
  const words = wordsOf(bytes);
  const whole = words === undefined ? 0 : words.length & ~7;
  if (words !== undefined && !areZero(words, 0, whole)) return false;
  for (let index = whole * 4; index < bytes.length; index++) if (bytes[index] !== 0) return false;
  return true;
}

/** The bytes as words, what is left over at the end without; undefined when they do not start at a word of their buffer. */
export function wordsOf(bytes: Uint8Array): Int32Array | undefined {
  if ((bytes.byteOffset & 3) !== 0) return undefined;
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
}

/** Whether the words from `start` to `end`, a multiple of 8 of them, are zero. */
export function areZero(words: Int32Array, start: number, end: number): boolean {
  // Eight at once: a test a word would cost more than the loads.
  for (let at = start; at < end; at += 8) if (anyOfEight(words, at) !== 0) return false;
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
