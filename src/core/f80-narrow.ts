import { S_SCRATCH } from '../ir/state.ts';
import {
  classOf,
  EXP,
  INFINITY,
  normalExp,
  normalSig,
  QNAN,
  QUIET,
  SIGN,
  SNAN,
  UNSUPPORTED,
  ZERO,
} from './f80.ts';
import {
  C1,
  CHOP,
  IE,
  isUnmasked,
  NEAREST,
  OE,
  PE,
  roundingControl,
  roundsUp,
  UE,
  UP,
} from './f80-round.ts';

// The extended format rounded to doubles and floats: the bits are left in S_SCRATCH, the exceptions returned.

/** Bits of the significand that a double lacks, and a float. */
const DROP64: u32 = 11;
const DROP32: u32 = 40;

export function toF64(cpu: usize, se: u32, sig: u64): u32 {
  const exp = (se & EXP) - 0x3c00;
  // A normal number well inside the range, rounded to nearest: without branches that data decide.
  if (exp - 1 < 0x7fd && <i64>sig < 0 && roundingControl(cpu) == NEAREST) {
    const up = (sig >> 10) & (u64((sig & 0x3ff) != 0) | (sig >> 11)) & 1;
    const magnitude = ((<u64>(exp - 1)) << 52) + (sig >> 11) + up;
    store<u64>(cpu, ((<u64>(se & SIGN)) << 48) | magnitude, S_SCRATCH);
    return (u32(sig << 53 != 0) * PE) | (<u32>up * C1);
  }
  const flags = narrow(cpu, se, sig, DROP64, 0x3c00, 0x7ff);
  if (se & SIGN) store<u64>(cpu, load<u64>(cpu, S_SCRATCH) | ((<u64>1) << 63), S_SCRATCH);
  return flags;
}

export function toF32(cpu: usize, se: u32, sig: u64): u32 {
  const flags = narrow(cpu, se, sig, DROP32, 0x3f80, 0xff);
  if (se & SIGN) store<u64>(cpu, load<u64>(cpu, S_SCRATCH) | ((<u64>1) << 31), S_SCRATCH);
  return flags;
}

/** The magnitude: exponent and fraction as one number. `largest` is the exponent of infinity. */
function narrow(cpu: usize, se: u32, sig: u64, drop: u32, rebias: i32, largest: i32): u32 {
  const width = <u64>(63 - drop);
  const infinity = (<u64>largest) << width;
  const kind = classOf(se, sig);
  if (kind == ZERO || kind == INFINITY) return give(cpu, kind == ZERO ? 0 : infinity, 0);
  if (kind == UNSUPPORTED) {
    // The default NaN is negative.
    const sign = (infinity + ((<u64>1) << width)) & ~infinity;
    return give(cpu, sign | infinity | (QUIET >> drop), IE);
  }
  if (kind >= QNAN) {
    const fraction = ((sig | QUIET) << 1) >> (drop + 1);
    return give(cpu, infinity | fraction, kind == SNAN ? IE : 0);
  }
  const exp = normalExp(se, sig) - rebias;
  const normal = normalSig(sig);
  const rest = normal << (64 - drop);
  const up = roundsUp(roundingControl(cpu), se & SIGN, (normal >> drop) & 1, rest);
  // With the integer bit as a carry into the exponent, a carry out of the fraction does what it should.
  const rounded = (normal >> drop) + u64(up);
  const top = exp + <i32>(rounded >> (width + 1));
  if (top <= 0) return narrowTiny(cpu, se, normal, exp, drop);
  if (top >= largest) return narrowHuge(cpu, se, infinity);
  const bits = ((<u64>(exp - 1)) << width) + rounded;
  return give(cpu, bits, (rest != 0 ? PE : 0) | (up ? C1 : 0));
}

function give(cpu: usize, bits: u64, flags: u32): u32 {
  store<u64>(cpu, bits, S_SCRATCH);
  return flags;
}

function narrowTiny(cpu: usize, se: u32, sig: u64, exp: i32, drop: u32): u32 {
  if (isUnmasked(cpu, UE)) return give(cpu, 0, UE);
  const count = <u32>(1 - exp) + drop;
  const rest = count < 64 ? sig << (64 - count) : count == 64 ? sig : 1;
  const kept = count < 64 ? sig >> count : 0;
  const up = roundsUp(roundingControl(cpu), se & SIGN, kept & 1, rest);
  return give(cpu, kept + u64(up), (rest != 0 ? PE | UE : 0) | (up ? C1 : 0));
}

function narrowHuge(cpu: usize, se: u32, infinity: u64): u32 {
  if (isUnmasked(cpu, OE)) return give(cpu, 0, OE);
  const mode = roundingControl(cpu);
  const up = mode == NEAREST || (mode != CHOP && (mode == UP) == ((se & SIGN) == 0));
  return give(cpu, up ? infinity : infinity - 1, OE | PE | (up ? C1 : 0));
}
