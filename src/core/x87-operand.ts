import { S_SCRATCH } from '../ir/state.ts';
import { EXP, INTEGER, SIGN } from './f80.ts';
import { DE } from './f80-round.ts';

// Operands from memory in the extended format: the value is left in S_SCRATCH. The exceptions found on the way are returned;
// a signalling NaN stays one.

const FRACTION64: u64 = 0x000f_ffff_ffff_ffff;
const FRACTION32: u32 = 0x007f_ffff;

/** Bias of the extended format minus that of doubles and floats. */
export const REBIAS64: u32 = 0x3c00;
const REBIAS32: u32 = 0x3f80;

function leave(cpu: usize, se: u32, sig: u64): void {
  store<u64>(cpu, sig, S_SCRATCH);
  store<u32>(cpu, se, S_SCRATCH + 8);
}

export function fromF64(cpu: usize, bits: u64): u32 {
  const sign = <u32>(bits >> 48) & SIGN;
  const exp = <u32>(bits >> 52) & 0x7ff;
  const sig = INTEGER | (bits << 11);
  if (exp - 1 < 0x7fe) {
    leave(cpu, sign | (exp + REBIAS64), sig);
    return 0;
  }
  if (exp != 0) {
    leave(cpu, sign | EXP, sig);
    return 0;
  }
  return fromSubnormal(cpu, sign, (bits & FRACTION64) << 11, REBIAS64 + 1);
}

export function fromF32(cpu: usize, bits: u32): u32 {
  const sign = (bits >> 16) & SIGN;
  const exp = (bits >> 23) & 0xff;
  const sig = INTEGER | ((<u64>bits) << 40);
  if (exp - 1 < 0xfe) {
    leave(cpu, sign | (exp + REBIAS32), sig);
    return 0;
  }
  if (exp != 0) {
    leave(cpu, sign | EXP, sig);
    return 0;
  }
  return fromSubnormal(cpu, sign, (<u64>(bits & FRACTION32)) << 40, REBIAS32 + 1);
}

/** `sig` is in units of 2^-63 at the exponent `exp`. */
function fromSubnormal(cpu: usize, sign: u32, sig: u64, exp: u32): u32 {
  if (sig == 0) {
    leave(cpu, sign, 0);
    return 0;
  }
  const shift = clz(sig);
  leave(cpu, sign | (exp - <u32>shift), sig << shift);
  return DE;
}

export function fromInteger(cpu: usize, value: i64): u32 {
  if (value == 0) {
    leave(cpu, 0, 0);
    return 0;
  }
  const magnitude = value < 0 ? <u64>-value : <u64>value;
  const shift = clz(magnitude);
  leave(cpu, (value < 0 ? SIGN : 0) | (0x3fff + 63 - <u32>shift), magnitude << shift);
  return 0;
}

export function operandSe(cpu: usize): u32 {
  return load<u32>(cpu, S_SCRATCH + 8);
}

export function operandSig(cpu: usize): u64 {
  return load<u64>(cpu, S_SCRATCH);
}
