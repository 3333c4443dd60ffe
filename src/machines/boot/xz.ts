import { undoBcjX86 } from './bcj-x86.ts';
import { BootError } from './boot-error.ts';
import { crc32 } from './crc32.ts';
import { FieldReader } from './field-reader.ts';
import { GrowingOutput, Lzma2Decoder } from './lzma2.ts';

// xz, as kernels are packed with it: LZMA2, with the x86 filter before it. Source: xz-file-format.txt 1.2.1.

export const XZ_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00];
const STREAM_HEADER_BYTES = 12;
const CHECK_CRC32 = 1;
/** By the kind of check, in bytes. */
const CHECK_BYTES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];
const FILTER_X86 = 0x04;
const FILTER_LZMA2 = 0x21;
const HAS_PACKED_SIZE = 0x40;
const HAS_UNPACKED_SIZE = 0x80;
const RESERVED_FLAGS = 0x3c;

const WHAT = "the kernel's xz payload";

const corrupt = (why: string) =>
  new BootError('not-a-kernel', `${WHAT} is corrupt (${why}); fetch or build the kernel again`);

/**
 * Unpacks the first stream to at most `limitBytes`. CRC-32 is checked, which is what kernels are packed with.
 * @throws {BootError} `truncated`, `not-a-kernel` on corrupt data, `unsupported` filters, `too-large` past the limit.
 */
export function unpackXz(packed: Uint8Array, limitBytes: number): Uint8Array {
  const reader = new FieldReader(packed, WHAT);
  if (XZ_MAGIC.some((byte, i) => reader.u8(i) !== byte)) throw corrupt('no xz stream');
  const check = reader.u8(7);
  if (reader.u8(6) !== 0 || check > 15) throw corrupt('unknown stream flags');
  const output = new GrowingOutput(limitBytes);
  let at = STREAM_HEADER_BYTES;
  while (reader.u8(at) !== 0) {
    const header = parseBlockHeader(reader, at);
    const start = output.length;
    const end = new Lzma2Decoder(reader, output).decode(at + header.bytes);
    const unpacked = output.bytes.subarray(start, output.length);
    if (header.isFilteredX86) undoBcjX86(unpacked);
    const padded = Math.ceil(end / 4) * 4;
    if (check === CHECK_CRC32 && reader.u32(padded) !== crc32(unpacked))
      throw corrupt('its check sum is wrong');
    at = padded + (CHECK_BYTES[check] ?? 0);
  }
  return output.bytes.subarray(0, output.length);
}

/** 3.1 */
function parseBlockHeader(
  reader: FieldReader,
  at: number,
): { bytes: number; isFilteredX86: boolean } {
  const bytes = (reader.u8(at) + 1) * 4;
  const end = at + bytes - 4;
  if (reader.u32(end) !== crc32(reader.slice(at, bytes - 4)))
    throw corrupt('the check sum of a block header is wrong');
  const flags = reader.u8(at + 1);
  if ((flags & RESERVED_FLAGS) !== 0) throw corrupt('unknown block flags');
  let next = at + 2;
  const number = () => {
    const { value, after } = variableLength(reader, next);
    next = after;
    return value;
  };
  if (flags & HAS_PACKED_SIZE) number();
  if (flags & HAS_UNPACKED_SIZE) number();
  const filters: number[] = [];
  for (let count = (flags & 3) + 1; count > 0; count--) {
    const filter = number();
    const properties = number();
    if (filter === FILTER_X86 && properties !== 0)
      throw new BootError('unsupported', `${WHAT} has an x86 filter with an offset; use none`);
    filters.push(filter);
    next += properties;
  }
  if (next > end) throw corrupt('a block header is too short');
  const isFilteredX86 = filters.length === 2 && filters[0] === FILTER_X86;
  if (filters.at(-1) !== FILTER_LZMA2 || !(filters.length === 1 || isFilteredX86))
    throw new BootError('unsupported', `${WHAT} has filters other than x86 and LZMA2`);
  return { bytes, isFilteredX86 };
}

/** 1.2: seven bits a byte, the lowest first. */
function variableLength(reader: FieldReader, at: number): { value: number; after: number } {
  const MOST = 9;
  let value = 0;
  for (let i = 0; i < MOST; i++) {
    const byte = reader.u8(at + i);
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return { value, after: at + i + 1 };
  }
  throw corrupt('a number is too long');
}
