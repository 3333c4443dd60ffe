import type { Inst } from '#ir/block.ts';
import type { Lift, Lifter } from '../lifter.ts';

// Far transfers, interrupts and system calls: core/ does them whole and writes RIP.

const VECTOR_DB = 1;
const VECTOR_BP = 3;
/** EXC_SOFTWARE of the CPU state: the gate's DPL is checked. */
const SOFTWARE = 2;

/** Selector and offset of a far pointer operand, immediate or in memory. */
function farPointer(x: Lifter): { selector: Inst; offset: Inst } {
  if (!x.isMem(0)) {
    const pointer = x.imm(0, 'i64');
    const selector = x.op('i32.wrap_i64', [x.op('i64.shr_u', [pointer, x.const64(32)])]);
    return { selector, offset: x.op('i64.and', [pointer, x.const64(0xffffffff)]) };
  }
  const at = x.address();
  const selector = x.load(x.op('i64.add', [at, x.const64(x.opSize)]), 2);
  return { selector, offset: x.to64(x.load(at, x.opSize)) };
}

function transfer(helper: string): Lift {
  return (x) => {
    const { selector, offset } = farPointer(x);
    x.call(helper, [selector, offset, x.const32(x.opSize), x.nextRip()]);
    x.endDispatch();
  };
}

/** RETF, with the bytes to drop from the stack where the encoding has them. */
function liftRetf(x: Lifter): void {
  const bytes = x.cx.bindings.length === 0 ? x.const32(0) : x.read(0);
  x.call('far_return', [x.const32(x.opSize), bytes]);
  x.endDispatch();
}

/** INT3 and INT1. */
function trap(vector: number, flags: number): Lift {
  return (x) => {
    x.call('trap_interrupt', [x.const32(vector), x.const32(flags), x.nextRip()]);
    x.endDispatch();
  };
}

function liftInt(x: Lifter): void {
  x.call('software_interrupt', [x.read(0), x.nextRip()]);
  x.endDispatch();
}

/** A helper that takes the operand size and writes RIP. */
function sized(helper: string): Lift {
  return (x) => {
    x.call(helper, [x.const32(x.opSize)]);
    x.endDispatch();
  };
}

function liftSyscall(x: Lifter): void {
  x.call('syscall', [x.nextRip()]);
  x.endDispatch();
}

function liftSysenter(x: Lifter): void {
  x.call('sysenter');
  x.endDispatch();
}

function liftInto(x: Lifter): void {
  x.call('overflow_interrupt', [x.nextRip()]);
  x.endDispatch();
}

export const FAR_LIFTS: Readonly<Record<string, Lift>> = {
  call_far: transfer('far_call'),
  jmp_far: transfer('far_jump'),
  retf: liftRetf,
  iret: sized('interrupt_return'),
  int: liftInt,
  int3: trap(VECTOR_BP, SOFTWARE),
  int1: trap(VECTOR_DB, 0),
  into: liftInto,
  syscall: liftSyscall,
  sysret: sized('sysret'),
  sysenter: liftSysenter,
  sysexit: sized('sysexit'),
};
