// LZ4, "legacy frame", which is what kernels are packed with. Source: lz4_Frame_format.md (Legacy frame) and lz4_Block_format.md.
import { BootError } from './boot-error.ts';
import { FieldReader } from './field-reader.ts';

export const LZ4_LEGACY_MAGIC = 0x184c2102;
/** Each block but the last unpacks to this. */
const BLOCK_BYTES = 8 << 20;
const MIN_MATCH = 4;
/** Copies up to this length are quicker byte by byte than by a call. */
const SHORT = 128;
const LENGTH_MORE = 15; // in either half of the token: bytes that add to the length follow

const corrupt = (why: string) =>
  new BootError(
    'not-a-kernel',
    `the kernel's LZ4 payload is corrupt (${why}); fetch or build the kernel again`,
  );

/** Where the bytes end that add to a length of LENGTH_MORE: at the first that is not 255. */
function endOfLength(input: Uint8Array, at: number): number {
  let next = at;
  while (input[next] === 255) next++;
  if (next >= input.length) throw corrupt('a length runs past the end of its block');
  return next + 1;
}

/** The length whose added bytes are those from `at` to `end`. */
function longLength(input: Uint8Array, at: number, end: number): number {
  return LENGTH_MORE + (end - at - 1) * 255 + (input[end - 1] ?? 0);
}

/** Unpacks one block to `output` at `start`; the result is where it ends. Blocks are independent of each other. */
function unpackBlock(input: Uint8Array, output: Uint8Array, start: number): number {
  const end = Math.min(output.length, start + BLOCK_BYTES);
  let from = 0;
  let to = start;
  while (from < input.length) {
    const token = input[from++] ?? 0;
    let literals = token >> 4;
    if (literals === LENGTH_MORE) {
      const at = from;
      from = endOfLength(input, at);
      literals = longLength(input, at, from);
    }
    if (from + literals > input.length) throw corrupt('literals run past the end of their block');
    if (to + literals > end) throw corrupt('a block is larger than the format allows');
    copyLiterals(input, from, output, to, literals);
    from += literals;
    to += literals;
    if (from === input.length) break; // the last sequence has no match
    if (from + 2 > input.length) throw corrupt('a match offset is cut short');
    const distance = (input[from] ?? 0) | ((input[from + 1] ?? 0) << 8);
    from += 2;
    let match = token & 15;
    if (match === LENGTH_MORE) {
      const at = from;
      from = endOfLength(input, at);
      match = longLength(input, at, from);
    }
    match += MIN_MATCH;
    checkMatch(distance, to - start, to + match > end);
    copyMatch(output, to, distance, match);
    to += match;
  }
  return to;
}

function copyLiterals(
  input: Uint8Array,
  from: number,
  output: Uint8Array,
  to: number,
  length: number,
): void {
  if (length > SHORT) output.set(input.subarray(from, from + length), to);
  else for (let i = 0; i < length; i++) output[to + i] = input[from + i] as number;
}

function checkMatch(distance: number, unpacked: number, tooLong: boolean): void {
  if (distance === 0 || distance > unpacked) throw corrupt('a match reaches before its block');
  if (tooLong) throw corrupt('a block is larger than the format allows');
}

/** Where source and target overlap, the bytes just written repeat. */
function copyMatch(output: Uint8Array, to: number, distance: number, length: number): void {
  if (length > SHORT && distance >= length)
    output.copyWithin(to, to - distance, to - distance + length);
  else for (let i = to; i < to + length; i++) output[i] = output[i - distance] as number;
}

/**
 * Unpacks a legacy frame of at most `limitBytes`.
 * @throws {BootError} `truncated`, `not-a-kernel` on corrupt data, `too-large` past the limit.
 */
export function unpackLz4(packed: Uint8Array, limitBytes: number): Uint8Array {
  const reader = new FieldReader(packed, "the kernel's LZ4 payload");
  if (reader.u32(0) !== LZ4_LEGACY_MAGIC) throw corrupt('no legacy frame');
  const blocks: Uint8Array[] = [];
  for (let at = 4; at < packed.length; ) {
    const length = reader.u32(at);
    at += 4;
    if (length === LZ4_LEGACY_MAGIC) continue; // frames may follow each other
    blocks.push(reader.slice(at, length));
    at += length;
  }
  const most = Math.min(limitBytes, blocks.length * BLOCK_BYTES);
  const output = new Uint8Array(most);
  let end = 0;
  for (const block of blocks) {
    if (end + unpackedAtLeast(block) > limitBytes) {
      throw new BootError(
        'too-large',
        `the kernel unpacks to more than the ${limitBytes} bytes it declares`,
      );
    }
    end = unpackBlock(block, output, end);
  }
  return output.subarray(0, end);
}

/** A block that is not empty yields a byte. */
function unpackedAtLeast(block: Uint8Array): number {
  return block.length === 0 ? 0 : 1;
}
