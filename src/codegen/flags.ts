import type { FlagKind } from '#ir/block.ts';
import type { FunctionBody } from './wasm.ts';

// The arithmetic flags as ir/state.ts lays them out: RES and AUX. Where they and the operands come from is the caller's
// business: each is given as a function that pushes it.

/** Clears the bits of AUX that correct SF and PF. */
const KEEP_CARRIES = ~0xff01n;

interface Ops {
  and: number;
  or: number;
  xor: number;
}
const OPS32: Ops = { and: 0x71, or: 0x72, xor: 0x73 };
const OPS64: Ops = { and: 0x83, or: 0x84, xor: 0x85 };

/** An operation whose flags are wanted. `carry` pushes CF before it as i32, for INC and DEC. */
export interface FlagOperation {
  readonly kind: FlagKind;
  /** Bytes of the operands: i64 of 8, else i32, zero-extended. */
  readonly size: number;
  readonly a: () => void;
  readonly b: () => void;
  readonly result: () => void;
  readonly carry: () => void;
}

/** The flags, as RES and AUX. */
export interface RawFlags {
  readonly res: () => void;
  readonly aux: () => void;
}

function minusOne(f: FunctionBody, size: number): void {
  if (size === 8) f.i64(-1);
  else f.i32(-1);
}

/** Pushes the vector of carries out of each bit of a + b, or of borrows of a - b. Carry in shows in the result. */
function pushCarries(f: FunctionBody, operation: FlagOperation): void {
  const { kind, size, a, b, result } = operation;
  const ops = size === 8 ? OPS64 : OPS32;
  if (kind === 'add' || kind === 'adc') {
    a();
    b();
    f.op(ops.and);
    a();
    b();
    f.op(ops.or);
    result();
    minusOne(f, size);
    f.op(ops.xor).op(ops.and).op(ops.or);
    return;
  }
  a();
  minusOne(f, size);
  f.op(ops.xor);
  b();
  f.op(ops.and);
  a();
  b();
  f.op(ops.xor);
  minusOne(f, size);
  f.op(ops.xor);
  result();
  f.op(ops.and).op(ops.or);
}

/** Pushes RES of an operation: the result sign-extended to i64. */
export function pushRes(f: FunctionBody, { size, result }: FlagOperation): void {
  result();
  if (size === 8) return;
  if (size === 1) f.op(0xc0);
  if (size === 2) f.op(0xc1);
  f.op(0xac);
}

/** INC and DEC leave CF: bit 63 stays, bit 62 becomes CF ^ OF. */
function pushIncAux(f: FunctionBody, { kind, size, result, carry }: FlagOperation): void {
  carry();
  f.op(0xad).i64(3).op(0x7e).i64(62).op(0x86);
  const signBit = 1n << BigInt(size * 8 - 1);
  const overflowAt = kind === 'inc' ? signBit : signBit - 1n;
  result();
  if (size === 8) f.i64(overflowAt).op(0x51);
  else f.i32(Number(BigInt.asIntN(32, overflowAt))).op(0x46);
  f.op(0xad).i64(62).op(0x86).op(0x85);
  result();
  if (size === 8) f.op(0xa7);
  f.i32(15)
    .op(0x71)
    .i32(kind === 'inc' ? 0 : 15)
    .op(0x46);
  f.op(0xad).i64(3).op(0x86).op(0x84);
}

/** Pushes AUX of an operation. `scratch` is an i32 local. */
export function pushAux(f: FunctionBody, operation: FlagOperation, scratch: number): void {
  const { kind, size } = operation;
  if (kind === 'logic') {
    f.i64(0);
  } else if (kind === 'inc' || kind === 'dec') {
    pushIncAux(f, operation);
  } else {
    pushCarries(f, operation);
    if (size === 8) {
      f.i64(KEEP_CARRIES).op(0x83);
    } else {
      f.tee(scratch)
        .op(0xad)
        .i64(64 - size * 8)
        .op(0x86);
      f.get(scratch).i32(8).op(0x71).op(0xad).op(0x84);
    }
  }
}

function pushOverflowSign(f: FunctionBody, { aux }: RawFlags): void {
  aux();
  aux();
  f.i64(1).op(0x86).op(0x85);
}

function pushSign(f: FunctionBody, { res, aux }: RawFlags): void {
  res();
  aux();
  f.i64(63).op(0x86).op(0x85);
}

function isNegative(f: FunctionBody): void {
  f.i64(0).op(0x53);
}

/** Pushes 1 when the condition `cc` holds, 0 when not. Source of the conditions: Intel SDM vol. 2, Jcc. */
export function pushCondition(f: FunctionBody, flags: RawFlags, cc: number): void {
  const { res, aux } = flags;
  switch (cc >> 1) {
    case 0:
      pushOverflowSign(f, flags);
      isNegative(f);
      break;
    case 1:
      aux();
      isNegative(f);
      break;
    case 2:
      res();
      f.op(0x50);
      break;
    case 3:
      aux();
      isNegative(f);
      res();
      f.op(0x50).op(0x72);
      break;
    case 4:
      pushSign(f, flags);
      isNegative(f);
      break;
    case 5:
      res();
      aux();
      f.i64(8).op(0x88).op(0x85).op(0xa7).i32(0xff).op(0x71).op(0x69).i32(1).op(0x71).op(0x45);
      break;
    default:
      pushSign(f, flags);
      pushOverflowSign(f, flags);
      f.op(0x85);
      isNegative(f);
      if (cc >> 1 === 7) {
        res();
        f.op(0x50).op(0x72);
      }
  }
  if ((cc & 1) !== 0) f.op(0x45);
}
