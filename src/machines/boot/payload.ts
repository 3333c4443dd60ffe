import { LZ4_LEGACY_MAGIC, unpackLz4 } from './lz4.ts';
import type { BootInput } from './plan-types.ts';
import { unpackXz, XZ_MAGIC } from './xz.ts';

// Formats in which Linux packs itself, by their first bytes (Linux lib/decompress.c).
const LZ4 = [0, 8, 16, 24].map((shift) => (LZ4_LEGACY_MAGIC >>> shift) & 0xff);
const GZIP = [0x1f, 0x8b];
const ZSTD = [0x28, 0xb5, 0x2f, 0xfd];
const ELF = [0x7f, 0x45, 0x4c, 0x46];

function startsWith(bytes: Uint8Array, magic: readonly number[]): boolean {
  return magic.every((byte, i) => bytes[i] === byte);
}

/** The vmlinux in a bzImage's payload, or undefined when the guest has to unpack it itself. */
export function unpackPayload(
  payload: Uint8Array,
  limit: number,
  decompress: BootInput['decompress'],
): Uint8Array | undefined {
  // The last four bytes say how long the result is.
  const data = payload.subarray(0, Math.max(0, payload.length - 4));
  if (startsWith(payload, ELF)) return payload;
  const unpack = () => unpackData(data, limit, decompress);
  return decompress.kept === undefined ? unpack() : decompress.kept(data, unpack);
}

function unpackData(
  data: Uint8Array,
  limit: number,
  decompress: BootInput['decompress'],
): Uint8Array | undefined {
  try {
    if (startsWith(data, LZ4)) return unpackLz4(data, limit, decompress.lz4());
    if (startsWith(data, XZ_MAGIC)) return unpackXz(data, limit);
    if (startsWith(data, GZIP)) return decompress.gzip(data, limit);
    if (startsWith(data, ZSTD)) return decompress.zstd(data, limit);
  } catch {
    // Damaged, or more than fits: the guest's own decompressor says so.
    return undefined;
  }
  return undefined;
}
