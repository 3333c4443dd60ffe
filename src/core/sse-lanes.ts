import {
  arithmetic,
  begin,
  denormalsAreZero,
  EQUAL,
  extreme,
  GREATER,
  IE,
  isNan,
  LESS,
  note,
  OP_ADD,
  OP_SUB,
  operand,
  PE,
  propagateNan,
  RC_DOWN,
  RC_NEAREST,
  RC_UP,
  relate,
  roundInteger,
  roundingControl,
  settle,
  squareRoot,
  UNORDERED,
} from './sse-soft.ts';

// Operations beside OP_ADD … OP_DIV of sse-soft.ts. Those of one operand take the second.
export const OP_SQRT: u32 = 4;
export const OP_MIN: u32 = 5;
export const OP_MAX: u32 = 6;
/** Subtracts in even lanes, adds in odd ones. */
export const OP_ADDSUB: u32 = 7;
/** Single precision to a 32-bit integer, as MXCSR says and by truncation, and back. */
export const OP_TO_INTEGER: u32 = 8;
export const OP_TRUNCATE: u32 = 9;
export const OP_FROM_INTEGER: u32 = 10;
/** Plus the predicate, 0-7. */
export const OP_COMPARE: u32 = 16;
/** Plus the low four bits of ROUND's immediate. */
export const OP_ROUND: u32 = 32;

/** All ones when `predicate` of CMPccPS holds (SDM vol. 2, CMPPS). */
function compare(cpu: usize, wide: bool, x: u64, y: u64, predicate: u32): u64 {
  const kind = predicate & 3;
  const relation = relate(cpu, wide, x, y, kind == 1 || kind == 2);
  let holds = false;
  if (kind == 0) holds = relation == EQUAL;
  else if (kind == 1) holds = relation == LESS;
  else if (kind == 2) holds = relation == LESS || relation == EQUAL;
  else holds = relation == UNORDERED;
  if (predicate & 4) holds = !holds;
  if (!holds) return 0;
  return wide ? 0xffff_ffff_ffff_ffff : 0xffff_ffff;
}

export function roundToInteger(value: f64, rc: u32): f64 {
  if (rc == RC_NEAREST) return nearest<f64>(value);
  if (rc == RC_DOWN) return floor<f64>(value);
  if (rc == RC_UP) return ceil<f64>(value);
  return trunc<f64>(value);
}

/** One lane of ROUNDxx. Source: Intel SDM vol. 2, ROUNDPD, figure 4-24: bit 2 MXCSR.RC, bit 3 no precision flag. */
function roundLane(cpu: usize, wide: bool, y: u64, control: u32): u64 {
  const a = operand(y, wide, denormalsAreZero(cpu));
  if (isNan(a)) return propagateNan(cpu, a, a, wide);
  const value = reinterpret<f64>(a);
  const result = roundToInteger(value, control & 4 ? roundingControl(cpu) : control & 3);
  if (result != value && !(control & 8)) note(cpu, PE);
  return wide ? reinterpret<u64>(result) : <u64>reinterpret<u32>(<f32>result);
}

/** Notes IE or PE; the integer indefinite, of 32 or 64 bits, for what does not fit. */
export function toInteger(cpu: usize, bits: u64, wide: bool, truncate: bool, long: bool): i64 {
  const a = operand(bits, wide, denormalsAreZero(cpu));
  const value = reinterpret<f64>(a);
  const result = truncate ? trunc<f64>(value) : roundToInteger(value, roundingControl(cpu));
  const limit: f64 = long ? 9223372036854775808.0 : 2147483648.0;
  if (!(result >= -limit && result < limit)) {
    note(cpu, IE);
    return long ? i64.MIN_VALUE : <i64>i32.MIN_VALUE;
  }
  if (result != value) note(cpu, PE);
  return <i64>result;
}

function lane(cpu: usize, op: u32, wide: bool, x: u64, y: u64): u64 {
  if (op < OP_SQRT) return arithmetic(cpu, op, wide, x, y);
  if (op >= OP_ROUND) return roundLane(cpu, wide, y, op - OP_ROUND);
  if (op >= OP_COMPARE) return compare(cpu, wide, x, y, op - OP_COMPARE);
  switch (op) {
    case OP_SQRT:
      return squareRoot(cpu, wide, y);
    case OP_MIN:
      return extreme(cpu, wide, x, y, LESS);
    case OP_MAX:
      return extreme(cpu, wide, x, y, GREATER);
    case OP_FROM_INTEGER:
      return roundInteger(cpu, wide, <i64>(<i32>y));
    default:
      return <u64>toInteger(cpu, y, wide, op == OP_TRUNCATE, false) & 0xffff_ffff;
  }
}

function inLane(op: u32, odd: bool): u32 {
  if (op != OP_ADDSUB) return op;
  return odd ? OP_ADD : OP_SUB;
}

function pair(cpu: usize, op: u32, x: u64, y: u64, both: bool): u64 {
  const low = lane(cpu, inLane(op, false), false, x & 0xffff_ffff, y & 0xffff_ffff);
  const high = both ? lane(cpu, inLane(op, true), false, x >> 32, y >> 32) : x >> 32;
  return low | (high << 32);
}

/** The exact path: `count` lanes, the rest from `a`; flags recorded, #XM raised. */
export function lanewise(cpu: usize, op: u32, wide: bool, count: u32, a: v128, b: v128): v128 {
  begin(cpu);
  let low = <u64>i64x2.extract_lane(a, 0);
  let high = <u64>i64x2.extract_lane(a, 1);
  const low2 = <u64>i64x2.extract_lane(b, 0);
  const high2 = <u64>i64x2.extract_lane(b, 1);
  if (wide) {
    low = lane(cpu, inLane(op, false), true, low, low2);
    if (count > 1) high = lane(cpu, inLane(op, true), true, high, high2);
  } else {
    low = pair(cpu, op, low, low2, count > 1);
    if (count > 2) high = pair(cpu, op, high, high2, true);
  }
  settle(cpu);
  return vector(low, high);
}

export function vector(low: u64, high: u64): v128 {
  return i64x2.replace_lane(i64x2.splat(low), 1, high);
}
