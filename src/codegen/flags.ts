import type { FlagKind } from '#ir/block.ts';
import { S_FLAGS_AUX, S_FLAGS_RES } from '#ir/state.ts';
import type { FunctionBody } from './wasm.ts';

// The arithmetic flags as ir/state.ts lays them out: RES and AUX.

const I64_LOAD = 0x29;
const I64_STORE = 0x37;
/** Clears the bits of AUX that correct SF and PF. */
const KEEP_CARRIES = ~0xff01n;

interface Ops {
  and: number;
  or: number;
  xor: number;
}
const OPS32: Ops = { and: 0x71, or: 0x72, xor: 0x73 };
const OPS64: Ops = { and: 0x83, or: 0x84, xor: 0x85 };

export interface FlagOperands {
  a: number;
  b: number;
  result: number;
}

function minusOne(f: FunctionBody, size: number): void {
  if (size === 8) f.i64(-1);
  else f.i32(-1);
}

/** Pushes the vector of carries out of each bit of a + b, or of borrows of a - b. Carry in shows in the result. */
function pushCarries(f: FunctionBody, kind: FlagKind, size: number, v: FlagOperands): void {
  const ops = size === 8 ? OPS64 : OPS32;
  if (kind === 'add' || kind === 'adc') {
    f.get(v.a).get(v.b).op(ops.and);
    f.get(v.a).get(v.b).op(ops.or);
    f.get(v.result);
    minusOne(f, size);
    f.op(ops.xor).op(ops.and).op(ops.or);
    return;
  }
  f.get(v.a);
  minusOne(f, size);
  f.op(ops.xor).get(v.b).op(ops.and);
  f.get(v.a).get(v.b).op(ops.xor);
  minusOne(f, size);
  f.op(ops.xor).get(v.result).op(ops.and).op(ops.or);
}

/** Pushes the result sign-extended to i64. */
function pushResult(f: FunctionBody, size: number, result: number): void {
  f.get(result);
  if (size === 8) return;
  if (size === 1) f.op(0xc0);
  if (size === 2) f.op(0xc1);
  f.op(0xac);
}

/** INC and DEC leave CF: bit 63 stays, bit 62 becomes CF ^ OF. */
function pushIncAux(
  f: FunctionBody,
  kind: FlagKind,
  size: number,
  cpu: number,
  result: number,
  old: number,
): void {
  f.get(cpu)
    .mem(I64_LOAD, S_FLAGS_AUX)
    .i64(1n << 63n)
    .op(0x83)
    .tee(old);
  f.get(old).i64(1).op(0x88).op(0x84);
  const signBit = 1n << BigInt(size * 8 - 1);
  const overflowAt = kind === 'inc' ? signBit : signBit - 1n;
  f.get(result);
  if (size === 8) f.i64(overflowAt).op(0x51);
  else f.i32(Number(BigInt.asIntN(32, overflowAt))).op(0x46);
  f.op(0xad).i64(62).op(0x86).op(0x85);
  f.get(result);
  if (size === 8) f.op(0xa7);
  f.i32(15)
    .op(0x71)
    .i32(kind === 'inc' ? 0 : 15)
    .op(0x46);
  f.op(0xad).i64(3).op(0x86).op(0x84);
}

/** Records the flags of an operation whose operands are in locals. `scratch` are one i32 and one i64 local. */
export function emitFlags(
  f: FunctionBody,
  cpu: number,
  operation: { kind: FlagKind; size: number; operands: FlagOperands },
  scratch: { i32: number; i64: number },
): void {
  const { kind, size, operands } = operation;
  f.get(cpu);
  pushResult(f, size, operands.result);
  f.mem(I64_STORE, S_FLAGS_RES);
  f.get(cpu);
  if (kind === 'logic') {
    f.i64(0);
  } else if (kind === 'inc' || kind === 'dec') {
    pushIncAux(f, kind, size, cpu, operands.result, scratch.i64);
  } else {
    pushCarries(f, kind, size, operands);
    if (size === 8) {
      f.i64(KEEP_CARRIES).op(0x83);
    } else {
      f.tee(scratch.i32)
        .op(0xad)
        .i64(64 - size * 8)
        .op(0x86);
      f.get(scratch.i32).i32(8).op(0x71).op(0xad).op(0x84);
    }
  }
  f.mem(I64_STORE, S_FLAGS_AUX);
}

function pushAux(f: FunctionBody, cpu: number): void {
  f.get(cpu).mem(I64_LOAD, S_FLAGS_AUX);
}

function pushRes(f: FunctionBody, cpu: number): void {
  f.get(cpu).mem(I64_LOAD, S_FLAGS_RES);
}

function pushOverflowSign(f: FunctionBody, cpu: number): void {
  pushAux(f, cpu);
  pushAux(f, cpu);
  f.i64(1).op(0x86).op(0x85);
}

function pushSign(f: FunctionBody, cpu: number): void {
  pushRes(f, cpu);
  pushAux(f, cpu);
  f.i64(63).op(0x86).op(0x85);
}

function isNegative(f: FunctionBody): void {
  f.i64(0).op(0x53);
}

/** Pushes 1 when the condition `cc` holds, 0 when not. Source of the conditions: Intel SDM vol. 2, Jcc. */
export function emitCondition(f: FunctionBody, cpu: number, cc: number): void {
  switch (cc >> 1) {
    case 0:
      pushOverflowSign(f, cpu);
      isNegative(f);
      break;
    case 1:
      pushAux(f, cpu);
      isNegative(f);
      break;
    case 2:
      pushRes(f, cpu);
      f.op(0x50);
      break;
    case 3:
      pushAux(f, cpu);
      isNegative(f);
      pushRes(f, cpu);
      f.op(0x50).op(0x72);
      break;
    case 4:
      pushSign(f, cpu);
      isNegative(f);
      break;
    case 5:
      pushRes(f, cpu);
      pushAux(f, cpu);
      f.i64(8).op(0x88).op(0x85).op(0xa7).i32(0xff).op(0x71).op(0x69).i32(1).op(0x71).op(0x45);
      break;
    default:
      pushSign(f, cpu);
      pushOverflowSign(f, cpu);
      f.op(0x85);
      isNegative(f);
      if (cc >> 1 === 7) {
        pushRes(f, cpu);
        f.op(0x50).op(0x72);
      }
  }
  if ((cc & 1) !== 0) f.op(0x45);
}
