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

/** Element `i` of `b` is one of `a`'s, or in one of the ranges that `a` gives. */
function isMember(a: v128, lengthA: u32, x: i32, control: u32): bool {
  const ranges = ((control >> AGGREGATION_SHIFT) & 3) == RANGES;
  for (let j: u32 = 0; j < lengthA; j += ranges ? 2 : 1) {
    const first = element(a, j, control);
    if (!ranges) {
      if (first == x) return true;
    } else if (j + 1 < lengthA && first <= x && x <= element(a, j + 1, control)) return true;
  }
  return false;
}

/** `a` stands in `b` at `i`, as far as the register goes. */
function standsAt(a: v128, lengthA: u32, b: v128, lengthB: u32, i: u32, control: u32): bool {
  const most: u32 = control & WORDS ? 8 : 16;
  for (let j: u32 = 0; j < lengthA && i + j < most; j++) {
    if (i + j >= lengthB || element(a, j, control) != element(b, i + j, control)) return false;
  }
  return true;
}

function matches(a: v128, lengthA: u32, b: v128, lengthB: u32, control: u32): u32 {
  const most: u32 = control & WORDS ? 8 : 16;
  const aggregation = (control >> AGGREGATION_SHIFT) & 3;
  let bits: u32 = 0;
  for (let i: u32 = 0; i < most; i++) {
    let hit: bool = false;
    if (aggregation == EQUAL_ANY || aggregation == RANGES) {
      hit = i < lengthB && isMember(a, lengthA, element(b, i, control), control);
    } else if (aggregation == EQUAL_EACH) {
      const inA = i < lengthA;
      hit = inA == i < lengthB && (!inA || element(a, i, control) == element(b, i, control));
    } else {
      hit = standsAt(a, lengthA, b, lengthB, i, control);
    }
    bits |= u32(hit) << i;
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
