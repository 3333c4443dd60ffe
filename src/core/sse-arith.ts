import { COMPARED_CARRY, COMPARED_EQUAL, COMPARED_GREATER, S_MXCSR } from '../ir/state.ts';
import {
  lanewise,
  OP_ADDSUB,
  OP_COMPARE,
  OP_MAX,
  OP_MIN,
  OP_ROUND,
  OP_SQRT,
  vector,
} from './sse-lanes.ts';
import {
  arithmetic,
  begin,
  EQUAL,
  LESS,
  OP_ADD,
  OP_DIV,
  OP_MUL,
  OP_SUB,
  relate,
  settle,
  UNORDERED,
} from './sse-soft.ts';

// SSE arithmetic. Each function computes with the host's own arithmetic first. That result stands when nobody can tell it
// from the exact one: rounding to nearest, all exceptions masked, the sticky precision flag already set, and operands and
// results such that no other flag can change: normal numbers, or zeros that are exact. DAZ and FZ touch none of these.

/** RC, the masks and PE; and their values in the usual case. */
const USUAL_BITS: u32 = 0x7fa0;
const USUAL: u32 = 0x1fa0;
const MIN32: f32 = 1.1754943508222875e-38;
const MIN64: f64 = 2.2250738585072014e-308;

function usual(cpu: usize): bool {
  return (load<u32>(cpu, S_MXCSR) & USUAL_BITS) == USUAL;
}

/** Lanes that are zero or normal. */
function tamePs(v: v128): v128 {
  const m = f32x4.abs(v);
  const normal = v128.and(f32x4.ge(m, f32x4.splat(MIN32)), f32x4.lt(m, f32x4.splat(Infinity)));
  return v128.or(normal, f32x4.eq(m, f32x4.splat(0)));
}
function tamePd(v: v128): v128 {
  const m = f64x2.abs(v);
  const normal = v128.and(f64x2.ge(m, f64x2.splat(MIN64)), f64x2.lt(m, f64x2.splat(Infinity)));
  return v128.or(normal, f64x2.eq(m, f64x2.splat(0)));
}
function tameSs(x: f32): bool {
  const m = reinterpret<u32>(x) & 0x7fff_ffff;
  return m - 0x80_0000 < 0x7f00_0000 || m == 0;
}
function tameSd(x: f64): bool {
  const m = reinterpret<u64>(x) & 0x7fff_ffff_ffff_ffff;
  return m - 0x10_0000_0000_0000 < 0x7fe0_0000_0000_0000 || m == 0;
}

/** Lanes that are normal, the least normal number excepted: rounding may have made it of a tiny result. */
function normalPs(v: v128): v128 {
  const m = f32x4.abs(v);
  return v128.and(f32x4.gt(m, f32x4.splat(MIN32)), f32x4.lt(m, f32x4.splat(Infinity)));
}
function normalPd(v: v128): v128 {
  const m = f64x2.abs(v);
  return v128.and(f64x2.gt(m, f64x2.splat(MIN64)), f64x2.lt(m, f64x2.splat(Infinity)));
}
function normalSs(x: f32): bool {
  return (reinterpret<u32>(x) & 0x7fff_ffff) - 0x80_0001 < 0x7eff_ffff;
}
function normalSd(x: f64): bool {
  return (
    (reinterpret<u64>(x) & 0x7fff_ffff_ffff_ffff) - 0x10_0000_0000_0001 < 0x7fdf_ffff_ffff_ffff
  );
}

/** Lanes that are neither NaN nor denormal. */
function orderedPs(v: v128): v128 {
  const m = f32x4.abs(v);
  return v128.or(f32x4.ge(m, f32x4.splat(MIN32)), f32x4.eq(m, f32x4.splat(0)));
}
function orderedPd(v: v128): v128 {
  const m = f64x2.abs(v);
  return v128.or(f64x2.ge(m, f64x2.splat(MIN64)), f64x2.eq(m, f64x2.splat(0)));
}
function orderedSs(x: f32): bool {
  const m = abs<f32>(x);
  return m >= MIN32 || m == 0;
}
function orderedSd(x: f64): bool {
  const m = abs<f64>(x);
  return m >= MIN64 || m == 0;
}
function bothPs(a: v128, b: v128): bool {
  return i32x4.all_true(v128.and(a, b));
}
function bothPd(a: v128, b: v128): bool {
  return i64x2.all_true(v128.and(a, b));
}

