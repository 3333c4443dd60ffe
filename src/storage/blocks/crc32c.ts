/** Castagnoli's polynomial, reflected (RFC 3720, B.4). */
const POLYNOMIAL = 0x82f63b78;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ ((value & 1) === 0 ? 0 : POLYNOMIAL);
  return value;
});

/** CRC-32C of `bytes`; four bytes at `zeroAt`, where the sum itself is kept, count as zeros. */
export function crc32c(bytes: Uint8Array, zeroAt = -4): number {
  let crc = 0xffff_ffff;
  for (let at = 0; at < bytes.length; at++) {
    const byte = at >= zeroAt && at < zeroAt + 4 ? 0 : (bytes[at] ?? 0);
    crc = (TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  }
  return ~crc >>> 0;
}
