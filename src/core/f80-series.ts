import { S_F128 } from '../ir/state.ts';
import { SIGN } from './f80.ts';
import {
  add,
  copy,
  divide,
  divideSmall,
  exponent,
  F128_SIZE,
  high,
  low,
  multiply,
  negate,
  set,
  setInteger,
  sign,
} from './f80-float128.ts';

// Elementary functions on numbers of 128 bits by their Taylor series, after reduction to small arguments.

/** Room for one number each: see `slot`. From SPARE on three that divisions use. */
const SQUARE: u32 = 0;
const SUM: u32 = 1;
const TERM: u32 = 2;
const ONE: u32 = 3;
const SPARE: u32 = 4;
const LEFT: u32 = 7;
const RIGHT: u32 = 8;
/** The first that these functions leave alone. */
export const FREE: u32 = 9;

const SQRT2: u64 = 0xb504_f333_f9de_6484;
const PI_HIGH: u64 = 0xc90f_daa2_2168_c234;
const PI_LOW: u64 = 0xc4c6_628b_80dc_1cd1;
const INV_LN2_HIGH: u64 = 0xb8aa_3b29_5c17_f0bb;
const INV_LN2_LOW: u64 = 0xbe87_fed0_691d_3e89;
const LN2_HIGH: u64 = 0xb172_17f7_d1cf_79ab;
const LN2_LOW: u64 = 0xc9e3_b398_03f2_f6af;
/** pi/2 as Intel's processors reduce by: 66 bits, in units of 2^-65. */
const HALF_PI_HIGH: u64 = 3;
const HALF_PI_LOW: u64 = 0x243f_6a88_85a3_08d3;

/** atan(k / 8), k from 1: significands in two words, and minus the exponent. */
const ATAN: StaticArray<u64> = [
  0xfeadd4d5617b6e32, 0xc897989f3e888ef8, 4, 0xfadbafc96406eb15, 0x6dc79ef5f7a217e6, 3,
  0xb7b0ca0f26f78473, 0x8aa32122dcfe4483, 2, 0xed63382b0dda7b45, 0x6fe445ecbc3a8d03, 2,
  0x8f005d5ef7f59f9b, 0x5c835e1665c43748, 1, 0xa4bc7d1934f70924, 0x19a87f2a457dac9f, 1,
  0xb8053e2bc2319e73, 0xcb2da55210a4443d, 1, 0xc90fdaa22168c234, 0xc4c6628b80dc1cd1, 1,
];

export function slot(cpu: usize, i: u32): usize {
  return cpu + S_F128 + i * F128_SIZE;
}

/** Terms until they are below 2^-80, when each is smaller than the one before by at least the exponent of `ratio`. */
function terms(ratio: usize, least: i32): i32 {
  const bits = -exponent(ratio);
  return 80 / (bits < least ? least : bits) + 2;
}

/** d = x - x^3/3! + x^5/5! …, |x| at most pi/4. */
export function sine(cpu: usize, d: usize, x: usize): void {
  alternating(cpu, x, 1);
  multiply(d, x, slot(cpu, SUM));
}

/** d = 1 - x^2/2! + x^4/4! … */
export function cosine(cpu: usize, d: usize, x: usize): void {
  alternating(cpu, x, 0);
  copy(d, slot(cpu, SUM));
}

/** 1 - x^2/(1+odd)(2+odd) * (1 - x^2/(3+odd)(4+odd) * (…)) */
function alternating(cpu: usize, x: usize, odd: i32): void {
  const square = slot(cpu, SQUARE);
  const sum = slot(cpu, SUM);
  const one = slot(cpu, ONE);
  multiply(square, x, x);
  setInteger(one, 1);
  setInteger(sum, 1);
  for (let k = terms(square, 6); k > 0; k--) {
    multiply(sum, sum, square);
    divideSmall(sum, sum, (2 * k - 1 + odd) * (2 * k + odd));
    negate(sum);
    add(sum, one, sum);
  }
}

/** d = 2^x - 1, |x| at most 1. */
export function exponential(cpu: usize, d: usize, x: usize): void {
  const y = slot(cpu, LEFT);
  const sum = slot(cpu, SUM);
  const one = slot(cpu, ONE);
  set(y, LN2_HIGH, LN2_LOW, -1, 0);
  multiply(y, y, x);
  setInteger(one, 1);
  setInteger(sum, 1);
  for (let k = terms(y, 3); k > 1; k--) {
    multiply(sum, sum, y);
    divideSmall(sum, sum, k);
    add(sum, one, sum);
  }
  multiply(d, y, sum);
}

/** d = s + s^3/3 + s^5/5 …, or with `negative` alternating signs; |s| below 1/5. */
function oddSeries(cpu: usize, d: usize, s: usize, negative: bool): void {
  const square = slot(cpu, SQUARE);
  const sum = slot(cpu, SUM);
  const term = slot(cpu, TERM);
  const one = slot(cpu, ONE);
  multiply(square, s, s);
  if (negative) negate(square);
  setInteger(one, 1);
  let k = terms(square, 5);
  divideSmall(sum, one, 2 * k + 1);
  for (k--; k >= 0; k--) {
    multiply(sum, sum, square);
    divideSmall(term, one, 2 * k + 1);
    add(sum, sum, term);
  }
  multiply(d, s, sum);
}

/** d = log2((1 + s) / (1 - s)) */
function logarithmOfRatio(cpu: usize, d: usize, s: usize): void {
  oddSeries(cpu, d, s, false);
  const factor = slot(cpu, TERM);
  set(factor, INV_LN2_HIGH, INV_LN2_LOW, 1, 0);
  multiply(d, d, factor);
}