// For regions (codegen/hot-float.ts): 1 when these operands and their result are what the short ways need to know.
export function sse_usual_ps(cpu: usize, a: v128, b: v128, r: v128): u32 {
  return u32(usual(cpu) && bothPs(v128.and(tamePs(a), tamePs(b)), tamePs(r)));
}
export function sse_usual_pd(cpu: usize, a: v128, b: v128, r: v128): u32 {
  return u32(usual(cpu) && bothPd(v128.and(tamePd(a), tamePd(b)), tamePd(r)));
}
export function sse_usual_ss(cpu: usize, a: v128, b: v128, r: v128): u32 {
  const x = tameSs(f32x4.extract_lane(a, 0)) && tameSs(f32x4.extract_lane(b, 0));
  return u32(x && usual(cpu) && tameSs(f32x4.extract_lane(r, 0)));
}
export function sse_usual_sd(cpu: usize, a: v128, b: v128, r: v128): u32 {
  const x = tameSd(f64x2.extract_lane(a, 0)) && tameSd(f64x2.extract_lane(b, 0));
  return u32(x && usual(cpu) && tameSd(f64x2.extract_lane(r, 0)));
}

export function sse_add_ps(cpu: usize, a: v128, b: v128): v128 {
  const r = f32x4.add(a, b);
  if (usual(cpu) && bothPs(v128.and(tamePs(a), tamePs(b)), tamePs(r))) return r;
  return lanewise(cpu, OP_ADD, false, 4, a, b);
}
export function sse_add_pd(cpu: usize, a: v128, b: v128): v128 {
  const r = f64x2.add(a, b);
  if (usual(cpu) && bothPd(v128.and(tamePd(a), tamePd(b)), tamePd(r))) return r;
  return lanewise(cpu, OP_ADD, true, 2, a, b);
}
export function sse_add_ss(cpu: usize, a: v128, b: v128): v128 {
  const x = f32x4.extract_lane(a, 0);
  const y = f32x4.extract_lane(b, 0);
  if (usual(cpu) && tameSs(x) && tameSs(y) && tameSs(x + y)) return f32x4.replace_lane(a, 0, x + y);
  return lanewise(cpu, OP_ADD, false, 1, a, b);
}
export function sse_add_sd(cpu: usize, a: v128, b: v128): v128 {
  const x = f64x2.extract_lane(a, 0);
  const y = f64x2.extract_lane(b, 0);
  if (usual(cpu) && tameSd(x) && tameSd(y) && tameSd(x + y)) return f64x2.replace_lane(a, 0, x + y);
  return lanewise(cpu, OP_ADD, true, 1, a, b);
}

export function sse_sub_ps(cpu: usize, a: v128, b: v128): v128 {
  const r = f32x4.sub(a, b);
  if (usual(cpu) && bothPs(v128.and(tamePs(a), tamePs(b)), tamePs(r))) return r;
  return lanewise(cpu, OP_SUB, false, 4, a, b);
}
export function sse_sub_pd(cpu: usize, a: v128, b: v128): v128 {
  const r = f64x2.sub(a, b);
  if (usual(cpu) && bothPd(v128.and(tamePd(a), tamePd(b)), tamePd(r))) return r;
  return lanewise(cpu, OP_SUB, true, 2, a, b);
}
export function sse_sub_ss(cpu: usize, a: v128, b: v128): v128 {
  const x = f32x4.extract_lane(a, 0);
  const y = f32x4.extract_lane(b, 0);
  if (usual(cpu) && tameSs(x) && tameSs(y) && tameSs(x - y)) return f32x4.replace_lane(a, 0, x - y);
  return lanewise(cpu, OP_SUB, false, 1, a, b);
}
export function sse_sub_sd(cpu: usize, a: v128, b: v128): v128 {
  const x = f64x2.extract_lane(a, 0);
  const y = f64x2.extract_lane(b, 0);
  if (usual(cpu) && tameSd(x) && tameSd(y) && tameSd(x - y)) return f64x2.replace_lane(a, 0, x - y);
  return lanewise(cpu, OP_SUB, true, 1, a, b);
}

