import type { Inst } from '#ir/block.ts';
import type { Lift, Lifter } from '../lifter.ts';

// Shifts and rotates. The count is masked to 5 bits, 6 for 64-bit operands; a count of 0 changes no flag. All is computed
// in 64 bits, so that counts past the operand's width need no care. SDM vol. 2, SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD.

const CARRY = 1n << 63n;

interface Shift {
  readonly count: Inst;
  readonly any: Inst;
}

function countOf(x: Lifter, operand: number): Shift {
  const raw = x.read(operand, 1);
  const count = x.to64(x.op('i32.and', [raw, x.const32(x.size === 8 ? 63 : 31)]));
  return { count, any: x.op('i64.ne', [count, x.const64(0)]) };
}

function bit(x: Lifter, value: Inst, at: Inst): Inst {
  return x.op('i64.and', [x.op('i64.shr_u', [value, at]), x.const64(1)]);
}

/** AUX with CF and OF as given (i64, 0 or 1) and AF clear. */
function aux(x: Lifter, carry: Inst, overflow: Inst): Inst {
  const top = x.op('i64.shl', [carry, x.const64(63)]);
  const next = x.op('i64.shl', [x.op('i64.xor', [carry, overflow]), x.const64(62)]);
  return x.op('i64.or', [top, next]);
}

/** Writes the result, and the flags where the count was not 0. `result` is 64 bits wide, upper bits free. */
function finish(x: Lifter, any: Inst, result: Inst, carry: Inst, overflow: Inst): void {
  const { size } = x;
  const cut = size === 8 ? result : x.mask(x.op('i32.wrap_i64', [result]), size);
  const wide = x.signExtend(cut, size, 8);
  const oldRes = x.op('get_flags_res');
  const oldAux = x.op('get_flags_aux');
  x.write(0, cut);
  x.op('set_flags_raw', [
    x.select(any, wide, oldRes),
    x.select(any, aux(x, carry, overflow), oldAux),
  ]);
}

function liftShl(x: Lifter): void {
  const bits = x.size * 8;
  const { count, any } = countOf(x, 1);
  const value = x.to64(x.readForWrite(0));
  const result = x.op('i64.shl', [value, count]);
  // The last bit out: bit `bits` of the unmasked result; of 64-bit operands it has to be fetched.
  const carry =
    x.size === 8
      ? bit(x, value, x.op('i64.sub', [x.const64(64), count]))
      : bit(x, result, x.const64(bits));
  const sign = bit(x, result, x.const64(bits - 1));
  finish(x, any, result, carry, x.op('i64.xor', [sign, carry]));
}

function liftShr(x: Lifter): void {
  const { count, any } = countOf(x, 1);
  const value = x.to64(x.readForWrite(0));
  const carry = bit(x, value, x.op('i64.sub', [count, x.const64(1)]));
  const result = x.op('i64.shr_u', [value, count]);
  // OF is the old sign for a count of 1; for others Intel's parts give the same bit of the value shifted by one less.
  const sign = bit(x, result, x.const64(x.size * 8 - 1));
  const next = bit(x, result, x.const64(x.size * 8 - 2));
  finish(x, any, result, carry, x.op('i64.xor', [sign, next]));
}

function liftSar(x: Lifter): void {
  const { count, any } = countOf(x, 1);
  const value = x.signExtend(x.readForWrite(0), x.size, 8);
  const before = x.op('i64.shr_s', [value, x.op('i64.sub', [count, x.const64(1)])]);
  const result = x.op('i64.shr_s', [value, count]);
  finish(x, any, result, x.op('i64.and', [before, x.const64(1)]), x.const64(0));
}

/** Rotates leave SF ZF AF PF: CF and OF go into AUX beside them. */
function rotateFlags(x: Lifter, any: Inst, carry: Inst, overflow: Inst): void {
  const old = x.op('get_flags_aux');
  const rest = x.op('i64.and', [old, x.const64(~(CARRY | (CARRY >> 1n)))]);
  const changed = x.op('i64.or', [rest, aux(x, carry, overflow)]);
  x.op('set_flags_raw', [x.op('get_flags_res'), x.select(any, changed, old)]);
}

function rotate(left: boolean): Lift {
  return (x) => {
    const { size } = x;
    const bits = size * 8;
    const { count, any } = countOf(x, 1);
    const value = x.readForWrite(0);
    const by = x.op('i64.and', [count, x.const64(bits - 1)]);
    const result = rotated(x, value, by, left);
    x.write(0, result);
    const wide = x.to64(result);
    const top = bit(x, wide, x.const64(bits - 1));
    const low = x.op('i64.and', [wide, x.const64(1)]);
    const carry = left ? low : top;
    const other = left ? top : bit(x, wide, x.const64(bits - 2));
    rotateFlags(x, any, carry, x.op('i64.xor', [carry, other]));
  };
}