/** d = log2(x), x above 0. */
export function logarithm(cpu: usize, d: usize, x: usize): void {
  const m = slot(cpu, LEFT);
  const sum = slot(cpu, RIGHT);
  const one = slot(cpu, ONE);
  const large = high(x) > SQRT2;
  const exp = exponent(x) + i32(large);
  set(m, high(x), low(x), large ? -1 : 0, 0);
  setInteger(one, 1);
  add(sum, m, one);
  negate(one);
  add(m, m, one);
  if (high(m) == 0) {
    setInteger(d, exp);
    return;
  }
  divide(m, m, sum, slot(cpu, SPARE));
  logarithmOfRatio(cpu, d, m);
  setInteger(sum, exp);
  add(d, d, sum);
}

/** d = log2(1 + x), x above -1. */
export function logarithmPlusOne(cpu: usize, d: usize, x: usize): void {
  const sum = slot(cpu, RIGHT);
  if (exponent(x) >= -2) {
    setInteger(sum, 1);
    const shifted = slot(cpu, TERM);
    add(shifted, x, sum);
    logarithm(cpu, d, shifted);
    return;
  }
  const ratio = slot(cpu, LEFT);
  setInteger(sum, 2);
  add(sum, sum, x);
  divide(ratio, x, sum, slot(cpu, SPARE));
  logarithmOfRatio(cpu, d, ratio);
}

/** d = the angle of the point (x, y), neither 0, in its quadrant. */
export function arcTangent(cpu: usize, d: usize, y: usize, x: usize): void {
  const t = slot(cpu, LEFT);
  const steep = isLarger(y, x);
  if (steep) divide(t, x, y, slot(cpu, SPARE));
  else divide(t, y, x, slot(cpu, SPARE));
  store<u32>(t, 0, 20);
  arcTangentOfRatio(cpu, d, t);
  const part = slot(cpu, TERM);
  if (steep) {
    negate(d);
    set(part, PI_HIGH, PI_LOW, 0, 0);
    add(d, part, d);
  }
  if (sign(x)) {
    negate(d);
    set(part, PI_HIGH, PI_LOW, 1, 0);
    add(d, part, d);
  }
  store<u32>(d, sign(y), 20);
}

function isLarger(a: usize, b: usize): bool {
  return exponent(a) != exponent(b) ? exponent(a) > exponent(b) : high(a) > high(b);
}

/** d = atan(t), t from 0 to 1; t is lost. */
function arcTangentOfRatio(cpu: usize, d: usize, t: usize): void {
  const exp = exponent(t);
  const eighths = exp < -4 ? 0 : <u32>(((high(t) >> <u64>(59 - exp)) + 1) >> 1);
  if (eighths == 0) {
    oddSeries(cpu, d, t, true);
    return;
  }
  // atan(t) = atan(c) + atan((t - c) / (1 + t c))
  const c = slot(cpu, RIGHT);
  const sum = slot(cpu, SUM);
  setInteger(c, <i32>eighths);
  store<i32>(c, exponent(c) - 3, 16);
  multiply(sum, t, c);
  setInteger(slot(cpu, ONE), 1);
  add(sum, sum, slot(cpu, ONE));
  negate(c);
  add(t, t, c);
  if (high(t) == 0) {
    setInteger(d, 0);
  } else {
    copy(c, sum);
    divide(t, t, c, slot(cpu, SPARE));
    oddSeries(cpu, d, t, true);
  }
  const angle = slot(cpu, TERM);
  const at = (eighths - 1) * 3;
  set(angle, unchecked(ATAN[at]), unchecked(ATAN[at + 1]), -(<i32>unchecked(ATAN[at + 2])), 0);
  add(d, d, angle);
}

/** d = pi times `quarters` / 4. */
export function quarterTurns(cpu: usize, d: usize, quarters: i32): void {
  const pi = slot(cpu, TERM);
  set(pi, PI_HIGH, PI_LOW, -1, 0);
  setInteger(d, quarters);
  multiply(d, d, pi);
}

/** Reduces |x|, below 2^63, to d, at most pi/4 in magnitude; returns how many times pi/2 was taken, modulo 4. */
export function reduceAngle(d: usize, x: usize): u32 {
  let left = exponent(x) + 2;
  if (left < 0) {
    set(d, high(x), low(x), exponent(x), 0);
    return 0;
  }
  let upper: u64 = 0;
  let lower = high(x);
  let turns: u32 = 0;
  for (; left > 0; left--) {
    upper = (upper << 1) | (lower >> 63);
    lower <<= 1;
    turns <<= 1;
    if (upper > HALF_PI_HIGH || (upper == HALF_PI_HIGH && lower >= HALF_PI_LOW)) {
      upper -= HALF_PI_HIGH + u64(lower < HALF_PI_LOW);
      lower -= HALF_PI_LOW;
      turns++;
    }
  }
  let s: u32 = 0;
  const twice = (upper << 1) | (lower >> 63);
  if (twice > HALF_PI_HIGH || (twice == HALF_PI_HIGH && lower << 1 > HALF_PI_LOW)) {
    upper = HALF_PI_HIGH - upper - u64(lower > HALF_PI_LOW);
    lower = HALF_PI_LOW - lower;
    s = SIGN;
    turns++;
  }
  setFixed(d, upper, lower, s);
  return turns & 3;
}

/** upper:lower in units of 2^-65. */
function setFixed(d: usize, upper: u64, lower: u64, s: u32): void {
  if (upper == 0) {
    const shift = clz(lower);
    set(d, lower << shift, 0, -2 - <i32>shift, s);
    return;
  }
  const shift = clz(upper);
  set(d, (upper << shift) | (lower >> (64 - shift)), lower << shift, 62 - <i32>shift, s);
}