// A product is zero either exactly, when a factor is, or by underflow.
export function sse_mul_ps(cpu: usize, a: v128, b: v128): v128 {
  const r = f32x4.mul(a, b);
  const zero = v128.or(f32x4.eq(a, f32x4.splat(0)), f32x4.eq(b, f32x4.splat(0)));
  const sure = v128.or(normalPs(r), zero);
  if (usual(cpu) && bothPs(v128.and(tamePs(a), tamePs(b)), sure)) return r;
  return lanewise(cpu, OP_MUL, false, 4, a, b);
}
export function sse_mul_pd(cpu: usize, a: v128, b: v128): v128 {
  const r = f64x2.mul(a, b);
  const zero = v128.or(f64x2.eq(a, f64x2.splat(0)), f64x2.eq(b, f64x2.splat(0)));
  const sure = v128.or(normalPd(r), zero);
  if (usual(cpu) && bothPd(v128.and(tamePd(a), tamePd(b)), sure)) return r;
  return lanewise(cpu, OP_MUL, true, 2, a, b);
}
export function sse_mul_ss(cpu: usize, a: v128, b: v128): v128 {
  const x = f32x4.extract_lane(a, 0);
  const y = f32x4.extract_lane(b, 0);
  const r = x * y;
  const sure = normalSs(r) || x == 0 || y == 0;
  if (usual(cpu) && tameSs(x) && tameSs(y) && sure) return f32x4.replace_lane(a, 0, r);
  return lanewise(cpu, OP_MUL, false, 1, a, b);
}
export function sse_mul_sd(cpu: usize, a: v128, b: v128): v128 {
  const x = f64x2.extract_lane(a, 0);
  const y = f64x2.extract_lane(b, 0);
  const r = x * y;
  const sure = normalSd(r) || x == 0 || y == 0;
  if (usual(cpu) && tameSd(x) && tameSd(y) && sure) return f64x2.replace_lane(a, 0, r);
  return lanewise(cpu, OP_MUL, true, 1, a, b);
}

export function sse_div_ps(cpu: usize, a: v128, b: v128): v128 {
  const r = f32x4.div(a, b);
  if (usual(cpu) && bothPs(v128.and(tamePs(a), tamePs(b)), normalPs(r))) return r;
  return lanewise(cpu, OP_DIV, false, 4, a, b);
}
export function sse_div_pd(cpu: usize, a: v128, b: v128): v128 {
  const r = f64x2.div(a, b);
  if (usual(cpu) && bothPd(v128.and(tamePd(a), tamePd(b)), normalPd(r))) return r;
  return lanewise(cpu, OP_DIV, true, 2, a, b);
}
export function sse_div_ss(cpu: usize, a: v128, b: v128): v128 {
  const x = f32x4.extract_lane(a, 0);
  const y = f32x4.extract_lane(b, 0);
  const r = x / y;
  if (usual(cpu) && tameSs(x) && tameSs(y) && normalSs(r)) return f32x4.replace_lane(a, 0, r);
  return lanewise(cpu, OP_DIV, false, 1, a, b);
}
export function sse_div_sd(cpu: usize, a: v128, b: v128): v128 {
  const x = f64x2.extract_lane(a, 0);
  const y = f64x2.extract_lane(b, 0);
  const r = x / y;
  if (usual(cpu) && tameSd(x) && tameSd(y) && normalSd(r)) return f64x2.replace_lane(a, 0, r);
  return lanewise(cpu, OP_DIV, true, 1, a, b);
}

