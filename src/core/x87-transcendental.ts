import { S_FPU_STATUS } from '../ir/state.ts';
import {
  BIAS,
  classOf,
  DENORMAL,
  EXP,
  INDEFINITE,
  INDEFINITE_SE,
  INFINITY,
  INTEGER,
  NORMAL,
  QNAN,
  SIGN,
  ZERO,
} from './f80.ts';
import { nanOf, nanResult } from './f80-arith.ts';
import {
  divide,
  exponent,
  high,
  low,
  multiply,
  negate,
  setExtended,
  sign,
} from './f80-float128.ts';
import {
  C2,
  DE,
  deliver,
  finish,
  IE,
  invalid,
  isUnmasked,
  PE,
  put,
  roundFull,
  UE,
  ZE,
} from './f80-round.ts';
import {
  arcTangent,
  cosine,
  exponential,
  FREE,
  logarithm,
  logarithmPlusOne,
  quarterTurns,
  reduceAngle,
  sine,
  slot,
} from './f80-series.ts';
import { begin, hasRoom, isEmpty, pop, push, st, underflowTo } from './x87-stack.ts';

// FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1: computed to more than 110 bits, then rounded once to 64, whatever the
// precision control says. Special cases: Intel SDM vol. 2, the tables of each instruction.

const X: u32 = FREE;
const Y: u32 = FREE + 1;
const RESULT: u32 = FREE + 2;
const OTHER: u32 = FREE + 3;
/** From here on arguments of FSIN and its kin are out of range. */
const TOO_LARGE: u32 = 0x3fff + 63;

function setC2(cpu: usize, value: u32): void {
  store<u32>(cpu, (load<u32>(cpu, S_FPU_STATUS) & ~C2) | value, S_FPU_STATUS);
}

/** Rounds a number of 128 bits; `exact`: its bits are all there are. */
function round(cpu: usize, dst: usize, from: usize, flags: u32, exact: bool): bool {
  if (high(from) == 0) return deliver(cpu, dst, sign(from), 0, flags);
  const rest = low(from) | u64(!exact);
  return roundFull(cpu, dst, sign(from), exponent(from) + BIAS, high(from), rest, flags);
}

/** DE of the operands' classes; false where it stops the instruction. */
function passes(cpu: usize, flags: u32): bool {
  if (!isUnmasked(cpu, flags)) return true;
  finish(cpu, flags);
  return false;
}

function denormalFlag(a: u32, b: u32): u32 {
  return a == DENORMAL || b == DENORMAL ? DE : 0;
}

function setSine(cpu: usize, d: u32, turns: u32): void {
  const x = slot(cpu, RESULT);
  if (turns & 1) cosine(cpu, slot(cpu, d), x);
  else sine(cpu, slot(cpu, d), x);
  if (turns & 2) negate(slot(cpu, d));
}

// What FSIN and its kin compute.
const SIN: u32 = 0;
const COS: u32 = 1;
const SINCOS: u32 = 2;
const TAN: u32 = 3;

/** FSIN, FCOS, FSINCOS, FPTAN: `what` is 0 to 3. The latter two push. */
export function x87_trigonometry(cpu: usize, what: u32): void {
  begin(cpu);
  setC2(cpu, 0);
  const pushes = what >= SINCOS;
  if (isEmpty(cpu, 0)) {
    emptyAngle(cpu, pushes);
    return;
  }
  const a = st(cpu, 0);
  if (pushes && !isEmpty(cpu, 7)) {
    if (!isUnmasked(cpu, IE)) put(a, INDEFINITE_SE, INDEFINITE);
    hasRoom(cpu);
    return;
  }
  const se = <u32>load<u16>(a, 8);
  const sig = load<u64>(a);
  const kind = classOf(se, sig);
  if (kind >= INFINITY) {
    const written = kind == INFINITY ? invalid(cpu, a) : nanOf(cpu, a, se, sig);
    if (written && pushes) pushCopy(cpu, a);
  } else ofFinite(cpu, a, se, sig, kind, what);
}

function ofFinite(cpu: usize, a: usize, se: u32, sig: u64, kind: u32, what: u32): void {
  if ((se & EXP) >= TOO_LARGE) {
    finish(cpu, 0);
    setC2(cpu, C2);
    return;
  }
  if (kind == ZERO) {
    deliver(cpu, a, what == COS ? 0x3fff : se, what == COS ? INTEGER : 0, 0);
    if (what >= SINCOS) pushOne(cpu);
    return;
  }
  const flags: u32 = kind == DENORMAL ? DE : 0;
  if (passes(cpu, flags)) angle(cpu, a, se, sig, what, flags);
}

