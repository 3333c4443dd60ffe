import { S_SCRATCH } from '../ir/state.ts';
import { BIAS, classOf, DENORMAL, EXP, INFINITY, INTEGER, QNAN, SIGN, ZERO } from './f80.ts';
import { nanOf } from './f80-arith.ts';
import { C1, DE, deliver, finish, isUnmasked, PE, roundingControl, roundsUp } from './f80-round.ts';

// Rounding to integers.

/**
 * The magnitude of a finite number, whose exponent is at most that of 2^63, rounded to an integer: left in S_SCRATCH. Returns PE
 * and C1 as they are due. 2^64 wraps to 0, which callers tell from 0 by the exponent.
 */
export function roundToInteger(cpu: usize, se: u32, sig: u64, mode: u32): u32 {
  const shift = BIAS + 63 - <i32>(se & EXP);
  let value = sig;
  let rest: u64 = 0;
  if (shift >= 64) {
    value = 0;
    rest = shift == 64 ? sig : u64(sig != 0);
  } else if (shift > 0) {
    const cut = <u64>shift;
    value = sig >> cut;
    rest = sig << (64 - cut);
  }
  let flags: u32 = rest != 0 ? PE : 0;
  if (roundsUp(mode, se & SIGN, value & 1, rest)) {
    value++;
    flags |= C1;
  }
  store<u64>(cpu, value, S_SCRATCH);
  return flags;
}

/** FRNDINT. */
export function roundToIntegral(cpu: usize, dst: usize, se: u32, sig: u64): bool {
  const kind = classOf(se, sig);
  if (kind >= QNAN) return nanOf(cpu, dst, se, sig);
  if (kind == ZERO || kind == INFINITY || <i32>(se & EXP) >= BIAS + 63)
    return deliver(cpu, dst, se, sig, 0);
  let flags: u32 = kind == DENORMAL ? DE : 0;
  if (isUnmasked(cpu, flags)) {
    finish(cpu, flags);
    return false;
  }
  flags |= roundToInteger(cpu, se, sig, roundingControl(cpu));
  const value = load<u64>(cpu, S_SCRATCH);
  if (value == 0) return deliver(cpu, dst, se & SIGN, 0, flags);
  const shift = clz(value);
  return deliver(cpu, dst, (se & SIGN) | <u32>(BIAS + 63 - <i32>shift), value << shift, flags);
}

/**
 * A number as a signed integer of `bits` bits, left in S_SCRATCH + 8, with PE and C1 in S_SCRATCH + 16. False when it does not
 * fit or is no number: an invalid operation.
 */
export function fitsInteger(cpu: usize, se: u32, sig: u64, mode: u32, bits: u32): bool {
  const kind = classOf(se, sig);
  if (kind >= INFINITY) return false;
  store<u32>(cpu, 0, S_SCRATCH + 16);
  if (kind == ZERO) {
    store<i64>(cpu, 0, S_SCRATCH + 8);
    return true;
  }
  if (<i32>(se & EXP) > BIAS + 63) return false;
  const flags = roundToInteger(cpu, se, sig, mode);
  const value = load<u64>(cpu, S_SCRATCH);
  const limit = INTEGER >> (64 - bits);
  if (se & SIGN ? value > limit : value >= limit) return false;
  store<u32>(cpu, flags, S_SCRATCH + 16);
  store<i64>(cpu, se & SIGN ? -(<i64>value) : <i64>value, S_SCRATCH + 8);
  return true;
}
