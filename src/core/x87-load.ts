import { S_FPU_EMPTY, S_FPU_REGS, S_FPU_STATUS, S_FPU_TOP } from '../ir/state.ts';
import { EXP, INTEGER, QUIET, SIGN } from './f80.ts';
import { C1, finish, IE, isUnmasked, put, roundingControl } from './f80-round.ts';
import { fromF32, fromF64, fromInteger, operandSe, operandSig, REBIAS64 } from './x87-operand.ts';
import {
  begin,
  hasRoom,
  isEmpty,
  push,
  setEmpty,
  st,
  underflow,
  underflowTo,
} from './x87-stack.ts';

// FLD and its kin, FXCH, FCMOV. Precision control has no part in them.

function pushValue(cpu: usize, se: u32, sig: u64, flags: u32): void {
  push(cpu);
  put(st(cpu, 0), se, sig);
  finish(cpu, flags);
}

/** What `fromF64` or `fromF32` left. */
function pushOperand(cpu: usize, found: u32): void {
  const se = operandSe(cpu);
  let sig = operandSig(cpu);
  let flags = found;
  if ((se & EXP) == EXP && sig << 1 != 0) {
    if (!(sig & QUIET)) flags |= IE;
    sig |= QUIET;
  }
  if (isUnmasked(cpu, flags & IE)) finish(cpu, flags);
  else pushValue(cpu, se, sig, flags);
}

export function x87_load_f64(cpu: usize, bits: u64): void {
  begin(cpu);
  const exp = <u32>(bits >> 52) & 0x7ff;
  const top = (load<u32>(cpu, S_FPU_TOP) - 1) & 7;
  const empty = load<u32>(cpu, S_FPU_EMPTY);
  if (exp - 1 < 0x7fe && (empty >> top) & 1) {
    // A normal number and room for it: no exception.
    store<u32>(cpu, top, S_FPU_TOP);
    store<u32>(cpu, empty & ~((<u32>1) << top), S_FPU_EMPTY);
    store<u32>(cpu, load<u32>(cpu, S_FPU_STATUS) & ~C1, S_FPU_STATUS);
    const se = (<u32>(bits >> 48) & SIGN) | (exp + REBIAS64);
    put(cpu + S_FPU_REGS + top * 16, se, INTEGER | (bits << 11));
  } else if (hasRoom(cpu)) pushOperand(cpu, fromF64(cpu, bits));
}

export function x87_load_f32(cpu: usize, bits: u32): void {
  begin(cpu);
  if (hasRoom(cpu)) pushOperand(cpu, fromF32(cpu, bits));
}

export function x87_load_int(cpu: usize, value: i64): void {
  begin(cpu);
  if (hasRoom(cpu)) pushOperand(cpu, fromInteger(cpu, value));
}

/** FLD of ten bytes: any bits. */
export function x87_load_f80(cpu: usize, sig: u64, se: u32): void {
  begin(cpu);
  if (hasRoom(cpu)) pushValue(cpu, se, sig, 0);
}

/** FBLD: 18 digits of 4 bits, and the sign in the uppermost bit. Digits above 9 count what they are worth. */
export function x87_load_bcd(cpu: usize, low: u64, high: u32): void {
  begin(cpu);
  if (!hasRoom(cpu)) return;
  let value: i64 = (high >> 4) & 15;
  value = value * 10 + (high & 15);
  for (let shift: u64 = 64; shift != 0; ) {
    shift -= 4;
    value = value * 10 + <i64>((low >> shift) & 15);
  }
  fromInteger(cpu, value);
  pushValue(cpu, operandSe(cpu) | (high & SIGN), operandSig(cpu), 0);
}

/** FLD ST(i). */
export function x87_load_st(cpu: usize, i: u32): void {
  begin(cpu);
  if (isEmpty(cpu, i)) {
    // The underflow goes before the overflow that a full stack would be.
    if (underflow(cpu)) {
      push(cpu);
      underflowTo(cpu, 0);
    }
    return;
  }
  if (!hasRoom(cpu)) return;
  const from = st(cpu, i);
  pushValue(cpu, load<u16>(from, 8), load<u64>(from), 0);
}

/** Significands of log2(10), log2(e), pi, log10(2), ln(2), cut to 64 bits, their exponents, and whether the next bits are half or more. */
const CONSTANTS: StaticArray<u64> = [
  0xd49a_784b_cd1b_8afe, 0x4000, 0, 0xb8aa_3b29_5c17_f0bb, 0x3fff, 1, 0xc90f_daa2_2168_c234, 0x4000,
  1, 0x9a20_9a84_fbcf_f798, 0x3ffd, 1, 0xb172_17f7_d1cf_79ab, 0x3ffe, 1,
];

/** FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ: ModRM.rm 0-6. */
export function x87_load_constant(cpu: usize, which: u32): void {
  begin(cpu);
  if (!hasRoom(cpu)) return;
  if (which == 0) {
    pushValue(cpu, 0x3fff, INTEGER, 0);
    return;
  }
  if (which == 6) {
    pushValue(cpu, 0, 0, 0);
    return;
  }
  const at = (which - 1) * 3;
  const sig = unchecked(CONSTANTS[at]);
  const exp = <u32>unchecked(CONSTANTS[at + 1]);
  const half = unchecked(CONSTANTS[at + 2]);
  const mode = roundingControl(cpu);
  // All are positive and inexact: up rounds up, down and chop cut, to nearest goes by the next bit.
  const up: u64 = mode == 2 ? 1 : mode == 0 ? half : 0;
  pushValue(cpu, exp, sig + up, 0);
}

export function x87_exchange(cpu: usize, i: u32): void {
  begin(cpu);
  if (isEmpty(cpu, 0) || isEmpty(cpu, i)) {
    const first = isEmpty(cpu, 0);
    const second = isEmpty(cpu, i);
    if (!underflow(cpu)) return;
    if (first) underflowTo(cpu, 0);
    if (second) underflowTo(cpu, i);
  }
  const a = st(cpu, 0);
  const b = st(cpu, i);
  const se = load<u16>(a, 8);
  const sig = load<u64>(a);
  put(a, load<u16>(b, 8), load<u64>(b));
  put(b, se, sig);
  finish(cpu, 0);
}

/** FCMOVcc: ST(0) = ST(i) when `condition` is not 0. An empty register is a fault either way. */
export function x87_move_if(cpu: usize, i: u32, condition: u32): void {
  begin(cpu);
  if (isEmpty(cpu, 0) || isEmpty(cpu, i)) {
    underflowTo(cpu, 0);
    return;
  }
  const from = st(cpu, i);
  if (condition) put(st(cpu, 0), load<u16>(from, 8), load<u64>(from));
}

/** FFREE, and FFREEP with `pops`. */
export function x87_free(cpu: usize, i: u32, pops: u32): void {
  begin(cpu);
  finish(cpu, 0);
  setEmpty(cpu, i);
  if (pops) {
    setEmpty(cpu, 0);
    store<u32>(cpu, (load<u32>(cpu, S_FPU_TOP) + 1) & 7, S_FPU_TOP);
  }
}

/** FINCSTP and FDECSTP: `by` is 1 or -1. No tag changes. */
export function x87_turn(cpu: usize, by: u32): void {
  begin(cpu);
  store<u32>(cpu, (load<u32>(cpu, S_FPU_TOP) + by) & 7, S_FPU_TOP);
  finish(cpu, 0);
}

/** FNOP, which waits as others do. */
export function x87_nop(cpu: usize): void {
  begin(cpu);
}
