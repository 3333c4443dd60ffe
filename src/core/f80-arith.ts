import {
  BIAS,
  classOf,
  DENORMAL,
  EXP,
  INFINITY,
  INTEGER,
  isNormal,
  NORMAL,
  normalExp,
  normalSig,
  QNAN,
  QUIET,
  SIGN,
  SNAN,
  UNSUPPORTED,
  ZERO,
} from './f80.ts';
import { fastQuotient, isPlain } from './f80-fast.ts';
import {
  DE,
  DOWN,
  deliver,
  finish,
  IE,
  invalid,
  isUnmasked,
  put,
  roundingControl,
  roundPack,
  ZE,
} from './f80-round.ts';
import { divide128, mulHigh, root128, shiftLow } from './f80-wide.ts';

// The four operations and the root. Every function writes its result to the register `dst` and ends the instruction; false
// means that an exception which is not masked has kept it from being written.

// Operations, in the numbers of ModRM.reg of D8 to DF.
const OP_ADD: u32 = 0;
const OP_MUL: u32 = 1;
const OP_SUB: u32 = 4;
const OP_SUBR: u32 = 5;
const OP_DIV: u32 = 6;
const OP_DIVR: u32 = 7;

/** a `op` b. `flags`: what converting an operand has raised (DE). */
export function arithmetic(
  cpu: usize,
  op: u32,
  dst: usize,
  aSe: u32,
  aSig: u64,
  bSe: u32,
  bSig: u64,
  flags: u32,
): bool {
  if (!isNormal(aSe, aSig) || !isNormal(bSe, bSig) || flags != 0)
    return special(cpu, op, dst, aSe, aSig, bSe, bSig, flags);
  if (op >= OP_DIV && isPlain(cpu)) {
    if (op == OP_DIV && fastQuotient(cpu, dst, aSe, aSig, bSe, bSig)) return true;
    if (op == OP_DIVR && fastQuotient(cpu, dst, bSe, bSig, aSe, aSig)) return true;
  }
  return compute(cpu, op, dst, aSe, <i32>(aSe & EXP), aSig, bSe, <i32>(bSe & EXP), bSig, 0);
}

/** Of finite numbers but 0, normalised; the signs in bit 15 of the words of sign. */
function compute(
  cpu: usize,
  op: u32,
  dst: usize,
  aSign: u32,
  aExp: i32,
  aSig: u64,
  bSign: u32,
  bExp: i32,
  bSig: u64,
  flags: u32,
): bool {
  if (op == OP_MUL) {
    return multiply(cpu, dst, (aSign ^ bSign) & SIGN, aExp + bExp - BIAS, aSig, bSig, flags);
  }
  if (op < OP_DIV) {
    if (op == OP_SUB) bSign ^= SIGN;
    if (op == OP_SUBR) aSign ^= SIGN;
    if (aExp < bExp || (aExp == bExp && aSig < bSig)) {
      return addOrdered(cpu, dst, bSign, bExp, bSig, aSign, aExp, aSig, flags);
    }
    return addOrdered(cpu, dst, aSign, aExp, aSig, bSign, bExp, bSig, flags);
  }
  const sign = (aSign ^ bSign) & SIGN;
  if (op == OP_DIV) return divide(cpu, dst, sign, aExp - bExp + BIAS, aSig, bSig, flags);
  return divide(cpu, dst, sign, bExp - aExp + BIAS, bSig, aSig, flags);
}

function multiply(
  cpu: usize,
  dst: usize,
  sign: u32,
  exp: i32,
  aSig: u64,
  bSig: u64,
  flags: u32,
): bool {
  const high = mulHigh(aSig, bSig);
  const low = aSig * bSig;
  if (<i64>high < 0) return roundPack(cpu, dst, sign, exp + 1, high, low, flags);
  return roundPack(cpu, dst, sign, exp, (high << 1) | (low >> 63), low << 1, flags);
}

function divide(
  cpu: usize,
  dst: usize,
  sign: u32,
  exp: i32,
  aSig: u64,
  bSig: u64,
  flags: u32,
): bool {
  const fits = aSig < bSig;
  const high = fits ? aSig : aSig >> 1;
  const low = fits ? 0 : aSig << 63;
  const quotient = divide128(high, low, bSig);
  const rest = low - quotient * bSig;
  // Twice the rest against the divisor, as a fraction of 64 bits that rounds alike.
  let fraction: u64 = 0;
  if (rest != 0) fraction = <i64>rest < 0 || rest << 1 > bSig ? INTEGER | 1 : 1;
  if (rest << 1 == bSig && <i64>rest >= 0) fraction = INTEGER;
  return roundPack(cpu, dst, sign, fits ? exp - 1 : exp, quotient, fraction, flags);
}

