import { S_CR4, S_MXCSR, S_SCRATCH } from '../ir/state.ts';
import { raise, UD, XM } from './raise.ts';

// The exact path of SSE arithmetic: one lane at a time, on integers, with every rounding mode, flag and mask. The fast
// paths (sse-arith.ts) come here when they cannot prove that the host's own arithmetic gives the same.
// A lane is its raw bits in a u64, 32-bit ones in the low half; `wide` tells double from single precision.

// MXCSR. Source: Intel SDM vol. 1, 10.2.3.
export const IE: u32 = 1 << 0;
export const DE: u32 = 1 << 1;
const ZE: u32 = 1 << 2;
const OE: u32 = 1 << 3;
const UE: u32 = 1 << 4;
export const PE: u32 = 1 << 5;
const DAZ: u32 = 1 << 6;
const MASK_SHIFT: u32 = 7;
const ALL_FLAGS: u32 = 0x3f;
/** Exceptions found before the result is computed: they hide the others (SDM vol. 1, 11.5.2). */
const BEFORE: u32 = IE | DE | ZE;
const RC_SHIFT: u32 = 13;
export const RC_NEAREST: u32 = 0;
export const RC_DOWN: u32 = 1;
export const RC_UP: u32 = 2;
const FZ: u32 = 1 << 15;
const CR4_OSXMMEXCPT: u64 = 1 << 10;

const SIGN: u64 = 0x8000_0000_0000_0000;
const INFINITY: u64 = 0x7ff0_0000_0000_0000;
const QUIET: u64 = 0x0008_0000_0000_0000;
const FRACTION: u64 = 0x000f_ffff_ffff_ffff;
const TOP: u64 = 0x8000_0000_0000_0000;

export function roundingControl(cpu: usize): u32 {
  return (load<u32>(cpu, S_MXCSR) >> RC_SHIFT) & 3;
}

export function denormalsAreZero(cpu: usize): bool {
  return (load<u32>(cpu, S_MXCSR) & DAZ) != 0;
}

// The flags of the lanes done so far are kept in S_SCRATCH.
export function begin(cpu: usize): void {
  store<u32>(cpu, 0, S_SCRATCH);
}

export function note(cpu: usize, flags: u32): void {
  store<u32>(cpu, load<u32>(cpu, S_SCRATCH) | flags, S_SCRATCH);
}

/** Records the flags noted since `begin` and raises #XM (#UD without CR4.OSXMMEXCPT) for those that are not masked. */
export function settle(cpu: usize): void {
  let flags = load<u32>(cpu, S_SCRATCH);
  const mxcsr = load<u32>(cpu, S_MXCSR);
  const unmasked = flags & ~(mxcsr >> MASK_SHIFT) & ALL_FLAGS;
  if (unmasked & BEFORE) flags &= BEFORE;
  store<u32>(cpu, mxcsr | flags, S_MXCSR);
  if (unmasked) raise(cpu, load<u64>(cpu, S_CR4) & CR4_OSXMMEXCPT ? XM : UD);
}

/** A single as the double of equal value; a NaN keeps its payload, aligned at the top. */
export function widen(bits: u64): u64 {
  if ((bits & 0x7f80_0000) == 0x7f80_0000) {
    return ((bits & 0x8000_0000) << 32) | INFINITY | ((bits & 0x7f_ffff) << 29);
  }
  return reinterpret<u64>(<f64>reinterpret<f32>(<u32>bits));
}

/** The format's own bits of a double that is zero, infinite or NaN. */
function pack(bits: u64, wide: bool): u64 {
  if (wide) return bits;
  const top = (bits >> 32) & 0x8000_0000;
  return bits & INFINITY ? top | 0x7f80_0000 | ((bits & FRACTION) >> 29) : top;
}

export function isDenormal(bits: u64, wide: bool): bool {
  if (wide) return (bits & INFINITY) == 0 && (bits & FRACTION) != 0;
  return (bits & 0x7f80_0000) == 0 && (bits & 0x7f_ffff) != 0;
}

/** The operand as a double, after denormals-are-zero. */
export function operand(bits: u64, wide: bool, daz: bool): u64 {
  if (daz && isDenormal(bits, wide)) bits &= wide ? SIGN : 0x8000_0000;
  return wide ? bits : widen(bits);
}

export function isNan(a: u64): bool {
  return (a & ~SIGN) > INFINITY;
}