// The root of a normal number is normal; that of a zero is that zero; those of others are NaN, infinite or denormal.
export function sse_sqrt_ps(cpu: usize, a: v128, b: v128): v128 {
  const r = f32x4.sqrt(b);
  if (usual(cpu) && bothPs(tamePs(b), tamePs(r))) return r;
  return lanewise(cpu, OP_SQRT, false, 4, a, b);
}
export function sse_sqrt_pd(cpu: usize, a: v128, b: v128): v128 {
  const r = f64x2.sqrt(b);
  if (usual(cpu) && bothPd(tamePd(b), tamePd(r))) return r;
  return lanewise(cpu, OP_SQRT, true, 2, a, b);
}
export function sse_sqrt_ss(cpu: usize, a: v128, b: v128): v128 {
  const y = f32x4.extract_lane(b, 0);
  const r = sqrt<f32>(y);
  if (usual(cpu) && tameSs(y) && tameSs(r)) return f32x4.replace_lane(a, 0, r);
  return lanewise(cpu, OP_SQRT, false, 1, a, b);
}
export function sse_sqrt_sd(cpu: usize, a: v128, b: v128): v128 {
  const y = f64x2.extract_lane(b, 0);
  const r = sqrt<f64>(y);
  if (usual(cpu) && tameSd(y) && tameSd(r)) return f64x2.replace_lane(a, 0, r);
  return lanewise(cpu, OP_SQRT, true, 1, a, b);
}

// MIN is a < b ? a : b, MAX is a > b ? a : b. Without NaNs and denormals they change no flag in any mode.
export function sse_min_ps(cpu: usize, a: v128, b: v128): v128 {
  if (bothPs(orderedPs(a), orderedPs(b))) return f32x4.pmin(b, a);
  return lanewise(cpu, OP_MIN, false, 4, a, b);
}
export function sse_min_pd(cpu: usize, a: v128, b: v128): v128 {
  if (bothPd(orderedPd(a), orderedPd(b))) return f64x2.pmin(b, a);
  return lanewise(cpu, OP_MIN, true, 2, a, b);
}
export function sse_min_ss(cpu: usize, a: v128, b: v128): v128 {
  const x = f32x4.extract_lane(a, 0);
  const y = f32x4.extract_lane(b, 0);
  if (orderedSs(x) && orderedSs(y)) return f32x4.replace_lane(a, 0, x < y ? x : y);
  return lanewise(cpu, OP_MIN, false, 1, a, b);
}
export function sse_min_sd(cpu: usize, a: v128, b: v128): v128 {
  const x = f64x2.extract_lane(a, 0);
  const y = f64x2.extract_lane(b, 0);
  if (orderedSd(x) && orderedSd(y)) return f64x2.replace_lane(a, 0, x < y ? x : y);
  return lanewise(cpu, OP_MIN, true, 1, a, b);
}
export function sse_max_ps(cpu: usize, a: v128, b: v128): v128 {
  if (bothPs(orderedPs(a), orderedPs(b))) return f32x4.pmax(b, a);
  return lanewise(cpu, OP_MAX, false, 4, a, b);
}
export function sse_max_pd(cpu: usize, a: v128, b: v128): v128 {
  if (bothPd(orderedPd(a), orderedPd(b))) return f64x2.pmax(b, a);
  return lanewise(cpu, OP_MAX, true, 2, a, b);
}
export function sse_max_ss(cpu: usize, a: v128, b: v128): v128 {
  const x = f32x4.extract_lane(a, 0);
  const y = f32x4.extract_lane(b, 0);
  if (orderedSs(x) && orderedSs(y)) return f32x4.replace_lane(a, 0, x > y ? x : y);
  return lanewise(cpu, OP_MAX, false, 1, a, b);
}
export function sse_max_sd(cpu: usize, a: v128, b: v128): v128 {
  const x = f64x2.extract_lane(a, 0);
  const y = f64x2.extract_lane(b, 0);
  if (orderedSd(x) && orderedSd(y)) return f64x2.replace_lane(a, 0, x > y ? x : y);
  return lanewise(cpu, OP_MAX, true, 1, a, b);
}

