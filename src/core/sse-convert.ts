import { S_MXCSR } from '../ir/state.ts';
import {
  lanewise,
  OP_FROM_INTEGER,
  OP_TO_INTEGER,
  OP_TRUNCATE,
  toInteger,
  vector,
} from './sse-lanes.ts';
import {
  begin,
  DE,
  denormalsAreZero,
  isDenormal,
  isNan,
  note,
  operand,
  propagateNan,
  roundDouble,
  roundInteger,
  settle,
} from './sse-soft.ts';

const RC_AND_PE: u32 = 0x7020;
/** Rounding to nearest, PE masked and already set: rounding changes no flag. */
const RC_AND_PE_USUAL: u32 = 0x1020;
const USUAL_BITS: u32 = 0x7fa0;
const USUAL: u32 = 0x1fa0;

/** The float's exponent field is neither all ones nor, unless all of it is zero, all zeros. */
function tame32(bits: u32): bool {
  const m = bits & 0x7fff_ffff;
  return m - 0x80_0000 < 0x7f00_0000 || m == 0;
}

/** PE masked and already set: truncation changes no other flag, whatever the rounding mode. */
const PE_USUAL: u32 = 0x1020;

/** CVTxx2SI to 32 bits of the low lane. `truncate`: CVTTxx2SI. */
export function sse_to_i32(cpu: usize, v: v128, wide: u32, truncate: u32): i32 {
  if (truncate && (load<u32>(cpu, S_MXCSR) & PE_USUAL) == PE_USUAL) {
    const x = wide ? f64x2.extract_lane(v, 0) : <f64>f32x4.extract_lane(v, 0);
    if (x > -2147483649.0 && x < 2147483648.0) return <i32>x;
  }
  begin(cpu);
  const result = <i32>toInteger(cpu, lowLane(v, wide != 0), wide != 0, truncate != 0, false);
  settle(cpu);
  return result;
}

export function sse_to_i64(cpu: usize, v: v128, wide: u32, truncate: u32): i64 {
  if (truncate && (load<u32>(cpu, S_MXCSR) & PE_USUAL) == PE_USUAL) {
    const x = wide ? f64x2.extract_lane(v, 0) : <f64>f32x4.extract_lane(v, 0);
    if (x >= -9223372036854775808.0 && x < 9223372036854775808.0) return <i64>x;
  }
  begin(cpu);
  const result = toInteger(cpu, lowLane(v, wide != 0), wide != 0, truncate != 0, true);
  settle(cpu);
  return result;
}

function lowLane(v: v128, wide: bool): u64 {
  const low = <u64>i64x2.extract_lane(v, 0);
  return wide ? low : low & 0xffff_ffff;
}

/** CVTSI2SS: `a` with the integer in its low lane. */
export function sse_from_i64_ss(cpu: usize, a: v128, value: i64): v128 {
  if ((load<u32>(cpu, S_MXCSR) & RC_AND_PE) == RC_AND_PE_USUAL)
    return f32x4.replace_lane(a, 0, <f32>value);
  begin(cpu);
  const result = <u32>roundInteger(cpu, false, value);
  settle(cpu);
  return i32x4.replace_lane(a, 0, result);
}

export function sse_from_i64_sd(cpu: usize, a: v128, value: i64): v128 {
  const small = value == <i64>(<i32>value);
  const usual = (load<u32>(cpu, S_MXCSR) & RC_AND_PE) == RC_AND_PE_USUAL;
  if (small || usual) return f64x2.replace_lane(a, 0, <f64>value);
  begin(cpu);
  const result = roundInteger(cpu, true, value);
  settle(cpu);
  return i64x2.replace_lane(a, 0, result);
}

function doubleToSingle(cpu: usize, bits: u64): u64 {
  const a = operand(bits, true, denormalsAreZero(cpu));
  if (isNan(a)) return propagateNan(cpu, a, a, false);
  if (isDenormal(a, true)) note(cpu, DE);
  if ((a & 0x7fff_ffff_ffff_ffff) == 0x7ff0_0000_0000_0000)
    return ((a >> 32) & 0x8000_0000) | 0x7f80_0000;
  return roundDouble(cpu, false, a);
}

function singleToDouble(cpu: usize, bits: u64): u64 {
  const daz = denormalsAreZero(cpu);
  const a = operand(bits, false, daz);
  if (isNan(a)) return propagateNan(cpu, a, a, true);
  if (!daz && isDenormal(bits, false)) note(cpu, DE);
  return a;
}