function isSignaling(a: u64): bool {
  return isNan(a) && (a & QUIET) == 0;
}

function isInfinite(a: u64): bool {
  return (a & ~SIGN) == INFINITY;
}

function isZero(a: u64): bool {
  return (a & ~SIGN) == 0;
}

export function defaultNan(wide: bool): u64 {
  return pack(SIGN | INFINITY | QUIET, wide);
}

/** Result of an operation of which an operand is a NaN: the first one, quieted. */
export function propagateNan(cpu: usize, a: u64, b: u64, wide: bool): u64 {
  if (isSignaling(a) || isSignaling(b)) note(cpu, IE);
  return pack((isNan(a) ? a : b) | QUIET, wide);
}

/** Binary exponent of the leading bit of a finite double that is not zero. */
function exponentOf(a: u64): i32 {
  const biased = <i32>((a & INFINITY) >> 52);
  return biased ? biased - 1023 : -1011 - <i32>clz<u64>(a & FRACTION);
}

/** Its significand, leading bit in bit 63. */
function significandOf(a: u64): u64 {
  const fraction = a & FRACTION;
  return a & INFINITY ? TOP | (fraction << 11) : fraction << clz<u64>(fraction);
}

/** Shifts right; bits lost leave a trace in bit 0. */
function shiftRight(value: u64, count: u32): u64 {
  if (count == 0) return value;
  if (count > 63) return u64(value != 0);
  return (value >> count) | u64(value << (64 - count) != 0);
}

/** True when a magnitude with `rest` below its last bit rounds away from zero. */
function roundsUp(rc: u32, sign: u64, kept: u64, rest: u64, half: u64): bool {
  switch (rc) {
    case RC_NEAREST:
      return rest > half || (rest == half && (kept & 1) != 0);
    case RC_DOWN:
      return sign != 0 && rest != 0;
    case RC_UP:
      return sign == 0 && rest != 0;
    default:
      return false;
  }
}

/**
 * Rounds ±significand × 2^(exponent - 63) to the format; bit 63 of `significand` is set and bit 0 may be sticky.
 * `sign` is 0 or 1.
 */
function round(cpu: usize, wide: bool, sign: u64, exponent: i32, significand: u64): u64 {
  const mxcsr = load<u32>(cpu, S_MXCSR);
  const rc = (mxcsr >> RC_SHIFT) & 3;
  const drop: u32 = wide ? 11 : 40;
  const half: u64 = (<u64>1) << (drop - 1);
  const rest = significand & ((half << 1) - 1);
  let kept = significand >> drop;
  if (roundsUp(rc, sign, kept, rest, half)) kept++;
  const carried = kept << drop == 0;
  const least: i32 = wide ? -1022 : -126;
  // Tininess is found after rounding to unbounded range (SDM vol. 1, 4.9.1.5).
  if (exponent + i32(carried) < least) {
    return roundTiny(cpu, wide, sign, shiftRight(significand, <u32>(least - exponent)), rest != 0);
  }
  if (carried) kept >>= 1;
  if (exponent + i32(carried) > (wide ? 1023 : 127))
    return overflow(cpu, wide, sign, rc, rest != 0);
  if (rest) note(cpu, PE);
  const biased = <u64>(exponent + i32(carried) - least + 1);
  return wide
    ? (sign << 63) | (biased << 52) | (kept & FRACTION)
    : (sign << 31) | (biased << 23) | (kept & 0x7f_ffff);
}

/** `significand` is aligned to the format's least exponent. */
function roundTiny(cpu: usize, wide: bool, sign: u64, significand: u64, inexact: bool): u64 {
  const mxcsr = load<u32>(cpu, S_MXCSR);
  const masked = (mxcsr & (UE << MASK_SHIFT)) != 0;
  const signBit = sign << (wide ? 63 : 31);
  if (masked && mxcsr & FZ) {
    note(cpu, UE | PE);
    return signBit;
  }
  const drop: u32 = wide ? 11 : 40;
  const half: u64 = (<u64>1) << (drop - 1);
  const rest = significand & ((half << 1) - 1);
  let kept = significand >> drop;
  if (roundsUp((mxcsr >> RC_SHIFT) & 3, sign, kept, rest, half)) kept++;
  if (!masked) note(cpu, inexact ? UE | PE : UE);
  else if (rest) note(cpu, UE | PE);
  return signBit | kept; // a carry into the exponent field is right
}