/** Sum of two numbers, the larger magnitude first. */
function addOrdered(
  cpu: usize,
  dst: usize,
  aSign: u32,
  aExp: i32,
  aSig: u64,
  bSign: u32,
  bExp: i32,
  bSig: u64,
  flags: u32,
): bool {
  const distance = <u32>(aExp - bExp);
  let upper = bSig;
  let lower: u64 = 0;
  if (distance != 0) {
    upper = distance < 64 ? bSig >> distance : 0;
    lower =
      distance < 64 ? bSig << (64 - distance) : distance < 128 ? shiftLow(bSig, 0, distance) : 1;
  }
  const sign = aSign & SIGN;
  if (((aSign ^ bSign) & SIGN) == 0) {
    const sum = aSig + upper;
    if (sum >= aSig) return roundPack(cpu, dst, sign, aExp, sum, lower, flags);
    const shifted = (sum << 63) | (lower >> 1) | (lower & 1);
    return roundPack(cpu, dst, sign, aExp + 1, (sum >> 1) | INTEGER, shifted, flags);
  }
  return subtract(cpu, dst, sign, aExp, aSig - upper - u64(lower != 0), 0 - lower, flags);
}

/** Normalises the difference high:low. */
function subtract(
  cpu: usize,
  dst: usize,
  sign: u32,
  exp: i32,
  high: u64,
  low: u64,
  flags: u32,
): bool {
  if (<i64>high < 0) return roundPack(cpu, dst, sign, exp, high, low, flags);
  if (high == 0) {
    if (low == 0) return deliver(cpu, dst, zeroSign(cpu), 0, flags);
    high = low;
    low = 0;
    exp -= 64;
  }
  const shift = clz(high);
  if (shift == 0) return roundPack(cpu, dst, sign, exp, high, low, flags);
  const upper = (high << shift) | (low >> (64 - shift));
  return roundPack(cpu, dst, sign, exp - <i32>shift, upper, low << shift, flags);
}

/** The sign of an exact difference of 0. */
function zeroSign(cpu: usize): u32 {
  return roundingControl(cpu) == DOWN ? SIGN : 0;
}

/** At least one operand is not a normal number, or came from a denormal one. */
function special(
  cpu: usize,
  op: u32,
  dst: usize,
  aSe: u32,
  aSig: u64,
  bSe: u32,
  bSig: u64,
  flags: u32,
): bool {
  const a = classOf(aSe, aSig);
  const b = classOf(bSe, bSig);
  if (a >= QNAN || b >= QNAN) return nanResult(cpu, dst, aSe, aSig, bSe, bSig);
  if (op == OP_DIVR) return specialRatio(cpu, dst, bSe, bSig, b, aSe, aSig, a, flags);
  if (op == OP_DIV) return specialRatio(cpu, dst, aSe, aSig, a, bSe, bSig, b, flags);
  if (op == OP_MUL) return specialProduct(cpu, dst, aSe, aSig, a, bSe, bSig, b, flags);
  return specialSum(cpu, op, dst, aSe, aSig, a, bSe, bSig, b, flags);
}

/** DE with what came before; false when it stops the instruction. */
function denormalsPass(cpu: usize, flags: u32): bool {
  if (!isUnmasked(cpu, flags)) return true;
  finish(cpu, flags);
  return false;
}

function denormalFlag(a: u32, b: u32): u32 {
  return a == DENORMAL || b == DENORMAL ? DE : 0;
}

function specialSum(
  cpu: usize,
  op: u32,
  dst: usize,
  aSe: u32,
  aSig: u64,
  a: u32,
  bSe: u32,
  bSig: u64,
  b: u32,
  flags: u32,
): bool {
  const aSign = (op == OP_SUBR ? aSe ^ SIGN : aSe) & SIGN;
  const bSign = (op == OP_SUB ? bSe ^ SIGN : bSe) & SIGN;
  if (a == INFINITY && b == INFINITY && aSign != bSign) return invalid(cpu, dst);
  flags |= denormalFlag(a, b);
  if (!denormalsPass(cpu, flags)) return false;
  if (a == INFINITY) return deliver(cpu, dst, aSign | EXP, INTEGER, flags);
  if (b == INFINITY) return deliver(cpu, dst, bSign | EXP, INTEGER, flags);
  if (a == ZERO && b == ZERO)
    return deliver(cpu, dst, aSign == bSign ? aSign : zeroSign(cpu), 0, flags);
  if (a == ZERO) return roundPack(cpu, dst, bSign, normalExp(bSe, bSig), normalSig(bSig), 0, flags);
  if (b == ZERO) return roundPack(cpu, dst, aSign, normalExp(aSe, aSig), normalSig(aSig), 0, flags);
  const aExp = normalExp(aSe, aSig);
  const bExp = normalExp(bSe, bSig);
  return compute(
    cpu,
    OP_ADD,
    dst,
    aSign,
    aExp,
    normalSig(aSig),
    bSign,
    bExp,
    normalSig(bSig),
    flags,
  );
}