/** CVTSD2SS. */
export function sse_cvt_sd_ss(cpu: usize, a: v128, b: v128): v128 {
  const x = f64x2.extract_lane(b, 0);
  const r = <f32>x;
  const m = reinterpret<u32>(r) & 0x7fff_ffff;
  if ((load<u32>(cpu, S_MXCSR) & USUAL_BITS) == USUAL && (m - 0x80_0001 < 0x7eff_ffff || x == 0)) {
    return f32x4.replace_lane(a, 0, r);
  }
  begin(cpu);
  const result = <u32>doubleToSingle(cpu, reinterpret<u64>(x));
  settle(cpu);
  return i32x4.replace_lane(a, 0, result);
}

/** CVTSS2SD. Exact, so that only NaNs, infinities and denormals need a look. */
export function sse_cvt_ss_sd(cpu: usize, a: v128, b: v128): v128 {
  const bits = <u32>i32x4.extract_lane(b, 0);
  if (tame32(bits)) return f64x2.replace_lane(a, 0, <f64>reinterpret<f32>(bits));
  begin(cpu);
  const result = singleToDouble(cpu, <u64>bits);
  settle(cpu);
  return i64x2.replace_lane(a, 0, result);
}

/** CVTPD2PS: two singles, upper half zero. */
export function sse_cvt_pd_ps(cpu: usize, b: v128): v128 {
  begin(cpu);
  const low = doubleToSingle(cpu, i64x2.extract_lane(b, 0));
  const high = doubleToSingle(cpu, i64x2.extract_lane(b, 1));
  settle(cpu);
  return vector(low | (high << 32), 0);
}

/** CVTPS2PD: of the low two singles. */
export function sse_cvt_ps_pd(cpu: usize, b: v128): v128 {
  const both = <u64>i64x2.extract_lane(b, 0);
  if (tame32(<u32>both) && tame32(<u32>(both >> 32))) return f64x2.promote_low_f32x4(b);
  begin(cpu);
  const low = singleToDouble(cpu, both & 0xffff_ffff);
  const high = singleToDouble(cpu, both >> 32);
  settle(cpu);
  return vector(low, high);
}

/** CVTPS2DQ and CVTTPS2DQ. */
export function sse_cvt_ps_dq(cpu: usize, b: v128, truncate: u32): v128 {
  return lanewise(cpu, truncate ? OP_TRUNCATE : OP_TO_INTEGER, false, 4, b, b);
}

/** CVTDQ2PS. */
export function sse_cvt_dq_ps(cpu: usize, b: v128): v128 {
  if ((load<u32>(cpu, S_MXCSR) & RC_AND_PE) == RC_AND_PE_USUAL) return f32x4.convert_i32x4_s(b);
  return lanewise(cpu, OP_FROM_INTEGER, false, 4, b, b);
}

/** CVTPD2DQ and CVTTPD2DQ: two integers, upper half zero. */
export function sse_cvt_pd_dq(cpu: usize, b: v128, truncate: u32): v128 {
  begin(cpu);
  const low =
    <u64>toInteger(cpu, i64x2.extract_lane(b, 0), true, truncate != 0, false) & 0xffff_ffff;
  const high = <u64>toInteger(cpu, i64x2.extract_lane(b, 1), true, truncate != 0, false);
  settle(cpu);
  return vector(low | (high << 32), 0);
}

// RCP and RSQRT: the architecture asks for a relative error below 1.5 × 2^-12 and leaves the value open; ours is the
// correctly rounded one. Neither MXCSR nor flags take part; denormals count as zeros of their sign, and so does a tiny
// result (SDM vol. 2, RCPPS and RSQRTPS).
function approximate(bits: u32, root: bool): u32 {
  const sign = bits & 0x8000_0000;
  const m = bits & 0x7fff_ffff;
  if (m > 0x7f80_0000) return bits | 0x40_0000;
  if (m < 0x80_0000) return sign | 0x7f80_0000;
  if (!root) {
    const r = reinterpret<u32>(1.0 / reinterpret<f32>(bits));
    return (r & 0x7fff_ffff) < 0x80_0000 ? sign : r;
  }
  if (sign) return 0xffc0_0000;
  return reinterpret<u32>(<f32>(1.0 / sqrt<f64>(<f64>reinterpret<f32>(bits))));
}

/** RCPPS, RCPSS, RSQRTPS, RSQRTSS: `count` lanes of `b`, the rest of `a`. */
export function sse_approximate(_cpu: usize, a: v128, b: v128, root: u32, count: u32): v128 {
  a = i32x4.replace_lane(a, 0, approximate(i32x4.extract_lane(b, 0), root != 0));
  if (count == 1) return a;
  a = i32x4.replace_lane(a, 1, approximate(i32x4.extract_lane(b, 1), root != 0));
  a = i32x4.replace_lane(a, 2, approximate(i32x4.extract_lane(b, 2), root != 0));
  return i32x4.replace_lane(a, 3, approximate(i32x4.extract_lane(b, 3), root != 0));
}
