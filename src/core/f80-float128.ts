import { BIAS, normalExp, normalSig, SIGN } from './f80.ts';
import { divide128, mulHigh, shiftLow } from './f80-wide.ts';

// Numbers with a significand of 128 bits, in memory, for the transcendental functions: significand (upper half u64 at 0, lower at
// 8; its top bit is set, or all are 0 for zero), exponent i32 at 16 (unbiased), sign u32 at 20 (0 or SIGN). Operations cut what does not fit:
// some units of 2^-127 are lost in each.

export const F128_SIZE: usize = 24;

export function high(a: usize): u64 {
  return load<u64>(a);
}

export function low(a: usize): u64 {
  return load<u64>(a, 8);
}

export function exponent(a: usize): i32 {
  return load<i32>(a, 16);
}

export function sign(a: usize): u32 {
  return load<u32>(a, 20);
}

export function set(d: usize, upper: u64, lower: u64, exp: i32, s: u32): void {
  store<u64>(d, upper);
  store<u64>(d, lower, 8);
  store<i32>(d, exp, 16);
  store<u32>(d, s, 20);
}

/** A finite number of the extended format. */
export function setExtended(d: usize, se: u32, sig: u64): void {
  if (sig == 0) set(d, 0, 0, 0, se & SIGN);
  else set(d, normalSig(sig), 0, normalExp(se, sig) - BIAS, se & SIGN);
}

export function setInteger(d: usize, value: i32): void {
  if (value == 0) {
    set(d, 0, 0, 0, 0);
    return;
  }
  const magnitude: u64 = value < 0 ? <u64>-(<i64>value) : value;
  const shift = clz(magnitude);
  set(d, magnitude << shift, 0, 63 - <i32>shift, value < 0 ? SIGN : 0);
}

export function copy(d: usize, a: usize): void {
  set(d, high(a), low(a), exponent(a), sign(a));
}

export function negate(d: usize): void {
  store<u32>(d, sign(d) ^ SIGN, 20);
}

/** Brings the top bit of upper:lower to the top. */
function setNormal(d: usize, upper: u64, lower: u64, exp: i32, s: u32): void {
  if (upper == 0) {
    upper = lower;
    lower = 0;
    exp -= 64;
  }
  if (upper == 0) {
    set(d, 0, 0, 0, 0);
    return;
  }
  const shift = clz(upper);
  if (shift != 0) {
    upper = (upper << shift) | (lower >> (64 - shift));
    lower <<= shift;
  }
  set(d, upper, lower, exp - <i32>shift, s);
}

export function multiply(d: usize, a: usize, b: usize): void {
  const s = sign(a) ^ sign(b);
  const a1 = high(a);
  const b1 = high(b);
  const cross1 = mulHigh(a1, low(b));
  const cross2 = mulHigh(low(a), b1);
  const cross = cross1 + cross2;
  const carry = u64(cross < cross1);
  const product = a1 * b1;
  const lower = product + cross;
  const upper = mulHigh(a1, b1) + carry + u64(lower < product);
  setNormal(d, upper, lower, exponent(a) + exponent(b) + 1, s);
}

export function add(d: usize, a: usize, b: usize): void {
  if (high(b) == 0) {
    copy(d, a);
    return;
  }
  if (high(a) == 0) {
    copy(d, b);
    return;
  }
  if (isSmaller(a, b)) addOrdered(d, b, a);
  else addOrdered(d, a, b);
}

function isSmaller(a: usize, b: usize): bool {
  if (exponent(a) != exponent(b)) return exponent(a) < exponent(b);
  return high(a) != high(b) ? high(a) < high(b) : low(a) < low(b);
}

function addOrdered(d: usize, a: usize, b: usize): void {
  const distance = exponent(a) - exponent(b);
  let upper: u64 = 0;
  let lower: u64 = 0;
  if (distance == 0) {
    upper = high(b);
    lower = low(b);
  } else if (distance < 128) {
    upper = distance < 64 ? high(b) >> <u64>distance : 0;
    lower = shiftLow(high(b), low(b), <u32>distance);
  }
  const s = sign(a);
  const exp = exponent(a);
  if (s == sign(b)) {
    const sumLow = low(a) + lower;
    const carry = u64(sumLow < lower);
    const sum = high(a) + upper;
    const total = sum + carry;
    if (sum < upper || total < sum)
      set(d, (total >> 1) | ((<u64>1) << 63), (sumLow >> 1) | (total << 63), exp + 1, s);
    else set(d, total, sumLow, exp, s);
    return;
  }
  const borrow = u64(low(a) < lower);
  setNormal(d, high(a) - upper - borrow, low(a) - lower, exp, s);
}

/** a / b; `t` is room for one number. */
export function divide(d: usize, a: usize, b: usize, t: usize): void {
  const s = sign(a) ^ sign(b);
  const dividend = t;
  set(dividend, high(a), low(a), exponent(a), 0);
  const exp = exponent(a) - exponent(b);
  // Two digits of 64 bits; each may be a few units too small or large, which the sum makes good.
  const first = quotient64(high(a), high(b));
  const digit = d == b ? t + F128_SIZE : d;
  set(digit, first, 0, exp, 0);
  normalizeTop(digit);
  multiply(t + F128_SIZE * 2, digit, b);
  const product = t + F128_SIZE * 2;
  store<u32>(product, SIGN, 20);
  add(dividend, dividend, product);
  if (high(dividend) != 0) {
    const second = quotient64(high(dividend), high(b));
    set(product, second, 0, exponent(dividend) - exponent(b), sign(dividend));
    normalizeTop(product);
    add(d, digit, product);
  } else copy(d, digit);
  store<u32>(d, s, 20);
}

/** a / b in units of 2^-63, at most 2^64 - 1; both have their top bits set. */
function quotient64(a: u64, b: u64): u64 {
  return a < b
    ? divide128(a >> 1, a << 63, b)
    : divide128((a - b) >> 1, (a - b) << 63, b) + ((<u64>1) << 63);
}

function normalizeTop(d: usize): void {
  const shift = clz(high(d));
  set(d, high(d) << shift, 0, exponent(d) - <i32>shift, sign(d));
}

/** a / n; `n` from 1 to 2^31. */
export function divideSmall(d: usize, a: usize, n: u32): void {
  const shift = clz<u64>(n);
  const divisor = (<u64>n) << shift;
  // The dividend is halved, so that it is below the divisor.
  const upper = high(a) >> 1;
  const lower = (high(a) << 63) | (low(a) >> 1);
  const q1 = divide128(upper, lower, divisor);
  const rest = lower - q1 * divisor;
  const q0 = divide128(rest, low(a) << 63, divisor);
  setNormal(d, q1, q0, exponent(a) - (63 - <i32>shift), sign(a));
}
