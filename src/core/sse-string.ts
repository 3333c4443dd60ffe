// PCMPESTRI and its kin. Source: Intel SDM vol. 2, 4.1.
const WORDS: u32 = 1;
const SIGNED: u32 = 2;
const AGGREGATION_SHIFT: u32 = 2;
const EQUAL_ANY: u32 = 0;
const RANGES: u32 = 1;
const EQUAL_EACH: u32 = 2;
const NEGATIVE: u32 = 0x10;
const MASKED: u32 = 0x20;
const MOST_SIGNIFICANT: u32 = 0x40;

// Flags in their places in EFLAGS.
const CF: u64 = 1;
const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const OF: u64 = 1 << 11;

function element(v: v128, i: u32, control: u32): i32 {
  const bit = control & WORDS ? i * 16 : i * 8;
  const half = <u64>(bit < 64 ? i64x2.extract_lane(v, 0) : i64x2.extract_lane(v, 1)) >> (bit & 63);
  if (control & SIGNED) return control & WORDS ? <i32>(<i16>half) : <i32>(<i8>half);
  return control & WORDS ? <i32>(<u16>half) : <i32>(<u8>half);
}

/** Elements before the first that is zero. */
function implicitLength(v: v128, control: u32): u32 {
  const zeros = control & WORDS ? i16x8.eq(v, i16x8.splat(0)) : i8x16.eq(v, i8x16.splat(0));
  const bits = control & WORDS ? i16x8.bitmask(zeros) : i8x16.bitmask(zeros);
  return min<u32>(ctz<u32>(bits), control & WORDS ? 8 : 16);
}

function explicitLength(value: i64, control: u32): u32 {
  const most: u64 = control & WORDS ? 8 : 16;
  const magnitude: u64 = value < 0 ? 0 - <u64>value : <u64>value;
  return <u32>min<u64>(magnitude, most);
}

/** A bit for each element of `b` that is element `j` of `a`. */
function equalTo(a: v128, j: u32, b: v128, control: u32): u32 {
  const x = element(a, j, control);
  return control & WORDS
    ? i16x8.bitmask(i16x8.eq(b, i16x8.splat(<i16>x)))
    : i8x16.bitmask(i8x16.eq(b, i8x16.splat(<i8>x)));
}

/** Element `i` of `b` is in one of the ranges that `a` gives. */
function isInRange(a: v128, lengthA: u32, x: i32, control: u32): bool {
  for (let j: u32 = 0; j + 1 < lengthA; j += 2) {
    if (element(a, j, control) <= x && x <= element(a, j + 1, control)) return true;
  }
  return false;
}

/** A bit for each element of `b` at which `a` stands, as far as the register goes. */
function ordered(a: v128, lengthA: u32, b: v128, validB: u32, control: u32): u32 {
  const all: u32 = control & WORDS ? 0xff : 0xffff;
  let bits = all;
  for (let j: u32 = 0; j < lengthA; j++) {
    // What lies beyond the register agrees.
    const beyond = ~(all >> j);
    bits &= ((equalTo(a, j, b, control) & validB) >> j) | beyond;
  }
  return bits & all;
}

function matches(a: v128, lengthA: u32, b: v128, lengthB: u32, control: u32): u32 {
  const aggregation = (control >> AGGREGATION_SHIFT) & 3;
  const all: u32 = control & WORDS ? 0xff : 0xffff;
  const validA = ((<u32>1) << lengthA) - 1;
  const validB = ((<u32>1) << lengthB) - 1;
  let bits: u32 = 0;
  if (aggregation == EQUAL_ANY) {
    for (let j: u32 = 0; j < lengthA; j++) bits |= equalTo(a, j, b, control);
    return bits & validB;
  }
  if (aggregation == EQUAL_EACH) {
    const same = control & WORDS ? i16x8.bitmask(i16x8.eq(a, b)) : i8x16.bitmask(i8x16.eq(a, b));
    return ((same & validA & validB) | ~(validA | validB)) & all;
  }
  if (aggregation != RANGES) return ordered(a, lengthA, b, validB, control);
  for (let i: u32 = 0; i < lengthB; i++) {
    bits |= u32(isInRange(a, lengthA, element(b, i, control), control)) << i;
  }
  return bits;
}

function compareStrings(a: v128, lengthA: u32, b: v128, lengthB: u32, control: u32): u64 {
  const most: u32 = control & WORDS ? 8 : 16;
  let bits = matches(a, lengthA, b, lengthB, control);
  if (control & NEGATIVE) {
    bits ^= control & MASKED ? ((<u32>1) << lengthB) - 1 : ((<u32>1) << most) - 1;
  }
  let flags: u64 = bits ? CF : 0;
  if (lengthB < most) flags |= ZF;
  if (lengthA < most) flags |= SF;
  if (bits & 1) flags |= OF;
  let index = most;
  if (bits) index = control & MOST_SIGNIFICANT ? 31 - clz<u32>(bits) : ctz<u32>(bits);
  return (flags << 32) | ((<u64>index) << 16) | <u64>bits;
}

/** Bits 15:0 the matches, 31:16 the index, 63:32 the arithmetic flags. Lengths as in EAX and EDX. */
export function sse_compare_explicit(
  _cpu: usize,
  a: v128,
  b: v128,
  control: u32,
  lengthA: i64,
  lengthB: i64,
): u64 {
  return compareStrings(
    a,
    explicitLength(lengthA, control),
    b,
    explicitLength(lengthB, control),
    control,
  );
}

/** The same for strings that end with a zero. */
export function sse_compare_implicit(_cpu: usize, a: v128, b: v128, control: u32): u64 {
  return compareStrings(a, implicitLength(a, control), b, implicitLength(b, control), control);
}

/** What PCMPxSTRM leaves in XMM0: the matches as bits or spread over the elements. */
export function sse_string_mask(_cpu: usize, bits: u32, control: u32): v128 {
  if (!(control & MOST_SIGNIFICANT)) return i32x4.replace_lane(i32x4.splat(0), 0, bits & 0xffff);
  if (control & WORDS) {
    const lanes = i16x8(1, 2, 4, 8, 16, 32, 64, 128);
    return i16x8.ne(v128.and(i16x8.splat(<i16>bits), lanes), i16x8.splat(0));
  }
  const bytes = i8x16.shuffle(
    i16x8.splat(<i16>bits),
    i8x16.splat(0),
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
    1,
  );
  const lanes = i8x16(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
  return i8x16.ne(v128.and(bytes, lanes), i8x16.splat(0));
}
