import { S_FPU_CONTROL, S_FPU_STATUS } from '../ir/state.ts';
import { BIAS, EXP, INTEGER, SIGN } from './f80.ts';
import { C1, PE, put } from './f80-round.ts';
import { divide128 } from './f80-wide.ts';

// Quotients as programs have them nearly always: normal operands and results, 64 bits rounded to nearest, PE masked; sums and
// products of that kind are codegen/fpu-arithmetic.ts. Branches that data decide are avoided. False, with nothing changed, is
// returned when the case is not such a one.

/** Rounding to nearest, precision of 64 bits, PE masked. */
const CONTROL_MASK: u32 = 0xf20;
const CONTROL_PLAIN: u32 = 0x320;

export function isPlain(cpu: usize): bool {
  return (load<u32>(cpu, S_FPU_CONTROL) & CONTROL_MASK) == CONTROL_PLAIN;
}

/** Rounds high:low, normalised, and ends the instruction. */
function settle(cpu: usize, dst: usize, sign: u32, exp: i32, high: u64, low: u64): bool {
  const up = u64(low > INTEGER) | (u64(low == INTEGER) & high);
  const sig = high + (up & 1);
  const carry = u64(sig == 0);
  const e = exp + <i32>carry;
  if (<u32>(e - 1) >= 0x7ffe) return false;
  put(dst, sign | <u32>e, sig | (carry << 63));
  const flags = (u32(low != 0) * PE) | ((<u32>up & 1) * C1);
  store<u32>(cpu, (load<u32>(cpu, S_FPU_STATUS) & ~C1) | flags, S_FPU_STATUS);
  return true;
}

export function fastQuotient(
  cpu: usize,
  dst: usize,
  aSe: u32,
  aSig: u64,
  bSe: u32,
  bSig: u64,
): bool {
  const shift = u64(aSig >= bSig);
  const low = (aSig & shift) << 63;
  const quotient = divide128(aSig >> shift, low, bSig);
  const rest = low - quotient * bSig;
  // Whether twice the rest is below, at or above the divisor.
  const half = bSig - rest;
  const fraction = (u64(rest >= half) << 63) | (u64(rest != 0) & u64(rest != half));
  const exp = <i32>(aSe & EXP) - <i32>(bSe & EXP) + (BIAS - 1) + <i32>shift;
  return settle(cpu, dst, (aSe ^ bSe) & SIGN, exp, quotient, fraction);
}
