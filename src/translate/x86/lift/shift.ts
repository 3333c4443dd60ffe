import type { Inst } from '#ir/block.ts';
import type { Lift, Lifter } from '../lifter.ts';

// Shifts and rotates. The count is masked to 5 bits, 6 for 64-bit operands; a count of 0 changes no flag. Results of up to
// 32 bits are shifts of 32 bits, the flags are computed in 64, so that counts past the operand's width need no care. OF is
// defined for a count of 1 only; Intel's parts give it for any count as if it were 1. SDM vol. 2, SAL/SAR/SHL/SHR,
// RCL/RCR/ROL/ROR, SHLD, SHRD.

interface Shift {
  readonly count: Inst;
  /** The count as i32. */
  readonly count32: Inst;
  readonly any: Inst;
}

function countOf(x: Lifter, operand: number): Shift {
  const raw = x.read(operand, 1);
  const count32 = x.op('i32.and', [raw, x.const32(x.size === 8 ? 63 : 31)]);
  const count = x.to64(count32);
  return { count, count32, any: x.op('i64.ne', [count, x.const64(0)]) };
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

/** The operand shifted: i64 of 8 bytes, else i32, upper bits free. */
function shifted(x: Lifter, name: 'shl' | 'shr_u' | 'shr_s', value: Inst, shift: Shift): Inst {
  return x.size === 8
    ? x.op(`i64.${name}`, [value, shift.count])
    : x.op(`i32.${name}`, [value, shift.count32]);
}

/** Writes the result, i64 of 8 bytes, else i32, upper bits free; and the flags where the count was not 0. */
function finish(x: Lifter, any: Inst, result: Inst, carry: Inst, overflow: Inst): void {
  const { size } = x;
  const cut = x.mask(result, size);
  const wide = x.signExtend(cut, size, 8);
  const oldRes = x.op('get_flags_res');
  const oldAux = x.op('get_flags_aux');
  x.write(0, cut);
  x.op('set_flags_raw', [
    x.select(any, wide, oldRes),
    x.select(any, aux(x, carry, overflow), oldAux),
  ]);
}

/** 1 where the top two bits of the operand differ: OF of a shift or rotate to the left. */
function topBitsDiffer(x: Lifter, value: Inst): Inst {
  const top = x.size * 8 - 1;
  return x.op('i64.xor', [bit(x, value, x.const64(top)), bit(x, value, x.const64(top - 1))]);
}

function liftShl(x: Lifter): void {
  const shift = countOf(x, 1);
  const operand = x.readForWrite(0);
  const value = x.to64(operand);
  // The last bit out: bit `bits` of the unmasked result; of 64-bit operands it has to be fetched.
  const carry =
    x.size === 8
      ? bit(x, value, x.op('i64.sub', [x.const64(64), shift.count]))
      : bit(x, x.op('i64.shl', [value, shift.count]), x.const64(x.size * 8));
  finish(x, shift.any, shifted(x, 'shl', operand, shift), carry, topBitsDiffer(x, value));
}

function liftShr(x: Lifter): void {
  const shift = countOf(x, 1);
  const operand = x.readForWrite(0);
  const value = x.to64(operand);
  const carry = bit(x, value, x.op('i64.sub', [shift.count, x.const64(1)]));
  const sign = bit(x, value, x.const64(x.size * 8 - 1));
  finish(x, shift.any, shifted(x, 'shr_u', operand, shift), carry, sign);
}

function liftSar(x: Lifter): void {
  const shift = countOf(x, 1);
  const { size } = x;
  const operand = x.signExtend(x.readForWrite(0), size, size === 8 ? 8 : 4);
  const value = x.signExtend(operand, size === 8 ? 8 : 4, 8);
  const before = x.op('i64.shr_s', [value, x.op('i64.sub', [shift.count, x.const64(1)])]);
  const carry = x.op('i64.and', [before, x.const64(1)]);
  finish(x, shift.any, shifted(x, 'shr_s', operand, shift), carry, x.const64(0));
}

/** Rotates leave SF ZF AF PF: CF and OF go into AUX beside them. */
function rotateFlags(x: Lifter, { count, any }: Shift, carry: Inst, overflow: Inst): void {
  const old = x.op('get_flags_aux');
  let next = overflow;
  if (x.cx.specs[1]?.kind === 'I' && !x.isMem(0)) {
    // Of a register by an immediate other than 1, OF stays.
    const kept = x.op('i64.xor', [bit(x, old, x.const64(63)), bit(x, old, x.const64(62))]);
    next = x.select(x.op('i64.eq', [count, x.const64(1)]), overflow, kept);
  }
  const rest = x.op('i64.and', [old, x.const64((1n << 62n) - 1n)]);
  const changed = x.op('i64.or', [rest, aux(x, carry, next)]);
  x.op('set_flags_raw', [x.op('get_flags_res'), x.select(any, changed, old)]);
}

function rotate(left: boolean): Lift {
  return (x) => {
    const bits = x.size * 8;
    const shift = countOf(x, 1);
    const value = x.readForWrite(0);
    const by = x.op('i64.and', [shift.count, x.const64(bits - 1)]);
    const result = rotated(x, value, by, left);
    x.write(0, result);
    const before = x.to64(value);
    const after = x.to64(result);
    const low = (v: Inst) => x.op('i64.and', [v, x.const64(1)]);
    const top = (v: Inst) => bit(x, v, x.const64(bits - 1));
    if (left) rotateFlags(x, shift, low(after), topBitsDiffer(x, before));
    else rotateFlags(x, shift, top(after), x.op('i64.xor', [low(before), top(before)]));
  };
}

function rotated(x: Lifter, value: Inst, by: Inst, left: boolean): Inst {
  const { size } = x;
  if (size === 8) return x.op(left ? 'i64.rotl' : 'i64.rotr', [value, by]);
  if (size === 4) return x.op(left ? 'i32.rotl' : 'i32.rotr', [value, x.op('i32.wrap_i64', [by])]);
  const wide = x.to64(value);
  const back = x.op('i64.sub', [x.const64(size * 8), by]);
  const [up, down] = left ? [by, back] : [back, by];
  const joined = x.op('i64.or', [x.op('i64.shl', [wide, up]), x.op('i64.shr_u', [wide, down])]);
  return x.mask(x.op('i32.wrap_i64', [joined]), size);
}

/** RCL and RCR: the value and CF are one ring of bits + 1, which core/ turns, leaving CF and OF. */
function rotateThrough(name: 'rcl' | 'rcr'): Lift {
  return (x) => {
    const { size } = x;
    const count = x.op('i32.and', [x.read(1, 1), x.const32(size === 8 ? 63 : 31)]);
    const value = x.to64(x.readForWrite(0));
    const turned = x.call(name, [value, count, x.const32(size)]);
    x.write(0, x.resize(turned, 8, size));
  };
}

interface DoubleShift extends Shift {
  readonly value: Inst;
  readonly fill: Inst;
}

/** SHLD and SHRD. */
function doubleShift(left: boolean): Lift {
  return (x) => {
    const shift = countOf(x, 2);
    const value = x.to64(x.readForWrite(0));
    const parts = { ...shift, value, fill: x.to64(x.read(1)) };
    const [result, carry] =
      x.size === 8 ? doubleShift64(x, left, parts) : doubleShiftNarrow(x, left, parts);
    const top = bit(x, value, x.const64(x.size * 8 - 1));
    const overflow = left
      ? topBitsDiffer(x, value)
      : x.op('i64.xor', [top, x.op('i64.and', [parts.fill, x.const64(1)])]);
    finish(x, shift.any, result, carry, overflow);
  };
}

function doubleShift64(x: Lifter, left: boolean, parts: DoubleShift): [Inst, Inst] {
  const { count, any, value, fill } = parts;
  const back = x.op('i64.sub', [x.const64(64), count]);
  const shl = (v: Inst, by: Inst) => x.op('i64.shl', [v, by]);
  const shr = (v: Inst, by: Inst) => x.op('i64.shr_u', [v, by]);
  const joined = left
    ? x.op('i64.or', [shl(value, count), shr(fill, back)])
    : x.op('i64.or', [shr(value, count), shl(fill, back)]);
  const lastOut = left ? back : x.op('i64.sub', [count, x.const64(1)]);
  return [x.select(any, joined, value), bit(x, value, lastOut)];
}

/** A 16-bit operand shifted by more than 16 takes bits of the first operand again, as Intel's parts do. */
function doubleShiftNarrow(x: Lifter, left: boolean, parts: DoubleShift): [Inst, Inst] {
  const { count, value, fill } = parts;
  const bits = x.size * 8;
  const width = x.const64(bits);
  const both = (high: Inst, low: Inst) => x.op('i64.or', [x.op('i64.shl', [high, width]), low]);
  if (left) {
    const ring = bits === 16 ? both(both(value, fill), value) : both(value, fill);
    const ringBits = bits === 16 ? 48 : 64;
    const moved = x.op('i64.shl', [ring, count]);
    const result = x.op('i64.shr_u', [moved, x.const64(ringBits - bits)]);
    return [
      x.op('i32.wrap_i64', [result]),
      bit(x, ring, x.op('i64.sub', [x.const64(ringBits), count])),
    ];
  }
  const ring = bits === 16 ? both(both(value, fill), value) : both(fill, value);
  const result = x.op('i64.shr_u', [ring, count]);
  return [x.op('i32.wrap_i64', [result]), bit(x, ring, x.op('i64.sub', [count, x.const64(1)]))];
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
