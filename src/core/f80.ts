// The 80-bit extended format. Source: Intel SDM vol. 1, 4.2.2 and 8.2. A value is a word of sign and exponent (`se`) and
// a significand of 64 bits (`sig`), whose uppermost bit is the integer bit.

export const SIGN: u32 = 0x8000;
export const EXP: u32 = 0x7fff;
export const BIAS: i32 = 0x3fff;
export const INTEGER: u64 = 0x8000_0000_0000_0000;
export const QUIET: u64 = 0x4000_0000_0000_0000;
/** The default NaN: "real indefinite". */
export const INDEFINITE_SE: u32 = 0xffff;
export const INDEFINITE: u64 = 0xc000_0000_0000_0000;

// Classes; from QNAN on there is nothing to compute with.
export const ZERO: u32 = 0;
export const DENORMAL: u32 = 1;
export const NORMAL: u32 = 2;
export const INFINITY: u32 = 3;
export const QNAN: u32 = 4;
export const SNAN: u32 = 5;
/** Unnormals, pseudo-infinities, pseudo-NaNs: invalid since the 387. */
export const UNSUPPORTED: u32 = 6;

export function isNormal(se: u32, sig: u64): bool {
  return (se & EXP) - 1 < 0x7ffe && <i64>sig < 0;
}

export function classOf(se: u32, sig: u64): u32 {
  const exp = se & EXP;
  if (exp == 0) return sig == 0 ? ZERO : DENORMAL;
  if (<i64>sig >= 0) return UNSUPPORTED;
  if (exp != EXP) return NORMAL;
  if (sig == INTEGER) return INFINITY;
  return sig & QUIET ? QNAN : SNAN;
}

/** The biased exponent once a denormal's significand is normalised: 0 and below for denormals. */
export function normalExp(se: u32, sig: u64): i32 {
  const exp = <i32>(se & EXP);
  return exp != 0 ? exp : 1 - <i32>clz(sig);
}

export function normalSig(sig: u64): u64 {
  return sig << clz(sig);
}
