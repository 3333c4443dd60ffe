// A module of its own (build/lz4.wasm), for machines/boot/lz4.ts: one block of LZ4. Source: lz4_Block_format.md.
// Memory ends with SLACK bytes that hold nothing: short copies write, and read, whole vectors.

/** What memory must have behind input and output. */
export const SLACK: i32 = 32;
export const LENGTH_PAST_END: i32 = -1;
export const LITERALS_PAST_END: i32 = -2;
export const BLOCK_TOO_LARGE: i32 = -3;
export const OFFSET_CUT_SHORT: i32 = -4;
export const MATCH_BEFORE_BLOCK: i32 = -5;

const MIN_MATCH: u32 = 4;
const LENGTH_MORE: u32 = 15; // in either half of the token: bytes that add to the length follow
const VECTOR: u32 = 16;
/** More than any block unpacks to. */
const LONGEST: i32 = 1 << 24;

/** Where the next byte of the block lies, and where the block ends. */
let from: u32 = 0;
let fromEnd: u32 = 0;

/** A length of which `first` stands in the token, and the rest, if there is one, behind; -1 where that has no end, or is absurd. */
function readLength(first: u32): i32 {
  let length: i32 = first;
  if (first !== LENGTH_MORE) return length;
  while (from < fromEnd) {
    const byte = <u32>load<u8>(from++);
    length += byte;
    if (byte !== 255) return length;
    if (length > LONGEST) return -1;
  }
  return -1;
}

function copyLiterals(to: u32, from: u32, length: u32): void {
  if (length > 2 * VECTOR) {
    memory.copy(to, from, length);
    return;
  }
  v128.store(to, v128.load(from));
  if (length > VECTOR) v128.store(to + VECTOR, v128.load(from + VECTOR));
}

/** Where source and target overlap, the bytes just written repeat. */
function copyMatch(to: u32, distance: u32, length: u32): void {
  const end = to + length;
  let from = to - distance;
  if (distance < VECTOR) {
    while (to < end) store<u8>(to++, load<u8>(from++));
    return;
  }
  while (to < end) {
    v128.store(to, v128.load(from));
    to += VECTOR;
    from += VECTOR;
  }
}

/**
 * Unpacks the block from `first` to `last`, which knows nothing of others, to `start`, and at most to `end`; the result is
 * where it ends, or what is wrong. What lies behind that end is written to, SLACK bytes at most.
 */
export function unpack(first: u32, last: u32, start: u32, end: u32): i32 {
  let to = start;
  from = first;
  fromEnd = last;
  while (from < last) {
    const token = <u32>load<u8>(from++);
    const literals = readLength(token >> 4);
    if (literals < 0) return LENGTH_PAST_END;
    if (<u32>literals > last - from) return LITERALS_PAST_END;
    if (<u32>literals > end - to) return BLOCK_TOO_LARGE;
    copyLiterals(to, from, literals);
    from += <u32>literals;
    to += <u32>literals;
    if (from === last) break; // the last sequence has no match
    if (last - from < 2) return OFFSET_CUT_SHORT;
    const distance = <u32>load<u16>(from);
    from += 2;
    const more = readLength(token & 15);
    if (more < 0) return LENGTH_PAST_END;
    const match = MIN_MATCH + <u32>more;
    if (distance === 0 || distance > to - start) return MATCH_BEFORE_BLOCK;
    if (match > end - to) return BLOCK_TOO_LARGE;
    copyMatch(to, distance, match);
    to += match;
  }
  return to;
}
