import { S_FPU_EMPTY, S_FPU_REGS, S_FPU_TOP } from '../ir/state.ts';
import { INTEGER, SIGN } from './f80.ts';
import { arithmetic, squareRoot } from './f80-arith.ts';
import { finish, put } from './f80-round.ts';
import { fromF32, fromF64, fromInteger, operandSe, operandSig, REBIAS64 } from './x87-operand.ts';
import { begin, isEmpty, pop, st, underflowTo } from './x87-stack.ts';

// FADD, FSUB, FSUBR, FMUL, FDIV, FDIVR and their forms with an integer operand or a pop, FSQRT, FABS, FCHS. `op` is ModRM.reg.

/** ST(0) `op` ST(i) to ST(0), or with `mode` bit 0 to ST(i); bit 1: pop. */
export function x87_arith(cpu: usize, op: u32, i: u32, mode: u32): void {
  begin(cpu);
  const top = load<u32>(cpu, S_FPU_TOP);
  const other = (top + i) & 7;
  const empty = load<u32>(cpu, S_FPU_EMPTY);
  let written: bool;
  if (((empty >> top) | (empty >> other)) & 1) {
    written = underflowTo(cpu, mode & 1 ? i : 0);
  } else {
    const a = cpu + S_FPU_REGS + top * 16;
    const b = cpu + S_FPU_REGS + other * 16;
    const dst = mode & 1 ? b : a;
    written = arithmetic(
      cpu,
      op,
      dst,
      load<u16>(a, 8),
      load<u64>(a),
      load<u16>(b, 8),
      load<u64>(b),
      0,
    );
  }
  if (mode & 2 && written) pop(cpu);
}

function withOperand(cpu: usize, op: u32, flags: u32): void {
  const a = st(cpu, 0);
  arithmetic(cpu, op, a, load<u16>(a, 8), load<u64>(a), operandSe(cpu), operandSig(cpu), flags);
}

export function x87_arith_f64(cpu: usize, op: u32, bits: u64): void {
  begin(cpu);
  const exp = <u32>(bits >> 52) & 0x7ff;
  if (isEmpty(cpu, 0)) underflowTo(cpu, 0);
  else if (exp - 1 < 0x7fe) {
    const a = st(cpu, 0);
    const se = (<u32>(bits >> 48) & SIGN) | (exp + REBIAS64);
    const sig = INTEGER | (bits << 11);
    arithmetic(cpu, op, a, load<u16>(a, 8), load<u64>(a), se, sig, 0);
  } else withOperand(cpu, op, fromF64(cpu, bits));
}

export function x87_arith_f32(cpu: usize, op: u32, bits: u32): void {
  begin(cpu);
  if (isEmpty(cpu, 0)) underflowTo(cpu, 0);
  else withOperand(cpu, op, fromF32(cpu, bits));
}

export function x87_arith_int(cpu: usize, op: u32, value: i32): void {
  begin(cpu);
  if (isEmpty(cpu, 0)) underflowTo(cpu, 0);
  else withOperand(cpu, op, fromInteger(cpu, <i64>value));
}

export function x87_sqrt(cpu: usize): void {
  begin(cpu);
  if (isEmpty(cpu, 0)) {
    underflowTo(cpu, 0);
    return;
  }
  const a = st(cpu, 0);
  squareRoot(cpu, a, load<u16>(a, 8), load<u64>(a));
}

/** FCHS and FABS: the sign bit whatever the value. `keep` and `flip`: masks of the word of sign and exponent. */
export function x87_sign(cpu: usize, keep: u32, flip: u32): void {
  begin(cpu);
  if (isEmpty(cpu, 0)) {
    underflowTo(cpu, 0);
    return;
  }
  const a = st(cpu, 0);
  put(a, (load<u16>(a, 8) & keep) ^ (flip & SIGN), load<u64>(a));
  finish(cpu, 0);
}
