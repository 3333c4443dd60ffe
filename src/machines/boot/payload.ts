import { BootError } from './boot-error.ts';
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

/**
 * The vmlinux in a bzImage's payload, or undefined when the guest has to unpack it itself.
 * @throws {BootError} when it is corrupt: the guest's own code would halt without a word on the serial console.
 */
export function unpackPayload(
  payload: Uint8Array,
  limit: number,
  decompress: BootInput['decompress'],
): Uint8Array | undefined {
  if (startsWith(payload, ELF)) return payload;
  const format = formatOf(payload, limit, decompress);
  if (format === undefined) return undefined;
  const unpack = () => unpackData(format);
  const unpacked = decompress.kept === undefined ? unpack() : decompress.kept(format.data, unpack);
  if (unpacked !== undefined && !startsWith(unpacked, ELF))
    throw corrupt(format.name, 'it unpacks to no ELF file');
  return unpacked;
}

interface Format {
  readonly name: string;
  readonly data: Uint8Array;
  unpack(): Uint8Array;
}

function formatOf(
  payload: Uint8Array,
  limit: number,
  decompress: BootInput['decompress'],
): Format | undefined {
  // The last four bytes say how long the result is. They are gzip's own, and behind what the others have made.
  const data = payload.subarray(0, Math.max(0, payload.length - 4));
  if (startsWith(data, LZ4)) {
    const lz4 = decompress.lz4();
    return { name: 'LZ4', data, unpack: () => unpackLz4(data, limit, lz4) };
  }
  if (startsWith(data, XZ_MAGIC)) return { name: 'xz', data, unpack: () => unpackXz(data, limit) };
  if (startsWith(data, GZIP))
    return { name: 'gzip', data: payload, unpack: () => decompress.gzip(payload, limit) };
  if (startsWith(data, ZSTD))
    return { name: 'zstd', data, unpack: () => decompress.zstd(data, limit) };
  return undefined;
}

/** Undefined where the data is more than fits, or packed in a way that is not known here. */
function unpackData({ name, unpack }: Format): Uint8Array | undefined {
  try {
    return unpack();
  } catch (error) {
    if (!(error instanceof BootError)) throw corrupt(name, String(error), { cause: error });
    if (error.kind === 'too-large' || error.kind === 'unsupported') return undefined;
    throw error;
  }
}

function corrupt(format: string, why: string, options?: ErrorOptions): BootError {
  const message = `the kernel's ${format} payload is corrupt (${why}); fetch or build the kernel again`;
  return new BootError('not-a-kernel', message, options);
}