function rotated(x: Lifter, value: Inst, by: Inst, left: boolean): Inst {
  const { size } = x;
  if (size === 8) return x.op(left ? 'i64.rotl' : 'i64.rotr', [value, by]);
  const wide = x.to64(value);
  const back = x.op('i64.sub', [x.const64(size * 8), by]);
  const [up, down] = left ? [by, back] : [back, by];
  const joined = x.op('i64.or', [x.op('i64.shl', [wide, up]), x.op('i64.shr_u', [wide, down])]);
  return x.mask(x.op('i32.wrap_i64', [joined]), size);
}

/** RCL and RCR: the value and CF as one ring of bits + 1; core/ turns it. CF comes back in S_SCRATCH's place: AUX. */
function rotateThrough(name: 'rcl' | 'rcr'): Lift {
  return (x) => {
    const { size } = x;
    const { count } = countOf(x, 1);
    const value = x.to64(x.readForWrite(0));
    const ring = x.call(`${name}_value`, [value, x.op('i32.wrap_i64', [count]), x.const32(size)]);
    x.write(0, size === 8 ? ring : x.op('i32.wrap_i64', [ring]));
    x.call(`${name}_flags`, [value, x.op('i32.wrap_i64', [count]), x.const32(size)]);
  };
}

/** SHLD and SHRD. A 16-bit operand shifted by more than 16 takes bits of the first operand again, as Intel's parts do. */
function doubleShift(left: boolean): Lift {
  return (x) => {
    const { size } = x;
    const raw = x.op('i32.and', [x.read(2, 1), x.const32(size === 8 ? 63 : 31)]);
    const count = x.to64(raw);
    const any = x.op('i64.ne', [count, x.const64(0)]);
    const value = x.to64(x.readForWrite(0));
    const fill = x.to64(x.read(1));
    if (size === 8) doubleShift64(x, left, { count, any, value, fill });
    else doubleShiftNarrow(x, left, { count, any, value, fill });
  };
}

interface DoubleShift extends Shift {
  readonly value: Inst;
  readonly fill: Inst;
}

function doubleShift64(x: Lifter, left: boolean, { count, any, value, fill }: DoubleShift): void {
  const back = x.op('i64.sub', [x.const64(64), count]);
  const [main, other] = left ? ['i64.shl', 'i64.shr_u'] : ['i64.shr_u', 'i64.shl'];
  const joined = x.op('i64.or', [
    x.op(main ?? '', [value, count]),
    x.op(other ?? '', [fill, back]),
  ]);
  const result = x.select(any, joined, value);
  const carry = left ? bit(x, value, back) : bit(x, value, x.op('i64.sub', [count, x.const64(1)]));
  finish(
    x,
    any,
    result,
    carry,
    x.op('i64.xor', [bit(x, result, x.const64(63)), bit(x, value, x.const64(63))]),
  );
}

function doubleShiftNarrow(
  x: Lifter,
  left: boolean,
  { count, any, value, fill }: DoubleShift,
): void {
  const bits = x.size * 8;
  const width = x.const64(bits);
  const both = (high: Inst, low: Inst) => x.op('i64.or', [x.op('i64.shl', [high, width]), low]);
  // Three operands' worth of bits: enough for counts up to 31 over 16 bits.
  const again = bits === 16 ? x.op('i64.shl', [value, x.const64(32)]) : x.const64(0);
  let result: Inst;
  let carry: Inst;
  if (left) {
    const ring = bits === 16 ? both(both(value, fill), value) : both(value, fill);
    const size = bits === 16 ? 48 : 64;
    const shifted = x.op('i64.shl', [ring, count]);
    result = x.op('i64.shr_u', [shifted, x.const64(size - bits)]);
    carry = bit(x, ring, x.op('i64.sub', [x.const64(size), count]));
  } else {
    const ring = x.op('i64.or', [both(fill, value), again]);
    result = x.op('i64.shr_u', [ring, count]);
    carry = bit(x, ring, x.op('i64.sub', [count, x.const64(1)]));
  }
  const top = x.const64(bits - 1);
  finish(x, any, result, carry, x.op('i64.xor', [bit(x, result, top), bit(x, value, top)]));
}

export const SHIFT_LIFTS: Record<string, Lift> = {
  shl: liftShl,
  shr: liftShr,
  sar: liftSar,
  rol: rotate(true),
  ror: rotate(false),
  rcl: rotateThrough('rcl'),
  rcr: rotateThrough('rcr'),
  shld: doubleShift(true),
  shrd: doubleShift(false),
};
