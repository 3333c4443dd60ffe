import type { Inst } from '#ir/block.ts';
import { S_RAX, S_RBP, S_RBX, S_RSP } from '#ir/state.ts';
import type { Lift, Lifter } from '../lifter.ts';

/** Numbers of the general registers in the order PUSHA pushes them. */
const PUSHA_ORDER = [0, 1, 2, 3, 4, 5, 6, 7];
const RSP_NUMBER = 4;

function liftXchg(x: Lifter): void {
  const a = x.readForWrite(0);
  const b = x.read(1);
  x.write(0, b);
  x.write(1, a);
}

/** 90-97: with itself it is NOP, even where a 32-bit write would clear the upper half. */
function liftXchgA(x: Lifter): void {
  const b = x.binding(1);
  if (x.size !== 4 || b.kind !== 'reg') {
    liftXchg(x);
    return;
  }
  const { slot } = b;
  const low = (v: Inst) => x.op('i64.and', [v, x.const64(0xffffffff)]);
  const accumulator = x.reg(S_RAX, 8);
  const other = x.getSlot(slot, 8);
  const isSelf =
    'field' in slot
      ? x.op('i32.eqz', [x.op('rec.u8', [], { imm: slot.field })])
      : x.const32(slot.fixed === S_RAX ? 1 : 0);
  x.setSlot(slot, 8, x.select(isSelf, accumulator, low(accumulator)));
  x.setReg(S_RAX, 8, x.select(isSelf, accumulator, low(other)));
}

/** A 32-bit CMOV clears the upper half of its destination whatever the condition. The source is read in any case. */
function liftCmov(x: Lifter): void {
  const value = x.read(1);
  x.write(0, x.select(x.cond(x.arg), value, x.read(0)));
}

function liftPush(x: Lifter): void {
  x.push(x.read(0, x.opSize), x.opSize);
}

/** POP to memory addressed by RSP uses RSP after the pop (SDM vol. 2, POP): the translator adds the operand size. */
function liftPop(x: Lifter): void {
  const size = x.opSize;
  const value = x.top(size);
  if (x.isMem(0)) {
    x.write(0, value);
    x.popped(size);
  } else {
    x.popped(size);
    x.write(0, value);
  }
}

function liftPusha(x: Lifter): void {
  const size = x.opSize;
  const sp = x.reg(S_RSP, 8);
  const values = PUSHA_ORDER.map((n) => x.reg(n * 8, size));
  values.forEach((value, i) => {
    const at = x.op('i64.sub', [sp, x.const64(size * (i + 1))]);
    x.store(x.stackAddress(at, size, true), size, value);
  });
  x.setStackPointer(x.op('i64.sub', [sp, x.const64(size * 8)]), x.cx.stackSize);
}

function liftPopa(x: Lifter): void {
  const size = x.opSize;
  const sp = x.reg(S_RSP, 8);
  const order = [...PUSHA_ORDER].reverse();
  const values = order.map((_, i) => {
    const at = x.op('i64.add', [sp, x.const64(size * i)]);
    return x.load(x.stackAddress(at, size, false), size);
  });
  order.forEach((n, i) => {
    const value = values[i];
    if (n !== RSP_NUMBER && value !== undefined) x.setReg(n * 8, size, value);
  });
  x.setStackPointer(x.op('i64.add', [sp, x.const64(size * 8)]), x.cx.stackSize);
}

function liftLeave(x: Lifter): void {
  const { stackSize } = x.cx;
  const size = x.opSize;
  const frame = x.reg(S_RBP, 8);
  const value = x.load(x.stackAddress(frame, size, false), size);
  x.setStackPointer(x.op('i64.add', [frame, x.const64(size)]), stackSize);
  x.setReg(S_RBP, size, value);
}

function liftXlat(x: Lifter): void {
  const { addrSize } = x.cx;
  const sum = x.op('i64.add', [x.reg(S_RBX, 8), x.to64(x.reg(S_RAX, 1))]);
  const masks = { 2: 0xffffn, 4: 0xffffffffn, 8: 0xffffffffffffffffn };
  const offset = addrSize === 8 ? sum : x.op('i64.and', [sum, x.const64(masks[addrSize])]);
  const address = x.call('seg_address', [x.segment(), offset, x.const32(1), x.const32(0)]);
  x.setReg(S_RAX, 1, x.load(address, 1));
}

function liftEnter(x: Lifter): void {
  x.call('enter', [x.read(0, 4), x.read(1, 4), x.const32(x.opSize), x.const32(x.cx.stackSize)]);
}

function signExtended(x: Lifter): void {
  x.write(0, x.signExtend(x.read(1), x.binding(1).size, x.size));
}

function zeroExtended(x: Lifter): void {
  x.write(0, x.resize(x.read(1), x.binding(1).size, x.size));
}

export const MOVE_LIFTS: Record<string, Lift> = {
  mov: (x) => x.write(0, x.read(1, x.size)),
  movzx: zeroExtended,
  movsx: signExtended,
  lea: (x) => x.write(0, x.resize(x.address(), 8, x.size)),
  xchg: liftXchg,
  xchgA: liftXchgA,
  cmov: liftCmov,
  setcc: (x) => x.write(0, x.cond(x.arg)),
  push: liftPush,
  pop: liftPop,
  pusha: liftPusha,
  popa: liftPopa,
  enter: liftEnter,
  leave: liftLeave,
  xlat: liftXlat,
  movnti: (x) => x.write(0, x.read(1)),
  nop: () => {},
  // The line is as coherent as any; the read raises the faults that CLFLUSH may.
  clflush: (x) => void x.read(0),
};
