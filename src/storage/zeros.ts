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

/** Gives the host room back that nothing leads to; what it fails to take stays. Whether the range reads as zeros now. */
export async function giveBack(
  file: HostFile,
  offsetBytes: number,
  lengthBytes: number,
): Promise<boolean> {
  try {
    return await file.punch(offsetBytes, lengthBytes);
  } catch {
    return false;
  }
}

/** Whether all bytes are zero. */
export function isZero(bytes: Uint8Array): boolean {
  const inWords = (bytes.byteOffset & 3) === 0 ? bytes.length & ~31 : 0;
  const words = new Int32Array(bytes.buffer, inWords === 0 ? 0 : bytes.byteOffset, inWords >>> 2);
  // Eight at once: a test a word would cost more than the loads.
  for (let at = 0; at < words.length; at += 8) if (anyOfEight(words, at) !== 0) return false;
  for (let index = inWords; index < bytes.length; index++) if (bytes[index] !== 0) return false;
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

/** So far apart a copy of aligned memory is aligned, too. */
const SHIFT_BYTES = 64;

/** `isZero`, by what tells whether bytes are the same: zeros are those that begin with some and are the same when shifted. */
export function zeroTest(
  areSame: ((a: Uint8Array, b: Uint8Array) => boolean) | undefined,
): (bytes: Uint8Array) => boolean {
  if (areSame === undefined) return isZero;
  return (bytes) => {
    for (let index = Math.min(SHIFT_BYTES, bytes.length) - 1; index >= 0; index--)
      if (bytes[index] !== 0) return false;
    if (bytes.length <= SHIFT_BYTES) return true;
    return areSame(bytes.subarray(SHIFT_BYTES), bytes.subarray(0, bytes.length - SHIFT_BYTES));
  };
}
