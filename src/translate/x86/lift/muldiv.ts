import type { Inst } from '#ir/block.ts';
import { S_RAX, S_RDX } from '#ir/state.ts';
import type { Lift, Lifter } from '../lifter.ts';

/**
 * CF and OF tell whether the upper half matters; SF and PF are those of the lower half, ZF and AF are clear, as Intel's
 * parts leave what the book calls undefined: bit 8 keeps RES from being 0.
 */
function productFlags(x: Lifter, low: Inst, overflow: Inst, size: number): void {
  const result = x.op('i64.or', [x.signExtend(low, size, 8), x.const64(0x100)]);
  x.op('set_flags_raw', [result, x.op('i64.shl', [x.to64(overflow), x.const64(63)])]);
}

/** Upper half of a 128-bit product, of four of 32-bit halves: what is added last comes from what takes longest. */
function mulHigh(x: Lifter, a: Inst, b: Inst, signed: boolean): Inst {
  const low = (v: Inst) => x.op('i64.and', [v, x.const64(0xffffffff)]);
  const high = (v: Inst) => x.op('i64.shr_u', [v, x.const64(32)]);
  const mul = (v: Inst, w: Inst) => x.op('i64.mul', [v, w]);
  const add = (v: Inst, w: Inst) => x.op('i64.add', [v, w]);
  const [a0, a1, b0, b1] = [low(a), high(a), low(b), high(b)];
  const first = add(mul(a1, b0), high(mul(a0, b0)));
  const second = add(mul(a0, b1), low(first));
  const unsigned = add(high(second), add(mul(a1, b1), high(first)));
  if (!signed) return unsigned;
  const correction = (v: Inst, w: Inst) =>
    x.op('i64.and', [x.op('i64.shr_s', [v, x.const64(63)]), w]);
  return x.op('i64.sub', [x.op('i64.sub', [unsigned, correction(a, b)]), correction(b, a)]);
}

/** The doubled product of one-operand MUL and IMUL into rDX:rAX (AX for bytes). */
function multiply(signed: boolean): Lift {
  return (x) => {
    const { size } = x;
    const a = x.reg(S_RAX, size);
    const b = x.read(0);
    if (size === 8) {
      const high = mulHigh(x, a, b, signed);
      const low = x.op('i64.mul', [a, b]);
      x.setReg(S_RDX, 8, high);
      x.setReg(S_RAX, 8, low);
      const expected = signed ? x.op('i64.shr_s', [low, x.const64(63)]) : x.const64(0);
      productFlags(x, low, x.op('i64.ne', [high, expected]), 8);
      return;
    }
    const widen = (v: Inst) => (signed ? x.signExtend(v, size, 8) : x.to64(v));
    const product = x.op('i64.mul', [widen(a), widen(b)]);
    const low = x.mask(x.op('i32.wrap_i64', [product]), size);
    if (size === 1) {
      x.setReg(S_RAX, 2, x.mask(x.op('i32.wrap_i64', [product]), 2));
    } else {
      const high = x.op('i32.wrap_i64', [x.op('i64.shr_u', [product, x.const64(size * 8)])]);
      x.setReg(S_RAX, size, low);
      x.setReg(S_RDX, size, x.mask(high, size));
    }
    productFlags(x, low, x.op('i64.ne', [product, widen(low)]), size);
  };
}

/** Two- and three-operand IMUL: cut to the operand size. */
function imul(first: number, second: number): Lift {
  return (x) => {
    const { size } = x;
    const a = x.read(first);
    const b = x.read(second, size);
    if (size === 8) {
      const low = x.op('i64.mul', [a, b]);
      const high = mulHigh(x, a, b, true);
      x.write(0, low);
      productFlags(x, low, x.op('i64.ne', [high, x.op('i64.shr_s', [low, x.const64(63)])]), 8);
      return;
    }
    const low = x.mask(x.op('i32.mul', [a, b]), size);
    const product = x.op('i64.mul', [x.signExtend(a, size, 8), x.signExtend(b, size, 8)]);
    x.write(0, low);
    productFlags(x, low, x.op('i64.ne', [product, x.signExtend(low, size, 8)]), size);
  };
}

/** Division lies in core/: it raises #DE. */
function divide(name: 'div' | 'idiv'): Lift {
  return (x) => void x.call(`${name}${x.size * 8}`, [x.read(0)]);
}

export const MULDIV_LIFTS: Record<string, Lift> = {
  mul: multiply(false),
  imul1: multiply(true),
  imul: imul(0, 1),
  imul3: imul(1, 2),
  div: divide('div'),
  idiv: divide('idiv'),
};
