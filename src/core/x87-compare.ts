import { S_FPU_STATUS } from '../ir/state.ts';
import { classOf, DENORMAL, normalExp, normalSig, QNAN, SIGN, SNAN } from './f80.ts';
import { C0, C1, C2, C3, DE, finish, IE, isUnmasked, SF } from './f80-round.ts';
import { setArithmeticFlags } from './flags.ts';
import { fromF32, fromF64, fromInteger, operandSe, operandSig } from './x87-operand.ts';
import { begin, isEmpty, pop, st } from './x87-stack.ts';

// FCOM and its kin, FTST, FXAM.

const CODES: u32 = C0 | C2 | C3;
const LESS: u32 = C0;
const EQUAL: u32 = C3;
const UNORDERED: u32 = C0 | C2 | C3;
/** Joins the codes of a comparison with an exception that is not masked: codes are set, nothing is popped. */
const STOPPED: u32 = 0x8000;

/** C0 C2 C3 of comparing a with b, exceptions recorded; STOPPED joins them where one is not masked. `quiet`: FUCOM. */
function compare(
  cpu: usize,
  aSe: u32,
  aSig: u64,
  bSe: u32,
  bSig: u64,
  quiet: bool,
  found: u32,
): u32 {
  const a = classOf(aSe, aSig);
  const b = classOf(bSe, bSig);
  if (a >= QNAN || b >= QNAN) {
    const flags: u32 = !quiet || a >= SNAN || b >= SNAN ? IE : 0;
    finish(cpu, flags);
    return isUnmasked(cpu, flags) ? STOPPED | UNORDERED : UNORDERED;
  }
  const flags = found | (a == DENORMAL || b == DENORMAL ? DE : 0);
  finish(cpu, flags);
  const order = orderOf(aSe, aSig, bSe, bSig);
  return isUnmasked(cpu, flags) ? STOPPED | order : order;
}

function orderOf(aSe: u32, aSig: u64, bSe: u32, bSig: u64): u32 {
  const aZero = aSig == 0;
  const bZero = bSig == 0;
  if (aZero && bZero) return EQUAL;
  if (aZero) return bSe & SIGN ? 0 : LESS;
  if (bZero || (aSe ^ bSe) & SIGN) return aSe & SIGN ? LESS : 0;
  const order = compareMagnitudes(aSe, aSig, bSe, bSig);
  if (order == 0) return EQUAL;
  return order < 0 == ((aSe & SIGN) == 0) ? LESS : 0;
}

function compareMagnitudes(aSe: u32, aSig: u64, bSe: u32, bSig: u64): i32 {
  const aExp = normalExp(aSe, aSig);
  const bExp = normalExp(bSe, bSig);
  if (aExp != bExp) return aExp < bExp ? -1 : 1;
  const a = normalSig(aSig);
  const b = normalSig(bSig);
  return a == b ? 0 : a < b ? -1 : 1;
}

/** Empty registers compare as unordered. */
function compareEmpty(cpu: usize): u32 {
  finish(cpu, IE | SF);
  return isUnmasked(cpu, IE) ? STOPPED | UNORDERED : UNORDERED;
}

function compareSt(cpu: usize, i: u32, quiet: bool): u32 {
  if (isEmpty(cpu, 0) || isEmpty(cpu, i)) return compareEmpty(cpu);
  const a = st(cpu, 0);
  const b = st(cpu, i);
  return compare(cpu, load<u16>(a, 8), load<u64>(a), load<u16>(b, 8), load<u64>(b), quiet, 0);
}

function compareOperand(cpu: usize, found: u32): u32 {
  const a = st(cpu, 0);
  return compare(cpu, load<u16>(a, 8), load<u64>(a), operandSe(cpu), operandSig(cpu), false, found);
}

function setCodes(cpu: usize, codes: u32): void {
  store<u32>(cpu, (load<u32>(cpu, S_FPU_STATUS) & ~CODES) | codes, S_FPU_STATUS);
}

function end(cpu: usize, codes: u32, pops: u32): void {
  setCodes(cpu, codes & CODES);
  if (codes & STOPPED) return;
  for (let i: u32 = 0; i < pops; i++) pop(cpu);
}

export function x87_compare(cpu: usize, i: u32, quiet: u32, pops: u32): void {
  begin(cpu);
  end(cpu, compareSt(cpu, i, quiet != 0), pops);
}

export function x87_compare_f64(cpu: usize, bits: u64, pops: u32): void {
  begin(cpu);
  end(cpu, isEmpty(cpu, 0) ? compareEmpty(cpu) : compareOperand(cpu, fromF64(cpu, bits)), pops);
}

export function x87_compare_f32(cpu: usize, bits: u32, pops: u32): void {
  begin(cpu);
  end(cpu, isEmpty(cpu, 0) ? compareEmpty(cpu) : compareOperand(cpu, fromF32(cpu, bits)), pops);
}

export function x87_compare_int(cpu: usize, value: i32, pops: u32): void {
  begin(cpu);
  const codes = isEmpty(cpu, 0)
    ? compareEmpty(cpu)
    : compareOperand(cpu, fromInteger(cpu, <i64>value));
  end(cpu, codes, pops);
}

/** FCOMI and its kin: C0 C2 C3 go to CF PF ZF, which lie eight bits below them. C1 is left, but for a stack fault. */
export function x87_compare_flags(cpu: usize, i: u32, quiet: u32, pops: u32): void {
  begin(cpu);
  const c1 = load<u32>(cpu, S_FPU_STATUS) & C1;
  const fault = isEmpty(cpu, 0) || isEmpty(cpu, i);
  const codes = compareSt(cpu, i, quiet != 0);
  if (!fault) store<u32>(cpu, load<u32>(cpu, S_FPU_STATUS) | c1, S_FPU_STATUS);
  setArithmeticFlags(cpu, (codes & CODES) >> 8);
  if (pops && !(codes & STOPPED)) pop(cpu);
}

export function x87_test(cpu: usize): void {
  begin(cpu);
  fromInteger(cpu, 0);
  end(cpu, isEmpty(cpu, 0) ? compareEmpty(cpu) : compareOperand(cpu, 0), 0);
}

/** FXAM: the class of ST(0), whether or not it is empty, and its sign in C1. */
export function x87_examine(cpu: usize): void {
  begin(cpu);
  const a = st(cpu, 0);
  const se = <u32>load<u16>(a, 8);
  finish(cpu, se & SIGN ? C1 : 0);
  setCodes(cpu, isEmpty(cpu, 0) ? C3 | C0 : codesOf(classOf(se, load<u64>(a))));
}

function codesOf(kind: u32): u32 {
  switch (kind) {
    case 0:
      return C3; // zero
    case 1:
      return C3 | C2; // denormal
    case 2:
      return C2; // normal
    case 3:
      return C2 | C0; // infinity
    case 4:
    case 5:
      return C0; // NaN
    default:
      return 0; // unsupported
  }
}