function specialProduct(
  cpu: usize,
  dst: usize,
  aSe: u32,
  aSig: u64,
  a: u32,
  bSe: u32,
  bSig: u64,
  b: u32,
  flags: u32,
): bool {
  const sign = (aSe ^ bSe) & SIGN;
  if ((a == INFINITY && b == ZERO) || (a == ZERO && b == INFINITY)) return invalid(cpu, dst);
  flags |= denormalFlag(a, b);
  if (!denormalsPass(cpu, flags)) return false;
  if (a == INFINITY || b == INFINITY) return deliver(cpu, dst, sign | EXP, INTEGER, flags);
  if (a == ZERO || b == ZERO) return deliver(cpu, dst, sign, 0, flags);
  const exp = normalExp(aSe, aSig) + normalExp(bSe, bSig) - BIAS;
  return multiply(cpu, dst, sign, exp, normalSig(aSig), normalSig(bSig), flags);
}

function specialRatio(
  cpu: usize,
  dst: usize,
  aSe: u32,
  aSig: u64,
  a: u32,
  bSe: u32,
  bSig: u64,
  b: u32,
  flags: u32,
): bool {
  const sign = (aSe ^ bSe) & SIGN;
  if (a == b && (a == INFINITY || a == ZERO)) return invalid(cpu, dst);
  if (b == ZERO && a != INFINITY) {
    finish(cpu, ZE);
    if (isUnmasked(cpu, ZE)) return false;
    put(dst, sign | EXP, INTEGER);
    return true;
  }
  flags |= denormalFlag(a, b);
  if (!denormalsPass(cpu, flags)) return false;
  if (a == INFINITY) return deliver(cpu, dst, sign | EXP, INTEGER, flags);
  if (a == ZERO || b == INFINITY) return deliver(cpu, dst, sign, 0, flags);
  const exp = normalExp(aSe, aSig) - normalExp(bSe, bSig) + BIAS;
  return divide(cpu, dst, sign, exp, normalSig(aSig), normalSig(bSig), flags);
}

/** At least one operand is a NaN or unsupported. Source: Intel SDM vol. 1, table 4-7. */
export function nanResult(cpu: usize, dst: usize, aSe: u32, aSig: u64, bSe: u32, bSig: u64): bool {
  const a = classOf(aSe, aSig);
  const b = classOf(bSe, bSig);
  if (a == UNSUPPORTED || b == UNSUPPORTED) return invalid(cpu, dst);
  const flags: u32 = a == SNAN || b == SNAN ? IE : 0;
  if (flags != 0 && isUnmasked(cpu, IE)) {
    finish(cpu, IE);
    return false;
  }
  let first = b < QNAN;
  if (a >= QNAN && b >= QNAN) {
    if (a != b) first = a == QNAN;
    else if (aSig != bSig) first = aSig > bSig;
    else first = (aSe & SIGN) == 0;
  }
  if (first) return deliver(cpu, dst, aSe, aSig | QUIET, flags);
  return deliver(cpu, dst, bSe, bSig | QUIET, flags);
}

/** A NaN as the only operand. */
export function nanOf(cpu: usize, dst: usize, se: u32, sig: u64): bool {
  return nanResult(cpu, dst, se, sig, se, sig);
}

export function squareRoot(cpu: usize, dst: usize, se: u32, sig: u64): bool {
  const kind = classOf(se, sig);
  if (kind >= QNAN) return nanOf(cpu, dst, se, sig);
  if (kind == ZERO) return deliver(cpu, dst, se, sig, 0);
  if (se & SIGN) return invalid(cpu, dst);
  if (kind == INFINITY) return deliver(cpu, dst, se, sig, 0);
  const flags: u32 = kind == NORMAL ? 0 : DE;
  if (!denormalsPass(cpu, flags)) return false;
  const exp = normalExp(se, sig) - BIAS;
  const normal = normalSig(sig);
  // An even exponent leaves a radicand of 64 or 63 bits above 64 of zeros.
  const high = exp & 1 ? normal : normal >> 1;
  const low: u64 = exp & 1 ? 0 : normal << 63;
  const root = rootOf(high, low);
  const square = root * root;
  const exact = square == low && mulHigh(root, root) == high;
  // A root lies never half way: it is above when the rest exceeds the root.
  const rest = low - square;
  const above = high - mulHigh(root, root) - u64(low < square) != 0 || rest > root;
  const fraction: u64 = exact ? 0 : above ? INTEGER | 1 : 1;
  return roundPack(cpu, dst, 0, BIAS + (exp >> 1), root, fraction, flags);
}

/** Root of high:low, rounded down; of `low` only the top bit may be set. */
function rootOf(high: u64, low: u64): u64 {
  const root = root128(high);
  if (low == 0 || root == ~(<u64>0)) return root;
  const next = root + 1;
  const upper = mulHigh(next, next);
  return upper > high || (upper == high && next * next > low) ? root : next;
}