function emptyAngle(cpu: usize, pushes: bool): void {
  if (!underflowTo(cpu, 0) || !pushes) return;
  push(cpu);
  put(st(cpu, 0), INDEFINITE_SE, INDEFINITE);
}

function pushCopy(cpu: usize, from: usize): void {
  push(cpu);
  put(st(cpu, 0), load<u16>(from, 8), load<u64>(from));
}

function pushOne(cpu: usize): void {
  push(cpu);
  put(st(cpu, 0), 0x3fff, INTEGER);
}

function angle(cpu: usize, a: usize, se: u32, sig: u64, what: u32, flags: u32): void {
  setExtended(slot(cpu, X), se, sig);
  const turns = reduceAngle(slot(cpu, RESULT), slot(cpu, X));
  if (what != COS) setSine(cpu, X, turns);
  if (what != SIN) setSine(cpu, Y, turns + 1);
  const first = slot(cpu, X);
  const second = slot(cpu, Y);
  if (what == COS) {
    round(cpu, a, second, flags, false);
    return;
  }
  if (what == TAN) divide(first, first, second, slot(cpu, OTHER));
  if (se & SIGN) negate(first);
  round(cpu, a, first, flags, false);
  if (what == TAN) pushOne(cpu);
  if (what != SINCOS) return;
  push(cpu);
  round(cpu, st(cpu, 0), second, flags, false);
}

/** F2XM1: 2^ST(0) - 1. Out of -1 to 1 the result is open. */
export function x87_exponential(cpu: usize): void {
  begin(cpu);
  if (isEmpty(cpu, 0)) {
    underflowTo(cpu, 0);
    return;
  }
  const a = st(cpu, 0);
  const se = <u32>load<u16>(a, 8);
  const sig = load<u64>(a);
  const kind = classOf(se, sig);
  if (kind >= QNAN) {
    nanOf(cpu, a, se, sig);
    return;
  }
  if (kind == INFINITY && se & SIGN) {
    deliver(cpu, a, SIGN | 0x3fff, INTEGER, 0);
    return;
  }
  if (kind == ZERO || (se & EXP) >= 0x3fff) {
    const isMinusOne = se == (SIGN | 0x3fff) && sig == INTEGER;
    deliver(cpu, a, isMinusOne ? SIGN | 0x3ffe : se, sig, kind == NORMAL ? PE : 0);
    return;
  }
  const flags: u32 = kind == DENORMAL ? DE : 0;
  if (!passes(cpu, flags)) return;
  setExtended(slot(cpu, X), se, sig);
  exponential(cpu, slot(cpu, RESULT), slot(cpu, X));
  round(cpu, a, slot(cpu, RESULT), flags, false);
}

// What the functions of ST(1) and ST(0) compute.
const YL2X: u32 = 0;
const YL2XP1: u32 = 1;

/** FYL2X, FYL2XP1, FPATAN: `what` is 0 to 2. The result replaces ST(1), ST(0) is popped. */
export function x87_binary(cpu: usize, what: u32): void {
  begin(cpu);
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) {
    if (underflowTo(cpu, 1)) pop(cpu);
    return;
  }
  const x = st(cpu, 0);
  const y = st(cpu, 1);
  const xSe = <u32>load<u16>(x, 8);
  const ySe = <u32>load<u16>(y, 8);
  const xSig = load<u64>(x);
  const ySig = load<u64>(y);
  let written: bool;
  if (classOf(xSe, xSig) >= QNAN || classOf(ySe, ySig) >= QNAN)
    written = nanResult(cpu, y, xSe, xSig, ySe, ySig);
  else if (what == YL2X) written = logarithmTimes(cpu, y, xSe, xSig, ySe, ySig);
  else if (what == YL2XP1) written = logarithmPlusOneTimes(cpu, y, xSe, xSig, ySe, ySig);
  else written = angleOf(cpu, y, xSe, xSig, ySe, ySig);
  if (written) pop(cpu);
}

function divisionByZero(cpu: usize, dst: usize, s: u32): bool {
  finish(cpu, ZE);
  if (isUnmasked(cpu, ZE)) return false;
  put(dst, s | EXP, INTEGER);
  return true;
}

