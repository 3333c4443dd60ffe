import { S_FPU_STATUS } from '../ir/state.ts';
import {
  classOf,
  DENORMAL,
  EXP,
  INDEFINITE,
  INDEFINITE_SE,
  INFINITY,
  INTEGER,
  normalSig,
  QNAN,
  SIGN,
  ZERO,
} from './f80.ts';
import { nanOf } from './f80-arith.ts';
import { roundToIntegral } from './f80-integer.ts';
import { exponentOf, remainder, scale } from './f80-remainder.ts';
import { C2, DE, finish, IE, isUnmasked, put, ZE } from './f80-round.ts';
import { begin, hasRoom, isEmpty, push, st, underflow, underflowTo } from './x87-stack.ts';

// FPREM, FPREM1, FRNDINT, FSCALE, FXTRACT.

function clearC2(cpu: usize): void {
  store<u32>(cpu, load<u32>(cpu, S_FPU_STATUS) & ~C2, S_FPU_STATUS);
}

export function x87_remainder(cpu: usize, nearest: u32): void {
  begin(cpu);
  clearC2(cpu);
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) {
    underflowTo(cpu, 0);
    return;
  }
  const a = st(cpu, 0);
  const b = st(cpu, 1);
  remainder(cpu, a, load<u16>(a, 8), load<u64>(a), load<u16>(b, 8), load<u64>(b), nearest != 0);
}

export function x87_scale(cpu: usize): void {
  begin(cpu);
  if (isEmpty(cpu, 0) || isEmpty(cpu, 1)) {
    underflowTo(cpu, 0);
    return;
  }
  const a = st(cpu, 0);
  const b = st(cpu, 1);
  scale(cpu, a, load<u16>(a, 8), load<u64>(a), load<u16>(b, 8), load<u64>(b));
}

export function x87_round(cpu: usize): void {
  begin(cpu);
  if (isEmpty(cpu, 0)) {
    underflowTo(cpu, 0);
    return;
  }
  const a = st(cpu, 0);
  roundToIntegral(cpu, a, load<u16>(a, 8), load<u64>(a));
}

/** FXTRACT: the exponent takes the place of the value, the significand is pushed. */
export function x87_extract(cpu: usize): void {
  begin(cpu);
  if (isEmpty(cpu, 0)) {
    if (!underflow(cpu)) return;
    underflowTo(cpu, 0);
    push(cpu);
    underflowTo(cpu, 0);
    return;
  }
  if (!isEmpty(cpu, 7)) {
    if (!isUnmasked(cpu, IE)) put(st(cpu, 0), INDEFINITE_SE, INDEFINITE);
    hasRoom(cpu);
    return;
  }
  const a = st(cpu, 0);
  const se = <u32>load<u16>(a, 8);
  const sig = load<u64>(a);
  const kind = classOf(se, sig);
  if (kind >= QNAN) {
    if (nanOf(cpu, a, se, sig)) copyTop(cpu, a);
    return;
  }
  if (kind == ZERO) {
    finish(cpu, ZE);
    if (isUnmasked(cpu, ZE)) return;
    put(a, SIGN | EXP, INTEGER);
    pushPart(cpu, se, sig);
    return;
  }
  if (kind == INFINITY) {
    put(a, EXP, INTEGER);
    finish(cpu, 0);
    pushPart(cpu, se, sig);
    return;
  }
  const flags: u32 = kind == DENORMAL ? DE : 0;
  if (isUnmasked(cpu, flags)) {
    finish(cpu, flags);
    return;
  }
  exponentOf(cpu, a, se, sig, flags);
  pushPart(cpu, (se & SIGN) | 0x3fff, normalSig(sig));
}

function pushPart(cpu: usize, se: u32, sig: u64): void {
  push(cpu);
  put(st(cpu, 0), se, sig);
}

function copyTop(cpu: usize, from: usize): void {
  pushPart(cpu, load<u16>(from, 8), load<u64>(from));
}
