import type { Inst } from '#ir/block.ts';
import { S_RCX, S_RSP } from '#ir/state.ts';
import type { Lift, Lifter } from '../lifter.ts';

// Near branches. A target that cannot be fetched from faults at the branch: direct jumps that change nothing else leave
// it to the dispatcher to find that out (core/blocks.ts, link_block), where they are linked.

function liftCall(x: Lifter): void {
  const size = x.opSize;
  x.checkJump(x.const32(1));
  x.push(x.resize(x.nextRip(), 8, size), size);
  x.jump();
}

function liftCallIndirect(x: Lifter): void {
  const size = x.opSize;
  const target = x.read(0);
  x.checkGoto(target);
  x.push(x.resize(x.nextRip(), 8, size), size);
  x.goto(target);
}

/** RET, RET imm16. */
function liftRet(x: Lifter): void {
  const size = x.opSize;
  const target = x.top(size);
  x.checkGoto(target);
  let sp = x.op('i64.add', [x.reg(S_RSP, 8), x.const64(size)]);
  if (x.cx.bindings.length > 0) sp = x.op('i64.add', [sp, x.to64(x.read(0, 2))]);
  x.setStackPointer(sp, x.cx.stackSize);
  x.goto(target);
}

/** rCX of the address size. */
function counter(x: Lifter): Inst {
  return x.reg(S_RCX, x.cx.addrSize);
}

/** LOOP, LOOPE, LOOPNE: `arg` is the condition that must hold as well, or -1. */
function liftLoop(x: Lifter): void {
  const size = x.cx.addrSize;
  const left = x.bin('sub', counter(x), x.const(1, size), size);
  const isLeft = x.op(size === 8 ? 'i64.ne' : 'i32.ne', [left, x.const(0, size)]);
  const taken = x.arg < 0 ? isLeft : x.op('i32.and', [isLeft, x.cond(x.arg)]);
  x.checkJump(taken);
  x.setReg(S_RCX, size, left);
  x.branch(taken);
}

function liftJcxz(x: Lifter): void {
  const taken = x.op(x.cx.addrSize === 8 ? 'i64.eqz' : 'i32.eqz', [counter(x)]);
  x.checkJump(taken);
  x.branch(taken);
}

/** Jumps of 16 bits are never linked. */
function liftJump(x: Lifter): void {
  if (x.opSize === 2) x.checkJump(x.const32(1));
  x.jump();
}

function liftJcc(x: Lifter): void {
  const taken = x.cond(x.arg);
  if (x.opSize === 2) x.checkJump(taken);
  x.branch(taken);
}

function liftJumpIndirect(x: Lifter): void {
  const target = x.read(0);
  x.checkGoto(target);
  x.goto(target);
}

function liftBound(x: Lifter): void {
  const size = x.opSize;
  const address = x.address();
  const low = x.load(address, size);
  const high = x.load(x.op('i64.add', [address, x.const64(size)]), size);
  const index = x.signExtend(x.read(0), size, 8);
  const below = x.op('i64.lt_s', [index, x.signExtend(low, size, 8)]);
  const above = x.op('i64.gt_s', [index, x.signExtend(high, size, 8)]);
  x.raiseIf(x.op('i32.or', [below, above]), 5);
}

export const FLOW_LIFTS: Record<string, Lift> = {
  jcc: liftJcc,
  jmp: liftJump,
  jmpInd: liftJumpIndirect,
  call: liftCall,
  callInd: liftCallIndirect,
  ret: liftRet,
  loop: liftLoop,
  jcxz: liftJcxz,
  bound: liftBound,
};
