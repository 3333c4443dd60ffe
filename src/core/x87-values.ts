import { S_SCRATCH } from '../ir/state.ts';
import { EXP, QUIET } from './f80.ts';
import { arithmetic, squareRoot } from './f80-arith.ts';
import { toF32, toF64 } from './f80-narrow.ts';
import { finish, IE, put } from './f80-round.ts';
import { fromF32, fromF64, operandSe, operandSig } from './x87-operand.ts';

// For regions, which keep the x87's registers to themselves (codegen/hot-fpu.ts): operations on values, while all exceptions
// are masked. The result is left in S_SCRATCH; the status word is as after the instruction.

function loaded(cpu: usize, found: u32): void {
  const sig = operandSig(cpu);
  let flags = found;
  if ((operandSe(cpu) & EXP) == EXP && sig << 1 != 0) {
    if (!(sig & QUIET)) flags |= IE;
    put(cpu + S_SCRATCH, operandSe(cpu), sig | QUIET);
  }
  finish(cpu, flags);
}

/** FLD of a double's bits. */
export function x87_loaded_f64(cpu: usize, bits: u64): void {
  loaded(cpu, fromF64(cpu, bits));
}

export function x87_loaded_f32(cpu: usize, bits: u32): void {
  loaded(cpu, fromF32(cpu, bits));
}

/** a `op` b; `op` is ModRM.reg. */
export function x87_computed(cpu: usize, op: u32, aSig: u64, aSe: u32, bSig: u64, bSe: u32): void {
  arithmetic(cpu, op, cpu + S_SCRATCH, aSe, aSig, bSe, bSig, 0);
}

/** a `op` a double, given by its bits. */
export function x87_computed_f64(cpu: usize, op: u32, aSig: u64, aSe: u32, bits: u64): void {
  const flags = fromF64(cpu, bits);
  arithmetic(cpu, op, cpu + S_SCRATCH, aSe, aSig, operandSe(cpu), operandSig(cpu), flags);
}

export function x87_computed_f32(cpu: usize, op: u32, aSig: u64, aSe: u32, bits: u32): void {
  const flags = fromF32(cpu, bits);
  arithmetic(cpu, op, cpu + S_SCRATCH, aSe, aSig, operandSe(cpu), operandSig(cpu), flags);
}

export function x87_rooted(cpu: usize, sig: u64, se: u32): void {
  squareRoot(cpu, cpu + S_SCRATCH, se, sig);
}

/** The bits of the double that FST stores. */
export function x87_narrowed_f64(cpu: usize, sig: u64, se: u32): u64 {
  finish(cpu, toF64(cpu, se, sig));
  return load<u64>(cpu, S_SCRATCH);
}

export function x87_narrowed_f32(cpu: usize, sig: u64, se: u32): u64 {
  finish(cpu, toF32(cpu, se, sig));
  return load<u32>(cpu, S_SCRATCH);
}