function overflow(cpu: usize, wide: bool, sign: u64, rc: u32, inexact: bool): u64 {
  const masked = (load<u32>(cpu, S_MXCSR) & (OE << MASK_SHIFT)) != 0;
  note(cpu, masked || inexact ? OE | PE : OE);
  const away = rc == RC_NEAREST || (rc == RC_UP && sign == 0) || (rc == RC_DOWN && sign != 0);
  if (wide) return (sign << 63) | (INFINITY - u64(!away));
  return (sign << 31) | (0x7f80_0000 - u64(!away));
}

/** Rounds a double that is finite to the format. */
export function roundDouble(cpu: usize, wide: bool, a: u64): u64 {
  if (isZero(a)) return pack(a, wide);
  return round(cpu, wide, a >> 63, exponentOf(a), significandOf(a));
}

/** Rounds an integer. */
export function roundInteger(cpu: usize, wide: bool, value: i64): u64 {
  if (value == 0) return 0;
  const magnitude: u64 = value < 0 ? 0 - <u64>value : <u64>value;
  const shift = <u32>clz<u64>(magnitude);
  return round(cpu, wide, u64(value < 0), 63 - <i32>shift, magnitude << shift);
}

function softAdd(cpu: usize, wide: bool, a: u64, b: u64): u64 {
  if (isInfinite(a)) return pack(a, wide);
  if (isInfinite(b)) return pack(b, wide);
  const exactZero: u64 = roundingControl(cpu) == RC_DOWN ? SIGN : 0;
  if (isZero(a) && isZero(b)) return pack(a == b ? a : exactZero, wide);
  if (isZero(a)) return roundDouble(cpu, wide, b);
  if (isZero(b)) return roundDouble(cpu, wide, a);
  if ((a & ~SIGN) < (b & ~SIGN)) {
    const t = a;
    a = b;
    b = t;
  }
  const exponent = exponentOf(a);
  const large = significandOf(a) >> 1;
  const small = shiftRight(significandOf(b) >> 1, <u32>(exponent - exponentOf(b)));
  const sum = (a ^ b) & SIGN ? large - small : large + small;
  if (sum == 0) return pack(exactZero, wide);
  const shift = <u32>clz<u64>(sum);
  return round(cpu, wide, a >> 63, exponent + 1 - <i32>shift, sum << shift);
}

function softMul(cpu: usize, wide: bool, a: u64, b: u64): u64 {
  const sign = (a ^ b) & SIGN;
  if (isInfinite(a) || isInfinite(b)) return pack(sign | INFINITY, wide);
  if (isZero(a) || isZero(b)) return pack(sign, wide);
  const x = significandOf(a);
  const y = significandOf(b);
  const cross = (x & 0xffff_ffff) * (y >> 32) + (((x & 0xffff_ffff) * (y & 0xffff_ffff)) >> 32);
  const middle = (x >> 32) * (y & 0xffff_ffff) + (cross & 0xffff_ffff);
  const high = (x >> 32) * (y >> 32) + (cross >> 32) + (middle >> 32);
  const low = x * y;
  const exponent = exponentOf(a) + exponentOf(b);
  if (high & TOP) return round(cpu, wide, sign >> 63, exponent + 1, high | u64(low != 0));
  return round(cpu, wide, sign >> 63, exponent, (high << 1) | (low >> 63) | u64(low << 1 != 0));
}

function softDiv(cpu: usize, wide: bool, a: u64, b: u64): u64 {
  const sign = (a ^ b) & SIGN;
  if (isInfinite(a)) return pack(sign | INFINITY, wide);
  if (isInfinite(b) || isZero(a)) return pack(sign, wide);
  let rest = significandOf(a) >> 11;
  const divisor = significandOf(b) >> 11;
  let exponent = exponentOf(a) - exponentOf(b);
  if (rest < divisor) {
    rest <<= 1;
    exponent--;
  }
  let quotient: u64 = 0;
  for (let i = 0; i < 56; i++) {
    quotient <<= 1;
    if (rest >= divisor) {
      rest -= divisor;
      quotient |= 1;
    }
    rest <<= 1;
  }
  return round(cpu, wide, sign >> 63, exponent, (quotient << 8) | u64(rest != 0));
}

