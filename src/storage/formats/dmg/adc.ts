import { DamagedStream } from './bunzip2.ts';

/**
 * Apple Data Compression: plain bytes, and copies of what came before, short or long.
 * @throws {DamagedStream} The stream is wrong, or holds more than `maxBytes`.
 */
export function unpackAdc(bytes: Uint8Array, maxBytes: number): Uint8Array {
  const out = new Uint8Array(maxBytes);
  let size = 0;
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at] ?? 0;
    if ((first & 0x80) !== 0) {
      const plain = bytes.subarray(at + 1, at + 2 + (first & 0x7f));
      if (size + plain.length > maxBytes) throw new DamagedStream('the stream is too long');
      out.set(plain, size);
      size += plain.length;
      at += 2 + (first & 0x7f);
      continue;
    }
    const { length, distance, stored } = copyAt(bytes, at);
    if (distance > size) throw new DamagedStream('a copy from before the start');
    if (size + length > maxBytes) throw new DamagedStream('the stream is too long');
    for (let done = 0; done < length; done++, size++) out[size] = out[size - distance] ?? 0;
    at += stored;
  }
  return out.subarray(0, size);
}

/** How much to copy, from how far back, and the bytes that say so. */
function copyAt(
  bytes: Uint8Array,
  at: number,
): { length: number; distance: number; stored: number } {
  const [first = 0, second = 0, third = 0] = bytes.subarray(at, at + 3);
  if ((first & 0x40) === 0)
    return { length: (first >>> 2) + 3, distance: 1 + ((first & 3) << 8) + second, stored: 2 };
  return { length: (first & 0x3f) + 4, distance: 1 + (second << 8) + third, stored: 3 };
}
