import type { Inst } from '#ir/block.ts';
import { S_RAX, S_RBX, S_RCX, S_RDX } from '#ir/state.ts';
import type { Lift, Lifter } from '../lifter.ts';

const ZF = 1 << 6;

// Flags are recorded, not computed: only a reader of EFLAGS pays for them.

function liftAdd(x: Lifter): void {
  const a = x.readForWrite(0);
  const b = x.read(1, x.size);
  const sum = x.add(a, b);
  x.write(0, sum);
  x.setFlags('add', a, b, sum);
}

function liftSub(x: Lifter): void {
  const a = x.readForWrite(0);
  const b = x.read(1, x.size);
  const difference = x.sub(a, b);
  x.write(0, difference);
  x.setFlags('sub', a, b, difference);
}

function liftCmp(x: Lifter): void {
  const a = x.read(0);
  const b = x.read(1, x.size);
  x.setFlags('sub', a, b, x.sub(a, b));
}

/** CF as an integer of the operand's type. */
function carry(x: Lifter) {
  const cf = x.cond(2);
  return x.size === 8 ? x.to64(cf) : cf;
}

function liftAdc(x: Lifter): void {
  const a = x.readForWrite(0);
  const b = x.read(1, x.size);
  const sum = x.add(x.add(a, b), carry(x));
  x.write(0, sum);
  x.setFlags('adc', a, b, sum);
}

function liftSbb(x: Lifter): void {
  const a = x.readForWrite(0);
  const b = x.read(1, x.size);
  const difference = x.sub(x.sub(a, b), carry(x));
  x.write(0, difference);
  x.setFlags('sbb', a, b, difference);
}

function logic(name: 'and' | 'or' | 'xor'): Lift {
  return (x) => {
    const result = x[name](x.readForWrite(0), x.read(1, x.size));
    x.write(0, result);
    x.setFlags('logic', result, result, result);
  };
}

function liftTest(x: Lifter): void {
  const result = x.and(x.read(0), x.read(1, x.size));
  x.setFlags('logic', result, result, result);
}

function liftInc(x: Lifter): void {
  const a = x.readForWrite(0);
  const result = x.add(a, x.const(1, x.size));
  x.write(0, result);
  x.setFlags('inc', a, a, result);
}

function liftDec(x: Lifter): void {
  const a = x.readForWrite(0);
  const result = x.sub(a, x.const(1, x.size));
  x.write(0, result);
  x.setFlags('dec', a, a, result);
}

function liftNeg(x: Lifter): void {
  const a = x.readForWrite(0);
  const zero = x.const(0, x.size);
  const result = x.sub(zero, a);
  x.write(0, result);
  x.setFlags('sub', zero, a, result);
}

function liftNot(x: Lifter): void {
  x.write(0, x.bin('xor', x.readForWrite(0), x.const(-1, x.size), x.size));
}

function liftXadd(x: Lifter): void {
  const a = x.readForWrite(0);
  const b = x.read(1);
  const sum = x.add(a, b);
  if (x.isMem(0)) {
    x.write(0, sum);
    x.write(1, a);
  } else {
    // With the same register twice the sum stays.
    x.write(1, a);
    x.write(0, sum);
  }
  x.setFlags('add', a, b, sum);
}

/** The destination is written in any case; the accumulator only when they differ (SDM vol. 2, CMPXCHG). */
function liftCmpxchg(x: Lifter): void {
  const { size } = x;
  const old = x.readForWrite(0);
  const accumulator = x.reg(S_RAX, size);
  const equal = x.op(size === 8 ? 'i64.eq' : 'i32.eq', [old, accumulator]);
  const source = x.read(1);
  if (x.isMem(0)) x.write(0, x.select(equal, source, old));
  // Of 32-bit registers the one that is not loaded keeps its upper half.
  if (size === 4) setUnless(x, equal, S_RAX, x.to64(old));
  else x.setReg(S_RAX, size, x.select(equal, accumulator, old));
  // After the accumulator, which may be the destination itself.
  const target = x.binding(0);
  if (target.kind === 'reg' && size === 4)
    x.setSlot(target.slot, 8, x.select(equal, x.to64(source), x.getSlot(target.slot, 8)));
  else if (target.kind === 'reg') x.write(0, x.select(equal, source, old));
  x.setFlags('sub', accumulator, old, x.sub(accumulator, old));
}

/** Writes all 64 bits of a register unless `condition` holds. */
function setUnless(x: Lifter, condition: Inst, register: number, value: Inst): void {
  x.setReg(register, 8, x.select(condition, x.reg(register, 8), value));
}

function liftCmpxchg8b(x: Lifter): void {
  const address = x.address();
  const old = x.loadw(address, 8);
  const joined = (high: number, low: number) =>
    x.op('i64.or', [
      x.op('i64.shl', [x.to64(x.reg(high, 4)), x.const64(32)]),
      x.to64(x.reg(low, 4)),
    ]);
  const equal = x.op('i64.eq', [old, joined(S_RDX, S_RAX)]);
  x.store(address, 8, x.select(equal, joined(S_RCX, S_RBX), old));
  setUnless(x, equal, S_RAX, x.op('i64.and', [old, x.const64(0xffffffff)]));
  setUnless(x, equal, S_RDX, x.op('i64.shr_u', [old, x.const64(32)]));
  const others = x.op('i32.and', [x.call('arithmetic_flags'), x.const32(~ZF)]);
  const zero = x.op('i32.shl', [equal, x.const32(6)]);
  x.call('set_arithmetic_flags', [x.op('i32.or', [others, zero])]);
}

function liftCmpxchg16b(x: Lifter): void {
  x.call('cmpxchg16b', [x.address()]);
}

/** CBW, CWDE, CDQE. */
function liftCbw(x: Lifter): void {
  const half = x.opSize / 2;
  x.setReg(S_RAX, x.opSize, x.signExtend(x.reg(S_RAX, half), half, x.opSize));
}

/** CWD, CDQ, CQO: the sign everywhere in rDX. */
function liftCwd(x: Lifter): void {
  const size = x.opSize;
  const value = x.reg(S_RAX, size);
  if (size === 8) {
    x.setReg(S_RDX, 8, x.op('i64.shr_s', [value, x.const64(63)]));
    return;
  }
  x.setReg(S_RDX, size, x.mask(x.op('i32.shr_s', [x.sext(value, size), x.const32(31)]), size));
}

export const ARITH_LIFTS: Record<string, Lift> = {
  add: liftAdd,
  or: logic('or'),
  adc: liftAdc,
  sbb: liftSbb,
  and: logic('and'),
  sub: liftSub,
  xor: logic('xor'),
  cmp: liftCmp,
  test: liftTest,
  inc: liftInc,
  dec: liftDec,
  neg: liftNeg,
  not: liftNot,
  xadd: liftXadd,
  cmpxchg: liftCmpxchg,
  cmpxchg8b: liftCmpxchg8b,
  cmpxchg16b: liftCmpxchg16b,
  cbw: liftCbw,
  cwd: liftCwd,
};
