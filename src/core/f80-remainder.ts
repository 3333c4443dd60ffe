import { S_FPU_STATUS } from '../ir/state.ts';
import {
  BIAS,
  classOf,
  DENORMAL,
  EXP,
  INFINITY,
  INTEGER,
  normalExp,
  normalSig,
  QNAN,
  SIGN,
  ZERO,
} from './f80.ts';
import { nanResult } from './f80-arith.ts';
import {
  C0,
  C1,
  C2,
  C3,
  DE,
  deliver,
  finish,
  invalid,
  isUnmasked,
  roundFull,
} from './f80-round.ts';
import { divide128 } from './f80-wide.ts';

// FPREM, FPREM1, FSCALE. The condition codes that they return go with `finish` like exceptions.

/** Far beyond any exponent, wrapped ones included. */
const HUGE: i32 = 0x20000;

function denormalFlag(a: u32, b: u32): u32 {
  return a == DENORMAL || b == DENORMAL ? DE : 0;
}

/** Bits 2, 1 and 0 of the quotient in C0, C3 and C1. */
function quotientCodes(q: u64): u32 {
  return (q & 4 ? C0 : 0) | (q & 2 ? C3 : 0) | (q & 1 ? C1 : 0);
}

/** The remainder of a / b, the quotient cut (FPREM) or rounded to nearest (FPREM1). C2 is clear before. */
export function remainder(
  cpu: usize,
  dst: usize,
  aSe: u32,
  aSig: u64,
  bSe: u32,
  bSig: u64,
  nearest: bool,
): bool {
  const a = classOf(aSe, aSig);
  const b = classOf(bSe, bSig);
  if (a >= QNAN || b >= QNAN) return nanResult(cpu, dst, aSe, aSig, bSe, bSig);
  if (a == INFINITY || b == ZERO) return invalid(cpu, dst);
  const flags = denormalFlag(a, b);
  if (isUnmasked(cpu, flags)) {
    finish(cpu, flags);
    return false;
  }
  store<u32>(cpu, load<u32>(cpu, S_FPU_STATUS) & ~(C0 | C3), S_FPU_STATUS);
  if (a == ZERO || b == INFINITY) {
    // A denormal passes as it is, which is no underflow; a pseudo-denormal becomes the normal number that it is.
    const isPseudo = a == DENORMAL && <i64>aSig < 0;
    return deliver(cpu, dst, aSe | u32(isPseudo), aSig, flags);
  }
  const aExp = normalExp(aSe, aSig);
  const bExp = normalExp(bSe, bSig);
  const aNormal = normalSig(aSig);
  const bNormal = normalSig(bSig);
  return reduce(cpu, dst, aSe & SIGN, aExp, aNormal, aExp - bExp, bNormal, nearest, flags);
}

function reduce(
  cpu: usize,
  dst: usize,
  sign: u32,
  aExp: i32,
  a: u64,
  distance: i32,
  b: u64,
  nearest: bool,
  flags: u32,
): bool {
  if (distance < 0) {
    // Less than half the divisor unless the exponents are next to each other.
    if (!nearest || distance < -1 || a <= b) return roundFull(cpu, dst, sign, aExp, a, 0, flags);
    const rest = b - (a - b);
    return deliverRest(cpu, dst, sign ^ SIGN, aExp, rest, flags | C1);
  }
  // Too far for one step: as many bits as Intel's processors do at once.
  const partial = distance >= 64;
  const step = partial ? (distance & 31) | 32 : distance;
  const high = step == 0 ? 0 : a >> <u64>(64 - step);
  const low = a << (<u64>step);
  let quotient = step == 0 ? u64(a >= b) : divide128(high, low, b);
  let rest = low - quotient * b;
  const exp = aExp - step;
  if (partial) return deliverRest(cpu, dst, sign, exp, rest, flags | C2);
  if (nearest && (rest > b - rest || (rest == b - rest && quotient & 1))) {
    rest = b - rest;
    sign ^= SIGN;
    quotient++;
  }
  return deliverRest(cpu, dst, sign, exp, rest, flags | quotientCodes(quotient));
}

function deliverRest(cpu: usize, dst: usize, sign: u32, exp: i32, rest: u64, flags: u32): bool {
  if (rest == 0) return deliver(cpu, dst, sign, 0, flags);
  const shift = clz(rest);
  return roundFull(cpu, dst, sign, exp - <i32>shift, rest << shift, 0, flags);
}

/** a times 2 to the integer part of b. */
export function scale(cpu: usize, dst: usize, aSe: u32, aSig: u64, bSe: u32, bSig: u64): bool {
  const a = classOf(aSe, aSig);
  const b = classOf(bSe, bSig);
  if (a >= QNAN || b >= QNAN) return nanResult(cpu, dst, aSe, aSig, bSe, bSig);
  const down = (bSe & SIGN) != 0;
  if (b == INFINITY && a == (down ? INFINITY : ZERO)) return invalid(cpu, dst);
  const flags = denormalFlag(a, b);
  if (isUnmasked(cpu, flags)) {
    finish(cpu, flags);
    return false;
  }
  const sign = aSe & SIGN;
  if (a == ZERO || a == INFINITY) return deliver(cpu, dst, aSe, aSig, flags);
  if (b == INFINITY) {
    return deliver(cpu, dst, down ? sign : sign | EXP, down ? 0 : INTEGER, flags);
  }
  const by = integerPart(bSe, bSig);
  const exp = normalExp(aSe, aSig) + (down ? -by : by);
  return roundFull(cpu, dst, sign, exp, normalSig(aSig), 0, flags);
}

/** The magnitude's integer part, at most HUGE. */
function integerPart(se: u32, sig: u64): i32 {
  const exp = <i32>(se & EXP) - BIAS;
  if (exp < 0) return 0;
  return exp > 16 ? HUGE : <i32>(sig >> <u64>(63 - exp));
}

/** FXTRACT's exponent, as a number, to `dst`; its significand is left to the caller. */
export function exponentOf(cpu: usize, dst: usize, se: u32, sig: u64, flags: u32): bool {
  const exp = normalExp(se, sig) - BIAS;
  if (exp == 0) return deliver(cpu, dst, 0, 0, flags);
  const magnitude: u64 = exp < 0 ? -exp : exp;
  const shift = clz(magnitude);
  const sign = exp < 0 ? SIGN : 0;
  return deliver(cpu, dst, sign | <u32>(BIAS + 63 - <i32>shift), magnitude << shift, flags);
}