export function sse_addsub_ps(cpu: usize, a: v128, b: v128): v128 {
  const r = f32x4.add(a, v128.xor(b, i32x4(i32.MIN_VALUE, 0, i32.MIN_VALUE, 0)));
  if (usual(cpu) && bothPs(v128.and(tamePs(a), tamePs(b)), tamePs(r))) return r;
  return lanewise(cpu, OP_ADDSUB, false, 4, a, b);
}
export function sse_addsub_pd(cpu: usize, a: v128, b: v128): v128 {
  const r = f64x2.add(a, v128.xor(b, i64x2(i64.MIN_VALUE, 0)));
  if (usual(cpu) && bothPd(v128.and(tamePd(a), tamePd(b)), tamePd(r))) return r;
  return lanewise(cpu, OP_ADDSUB, true, 2, a, b);
}

function comparePs(a: v128, b: v128, predicate: u32): v128 {
  if (predicate == 0) return f32x4.eq(a, b);
  if (predicate == 1) return f32x4.lt(a, b);
  if (predicate == 2) return f32x4.le(a, b);
  return i32x4.splat(0);
}
function comparePd(a: v128, b: v128, predicate: u32): v128 {
  if (predicate == 0) return f64x2.eq(a, b);
  if (predicate == 1) return f64x2.lt(a, b);
  if (predicate == 2) return f64x2.le(a, b);
  return i64x2.splat(0);
}

/** CMPPS, CMPPD, CMPSS, CMPSD: `predicate` is the immediate. */
export function sse_cmp_ps(cpu: usize, a: v128, b: v128, predicate: u32): v128 {
  if (!bothPs(orderedPs(a), orderedPs(b)))
    return lanewise(cpu, OP_COMPARE + (predicate & 7), false, 4, a, b);
  const r = comparePs(a, b, predicate & 3);
  return predicate & 4 ? v128.not(r) : r;
}
export function sse_cmp_pd(cpu: usize, a: v128, b: v128, predicate: u32): v128 {
  if (!bothPd(orderedPd(a), orderedPd(b)))
    return lanewise(cpu, OP_COMPARE + (predicate & 7), true, 2, a, b);
  const r = comparePd(a, b, predicate & 3);
  return predicate & 4 ? v128.not(r) : r;
}
export function sse_cmp_ss(cpu: usize, a: v128, b: v128, predicate: u32): v128 {
  if (orderedSs(f32x4.extract_lane(a, 0)) && orderedSs(f32x4.extract_lane(b, 0))) {
    const r = i32x4.extract_lane(comparePs(a, b, predicate & 3), 0);
    return i32x4.replace_lane(a, 0, predicate & 4 ? ~r : r);
  }
  return lanewise(cpu, OP_COMPARE + (predicate & 7), false, 1, a, b);
}
export function sse_cmp_sd(cpu: usize, a: v128, b: v128, predicate: u32): v128 {
  if (orderedSd(f64x2.extract_lane(a, 0)) && orderedSd(f64x2.extract_lane(b, 0))) {
    const r = i64x2.extract_lane(comparePd(a, b, predicate & 3), 0);
    return i64x2.replace_lane(a, 0, predicate & 4 ? ~r : r);
  }
  return lanewise(cpu, OP_COMPARE + (predicate & 7), true, 1, a, b);
}

const COMPARED_UNORDERED: i64 = (<i64>3) << COMPARED_CARRY;
const COMPARED_LESS: i64 = COMPARED_UNORDERED | COMPARED_GREATER;

function compared(cpu: usize, wide: bool, x: u64, y: u64, quietIsInvalid: bool): i64 {
  begin(cpu);
  const relation = relate(cpu, wide, x, y, quietIsInvalid);
  settle(cpu);
  if (relation == UNORDERED) return COMPARED_UNORDERED;
  if (relation == EQUAL) return COMPARED_EQUAL;
  return relation == LESS ? COMPARED_LESS : COMPARED_GREATER;
}