/** Of a positive number. */
function softSqrt(cpu: usize, wide: bool, a: u64): u64 {
  if (isInfinite(a) || isZero(a)) return pack(a, wide);
  const exponent = exponentOf(a);
  // 54 bits, so that the exponent that goes with them is even.
  let source = significandOf(a) >> (10 + (~exponent & 1));
  let root: u64 = 0;
  let rest: u64 = 0;
  for (let i = 0; i < 56; i++) {
    rest = (rest << 2) | ((source >> 52) & 3);
    source <<= 2;
    const trial = (root << 2) | 1;
    root <<= 1;
    if (rest >= trial) {
      rest -= trial;
      root |= 1;
    }
  }
  return round(cpu, wide, 0, exponent >> 1, (root << 8) | u64(rest != 0));
}

/** IE for operands that the operation is not defined for. `b` of a subtraction has its sign changed already. */
function isInvalid(op: u32, a: u64, b: u64): bool {
  if (op == OP_MUL) return (isInfinite(a) && isZero(b)) || (isZero(a) && isInfinite(b));
  if (op == OP_DIV) return (isInfinite(a) && isInfinite(b)) || (isZero(a) && isZero(b));
  return isInfinite(a) && isInfinite(b) && a != b;
}

export const OP_ADD: u32 = 0;
export const OP_SUB: u32 = 1;
export const OP_MUL: u32 = 2;
export const OP_DIV: u32 = 3;

/** One lane of ADD, SUB, MUL or DIV. */
export function arithmetic(cpu: usize, op: u32, wide: bool, x: u64, y: u64): u64 {
  const daz = denormalsAreZero(cpu);
  const a = operand(x, wide, daz);
  let b = operand(y, wide, daz);
  if (isNan(a) || isNan(b)) return propagateNan(cpu, a, b, wide);
  if (op == OP_SUB) b ^= SIGN;
  if (isInvalid(op, a, b)) {
    note(cpu, IE);
    return defaultNan(wide);
  }
  if (op == OP_DIV && isZero(b) && !isInfinite(a)) {
    note(cpu, ZE);
    return pack(((a ^ b) & SIGN) | INFINITY, wide);
  }
  if (!daz && (isDenormal(x, wide) || isDenormal(y, wide))) note(cpu, DE);
  if (op == OP_MUL) return softMul(cpu, wide, a, b);
  if (op == OP_DIV) return softDiv(cpu, wide, a, b);
  return softAdd(cpu, wide, a, b);
}

/** One lane of SQRT. */
export function squareRoot(cpu: usize, wide: bool, x: u64): u64 {
  const daz = denormalsAreZero(cpu);
  const a = operand(x, wide, daz);
  if (isNan(a)) return propagateNan(cpu, a, a, wide);
  if (a & SIGN && !isZero(a)) {
    note(cpu, IE);
    return defaultNan(wide);
  }
  if (!daz && isDenormal(x, wide)) note(cpu, DE);
  return softSqrt(cpu, wide, a);
}

export const LESS: u32 = 0;
export const EQUAL: u32 = 1;
export const GREATER: u32 = 2;
export const UNORDERED: u32 = 3;

/** How two lanes compare. `quietIsInvalid`: any NaN notes IE, not just a signaling one. */
export function relate(cpu: usize, wide: bool, x: u64, y: u64, quietIsInvalid: bool): u32 {
  const daz = denormalsAreZero(cpu);
  const a = operand(x, wide, daz);
  const b = operand(y, wide, daz);
  if (isNan(a) || isNan(b)) {
    if (quietIsInvalid || isSignaling(a) || isSignaling(b)) note(cpu, IE);
    return UNORDERED;
  }
  if (!daz && (isDenormal(x, wide) || isDenormal(y, wide))) note(cpu, DE);
  const p = reinterpret<f64>(a);
  const q = reinterpret<f64>(b);
  return p < q ? LESS : p == q ? EQUAL : GREATER;
}

/** One lane of MIN or MAX: the second operand whenever the first is not strictly less (greater). */
export function extreme(cpu: usize, wide: bool, x: u64, y: u64, wanted: u32): u64 {
  const chosen = relate(cpu, wide, x, y, true) == wanted ? x : y;
  if (!denormalsAreZero(cpu) || !isDenormal(chosen, wide)) return chosen;
  return chosen & (wide ? SIGN : 0x8000_0000);
}