/** y * log2(x). */
function logarithmTimes(cpu: usize, dst: usize, xSe: u32, xSig: u64, ySe: u32, ySig: u64): bool {
  const x = classOf(xSe, xSig);
  const y = classOf(ySe, ySig);
  const s = ySe & SIGN;
  if (x == ZERO) {
    if (y == ZERO) return invalid(cpu, dst);
    if (y == INFINITY) return deliver(cpu, dst, (s ^ SIGN) | EXP, INTEGER, 0);
    return divisionByZero(cpu, dst, s ^ SIGN);
  }
  if (xSe & SIGN) return invalid(cpu, dst);
  const isOne = xSe == 0x3fff && xSig == INTEGER;
  if ((y == INFINITY && isOne) || (x == INFINITY && y == ZERO)) return invalid(cpu, dst);
  const flags = denormalFlag(x, y);
  if (!passes(cpu, flags)) return false;
  const below = (xSe & EXP) < 0x3fff ? SIGN : 0;
  if (x == INFINITY || y == INFINITY) return deliver(cpu, dst, (s ^ below) | EXP, INTEGER, flags);
  if (y == ZERO || isOne) return deliver(cpu, dst, s ^ below, 0, flags);
  setExtended(slot(cpu, X), xSe, xSig);
  setExtended(slot(cpu, Y), ySe, ySig);
  logarithm(cpu, slot(cpu, RESULT), slot(cpu, X));
  const exact = high(slot(cpu, X)) == INTEGER;
  multiply(slot(cpu, RESULT), slot(cpu, RESULT), slot(cpu, Y));
  // Exact results count as inexact, and so as an underflow where they are tiny.
  const tiny = exponent(slot(cpu, RESULT)) + BIAS <= 0;
  return round(cpu, dst, slot(cpu, RESULT), flags | PE | (tiny ? UE : 0), exact);
}

/** y * log2(x + 1). */
function logarithmPlusOneTimes(
  cpu: usize,
  dst: usize,
  xSe: u32,
  xSig: u64,
  ySe: u32,
  ySig: u64,
): bool {
  const x = classOf(xSe, xSig);
  const y = classOf(ySe, ySig);
  const s = (xSe ^ ySe) & SIGN;
  if ((x == ZERO && y == INFINITY) || (x == INFINITY && y == ZERO)) return invalid(cpu, dst);
  const isOutside = (xSe & SIGN) != 0 && (xSe & EXP) >= 0x3fff;
  if (isOutside && x == INFINITY) return invalid(cpu, dst);
  const flags = denormalFlag(x, y);
  if (!passes(cpu, flags)) return false;
  if (x == INFINITY || y == INFINITY) return deliver(cpu, dst, s | EXP, INTEGER, flags);
  if (x == ZERO || y == ZERO) return deliver(cpu, dst, s, 0, flags);
  // No logarithm: the result is open, and Intel's processors give this.
  if (isOutside) return deliver(cpu, dst, xSe, xSig, flags | PE);
  setExtended(slot(cpu, X), xSe, xSig);
  setExtended(slot(cpu, Y), ySe, ySig);
  logarithmPlusOne(cpu, slot(cpu, RESULT), slot(cpu, X));
  multiply(slot(cpu, RESULT), slot(cpu, RESULT), slot(cpu, Y));
  return round(cpu, dst, slot(cpu, RESULT), flags, false);
}

/** The angle of the point (x, y). */
function angleOf(cpu: usize, dst: usize, xSe: u32, xSig: u64, ySe: u32, ySig: u64): bool {
  const x = classOf(xSe, xSig);
  const y = classOf(ySe, ySig);
  const flags = denormalFlag(x, y);
  if (!passes(cpu, flags)) return false;
  const left = (xSe & SIGN) != 0;
  const result = slot(cpu, RESULT);
  if (y == ZERO || x == ZERO || y == INFINITY || x == INFINITY) {
    let quarters = 2;
    if (y == INFINITY && x == INFINITY) quarters = left ? 3 : 1;
    else if (y == ZERO || x == INFINITY) quarters = left ? 4 : 0;
    if (quarters == 0) return deliver(cpu, dst, ySe & SIGN, 0, flags);
    quarterTurns(cpu, result, quarters);
    if (ySe & SIGN) negate(result);
  } else {
    setExtended(slot(cpu, X), xSe, xSig);
    setExtended(slot(cpu, Y), ySe, ySig);
    arcTangent(cpu, result, slot(cpu, Y), slot(cpu, X));
  }
  return round(cpu, dst, result, flags, false);
}