/** COMISx (`ordered` 1) and UCOMISx (0): the low lanes. */
export function sse_comi_ss(cpu: usize, a: v128, b: v128, ordered: u32): i64 {
  const x = f32x4.extract_lane(a, 0);
  const y = f32x4.extract_lane(b, 0);
  if (orderedSs(x) && orderedSs(y))
    return x < y ? COMPARED_LESS : x == y ? COMPARED_EQUAL : COMPARED_GREATER;
  return compared(cpu, false, <u64>reinterpret<u32>(x), <u64>reinterpret<u32>(y), ordered != 0);
}
export function sse_comi_sd(cpu: usize, a: v128, b: v128, ordered: u32): i64 {
  const x = f64x2.extract_lane(a, 0);
  const y = f64x2.extract_lane(b, 0);
  if (orderedSd(x) && orderedSd(y))
    return x < y ? COMPARED_LESS : x == y ? COMPARED_EQUAL : COMPARED_GREATER;
  return compared(cpu, true, reinterpret<u64>(x), reinterpret<u64>(y), ordered != 0);
}

/** ROUNDPS and the like: `count` lanes of `b`. */
export function sse_round_ps(cpu: usize, a: v128, b: v128, control: u32, count: u32): v128 {
  return lanewise(cpu, OP_ROUND + (control & 15), false, count, a, b);
}
export function sse_round_pd(cpu: usize, a: v128, b: v128, control: u32, count: u32): v128 {
  return lanewise(cpu, OP_ROUND + (control & 15), true, count, a, b);
}

function singleLane(v: v128, i: u32): u64 {
  const half = <u64>(i < 2 ? i64x2.extract_lane(v, 0) : i64x2.extract_lane(v, 1));
  return i & 1 ? half >> 32 : half & 0xffff_ffff;
}

function product(cpu: usize, a: v128, b: v128, i: u32, mask: u32): u64 {
  if (!((mask >> (4 + i)) & 1)) return 0;
  return arithmetic(cpu, OP_MUL, false, singleLane(a, i), singleLane(b, i));
}

/**
 * DPPS: products where the mask's high bits say, summed in pairs, stored where its low bits say. The order within each
 * sum decides which of two NaNs a lane gets; it is that of Intel's parts.
 */
export function sse_dp_ps(cpu: usize, a: v128, b: v128, mask: u32): v128 {
  begin(cpu);
  const p0 = product(cpu, a, b, 0, mask);
  const p1 = product(cpu, a, b, 1, mask);
  const p2 = product(cpu, a, b, 2, mask);
  const p3 = product(cpu, a, b, 3, mask);
  settle(cpu);
  begin(cpu);
  const s0 = arithmetic(cpu, OP_ADD, false, p1, p0);
  const s1 = arithmetic(cpu, OP_ADD, false, p0, p1);
  const s2 = arithmetic(cpu, OP_ADD, false, p3, p2);
  const s3 = arithmetic(cpu, OP_ADD, false, p2, p3);
  settle(cpu);
  begin(cpu);
  const w0 = mask & 1 ? arithmetic(cpu, OP_ADD, false, s0, s2) : 0;
  const w1 = mask & 2 ? arithmetic(cpu, OP_ADD, false, s1, s3) : 0;
  const w2 = mask & 4 ? arithmetic(cpu, OP_ADD, false, s2, s0) : 0;
  const w3 = mask & 8 ? arithmetic(cpu, OP_ADD, false, s3, s1) : 0;
  if (!(mask & 15)) arithmetic(cpu, OP_ADD, false, s0, s2); // for its flags
  settle(cpu);
  return vector(w0 | (w1 << 32), w2 | (w3 << 32));
}

export function sse_dp_pd(cpu: usize, a: v128, b: v128, mask: u32): v128 {
  let p0: u64 = 0;
  let p1: u64 = 0;
  begin(cpu);
  if (mask & 0x10)
    p0 = arithmetic(cpu, OP_MUL, true, i64x2.extract_lane(a, 0), i64x2.extract_lane(b, 0));
  if (mask & 0x20)
    p1 = arithmetic(cpu, OP_MUL, true, i64x2.extract_lane(a, 1), i64x2.extract_lane(b, 1));
  settle(cpu);
  begin(cpu);
  const s0 = arithmetic(cpu, OP_ADD, true, p0, p1);
  const s1 = arithmetic(cpu, OP_ADD, true, p1, p0);
  settle(cpu);
  return vector(mask & 1 ? s0 : 0, mask & 2 ? s1 : 0);
}
