import {
  S_CPL,
  S_REC,
  S_RIP,
  S_RSP,
  SEG_CS,
  SEG_DS,
  SEG_ES,
  SEG_FS,
  SEG_GS,
  SEG_SS,
} from '../ir/state.ts';
import { checkTarget } from './code-target.ts';
import {
  baseOf,
  checkLongCode,
  cplOf,
  dplOf,
  fetchDescriptor,
  fetchUpper,
  isCode,
  isConforming,
  isNull,
  limitOf,
  longMode,
  markAccessed,
  R_DB,
  R_L,
  R_P,
  R_S,
  raiseSelector,
  raiseZero,
  rightsOf,
  segLimit,
  segRights,
  segSelector,
  setFromDescriptor,
  setNull,
  TYPE_BUSY,
  TYPE_CALL,
  TYPE_CALL16,
  TYPE_TASK_GATE,
  TYPE_TSS,
  TYPE_TSS16,
  typeOf,
} from './descriptor.ts';
import {
  checkFrame,
  closeFrame,
  innerStack,
  innerStackSegment,
  MASK64,
  maskOf,
  openFrame,
  openHere,
  peek,
  push,
  S_INNER_SP,
  setStackPointer,
  stackMask,
} from './frame.ts';
import { updateKey } from './key.ts';
import { GP, NP } from './raise.ts';
import { checkStackSegment, loadPlainSegment, protectedMode } from './segments.ts';
import { switchTask, TASK_CALL, TASK_JUMP } from './task.ts';

// Far JMP, CALL and RET. Source: Intel SDM vol. 2, the operations of JMP, CALL and RET; vol. 3, 5.8.

/** The last step of a transfer: CS, CPL and RIP. The caller updates the key. */
export function enterCode(cpu: usize, selector: u32, d: u64, cpl: u32, rip: u64): void {
  setFromDescriptor(cpu, SEG_CS, (selector & 0xfffc) | cpl, d);
  store<u32>(cpu, cpl, S_CPL);
  store<u64>(cpu, rip, S_RIP);
  store<u32>(cpu, 0, S_REC);
}

function cut(rip: u64, size: u32): u64 {
  return size == 2 ? rip & 0xffff : size == 4 ? rip & 0xffff_ffff : rip;
}

/** Real and virtual-8086 mode: the selector is the base. */
function jumpPlain(cpu: usize, selector: u32, rip: u64): void {
  if (rip > <u64>segLimit(cpu, SEG_CS)) raiseZero(cpu, GP);
  loadPlainSegment(cpu, SEG_CS, selector);
  store<u64>(cpu, rip, S_RIP);
  store<u32>(cpu, 0, S_REC);
  updateKey(cpu);
}

export function far_jump(cpu: usize, selector: u32, offset: u64, size: u32, next: u64): void {
  const target = cut(offset, size);
  if (!protectedMode(cpu)) {
    jumpPlain(cpu, selector & 0xffff, target);
    return;
  }
  if (isNull(selector)) raiseZero(cpu, GP);
  const d = fetchDescriptor(cpu, selector, GP);
  if (!(rightsOf(d) & R_S)) {
    jumpSystem(cpu, selector & 0xffff, d, next, false);
    return;
  }
  checkDirect(cpu, selector, d);
  checkTarget(cpu, d, target);
  enterCode(cpu, selector, markAccessed(cpu, selector, d), cplOf(cpu), target);
  updateKey(cpu);
}

/** A code segment named by a far pointer must be of this privilege, or conforming and more privileged. */
function checkDirect(cpu: usize, selector: u32, d: u64): void {
  const rights = rightsOf(d);
  const cpl = cplOf(cpu);
  if (!isCode(rights)) raiseSelector(cpu, GP, selector);
  checkLongCode(cpu, selector, rights);
  if (isConforming(rights)) {
    if (dplOf(rights) > cpl) raiseSelector(cpu, GP, selector);
  } else if ((selector & 3) > cpl || dplOf(rights) != cpl) {
    raiseSelector(cpu, GP, selector);
  }
  if (!(rights & R_P)) raiseSelector(cpu, NP, selector);
}

export function far_call(cpu: usize, selector: u32, offset: u64, size: u32, next: u64): void {
  const target = cut(offset, size);
  if (!protectedMode(cpu)) {
    openHere(cpu, 2, size);
    push(cpu, <u64>segSelector(cpu, SEG_CS), size);
    push(cpu, next, size);
    jumpPlain(cpu, selector & 0xffff, target);
    closeFrame(cpu);
    return;
  }
  if (isNull(selector)) raiseZero(cpu, GP);
  const d = fetchDescriptor(cpu, selector, GP);
  if (!(rightsOf(d) & R_S)) {
    jumpSystem(cpu, selector & 0xffff, d, next, true);
    return;
  }
  checkDirect(cpu, selector, d);
  callSame(cpu, selector, d, target, size, next);
}

/** A call that stays on this stack. */
function callSame(cpu: usize, selector: u32, d: u64, target: u64, size: u32, next: u64): void {
  openHere(cpu, 2, size);
  checkTarget(cpu, d, target);
  push(cpu, <u64>segSelector(cpu, SEG_CS), size);
  push(cpu, next, size);
  const marked = markAccessed(cpu, selector, d);
  closeFrame(cpu);
  enterCode(cpu, selector, marked, cplOf(cpu), target);
  updateKey(cpu);
}

/** JMP or CALL to a system descriptor: call gate, task gate or TSS. */
function jumpSystem(cpu: usize, selector: u32, d: u64, next: u64, call: bool): void {
  const rights = rightsOf(d);
  const type = typeOf(rights);
  const dpl = dplOf(rights);
  const legacy = !longMode(cpu);
  const tss = legacy && ((type & ~TYPE_BUSY) == TYPE_TSS || (type & ~TYPE_BUSY) == TYPE_TSS16);
  const taskGate = legacy && type == TYPE_TASK_GATE;
  const gate = type == TYPE_CALL || (legacy && type == TYPE_CALL16);
  if (!tss && !taskGate && !gate) raiseSelector(cpu, GP, selector);
  if (dpl < cplOf(cpu) || dpl < (selector & 3)) raiseSelector(cpu, GP, selector);
  if (!tss && !(rights & R_P)) raiseSelector(cpu, NP, selector);
  const reason = call ? TASK_CALL : TASK_JUMP;
  if (tss) switchTask(cpu, selector, reason, next);
  else if (taskGate) switchTask(cpu, <u32>(d >> 16) & 0xffff, reason, next);
  else throughGate(cpu, selector, d, next, call);
}

function throughGate(cpu: usize, gate: u32, d: u64, next: u64, call: bool): void {
  const long = longMode(cpu);
  const upper = long ? fetchUpper(cpu, gate, GP) : 0;
  const wide = typeOf(rightsOf(d)) == TYPE_CALL;
  const selector = <u32>(d >> 16) & 0xffff;
  let target = d & 0xffff;
  if (wide) target |= <u64>(<u32>(d >> 32) & 0xffff_0000) | (upper << 32);
  if (isNull(selector)) raiseZero(cpu, GP);
  const code = fetchDescriptor(cpu, selector, GP);
  const rights = rightsOf(code);
  const cpl = cplOf(cpu);
  const dpl = dplOf(rights);
  if (!isCode(rights) || dpl > cpl) raiseSelector(cpu, GP, selector);
  if (long && (rights & (R_L | R_DB)) != R_L) raiseSelector(cpu, GP, selector);
  const inner = !isConforming(rights) && dpl < cpl;
  if (inner && !call) raiseSelector(cpu, GP, selector);
  if (!(rights & R_P)) raiseSelector(cpu, NP, selector);
  const size: u32 = long ? 8 : wide ? 4 : 2;
  if (inner) {
    callInner(cpu, selector, code, target, size, next, <u32>(d >> 32) & 31);
  } else if (call) {
    callSame(cpu, selector, code, target, size, next);
  } else {
    checkTarget(cpu, code, target);
    enterCode(cpu, selector, markAccessed(cpu, selector, code), cpl, target);
    updateKey(cpu);
  }
}

/** CALL to a more privileged level: a new stack, with `params` items of the old one copied (SDM vol. 3, 5.8.5). */
function callInner(
  cpu: usize,
  selector: u32,
  code: u64,
  target: u64,
  size: u32,
  next: u64,
  params: u32,
): void {
  const level = dplOf(rightsOf(code));
  const ss = innerStack(cpu, level);
  const sp = load<u64>(cpu, S_INNER_SP);
  const long = longMode(cpu);
  let stack: u64 = 0;
  if (long) {
    openFrame(cpu, 0, sp, MASK64, level);
    checkFrame(cpu, 0, 0, 4, 8, 0);
  } else {
    stack = innerStackSegment(cpu, ss, level);
    const rights = rightsOf(stack);
    openFrame(cpu, <u64>baseOf(stack), sp, maskOf(rights), level);
    checkFrame(cpu, limitOf(stack), rights, 4 + params, size, ss);
  }
  checkTarget(cpu, code, target);
  push(cpu, <u64>segSelector(cpu, SEG_SS), size);
  push(cpu, load<u64>(cpu, S_RSP), size);
  if (!long) for (let i = params; i > 0; i--) push(cpu, peek(cpu, (i - 1) * size, size), size);
  push(cpu, <u64>segSelector(cpu, SEG_CS), size);
  push(cpu, next, size);
  const marked = markAccessed(cpu, selector, code);
  if (!long) stack = markAccessed(cpu, ss, stack);
  enterInner(cpu, ss, stack, level);
  enterCode(cpu, selector, marked, level, target);
  updateKey(cpu);
}

/** SS and RSP of the frame just made for privilege `level`; in IA-32e mode SS is null with that RPL. */
export function enterInner(cpu: usize, ss: u32, stack: u64, level: u32): void {
  if (longMode(cpu)) setNull(cpu, SEG_SS, level);
  else setFromDescriptor(cpu, SEG_SS, ss, stack);
  closeFrame(cpu);
}

/** Checks the code segment that RET or IRET returns to and gives its descriptor. */
export function checkReturnCode(cpu: usize, selector: u32): u64 {
  if (isNull(selector)) raiseZero(cpu, GP);
  const d = fetchDescriptor(cpu, selector, GP);
  const rights = rightsOf(d);
  const rpl = selector & 3;
  if (!isCode(rights) || rpl < cplOf(cpu)) raiseSelector(cpu, GP, selector);
  checkLongCode(cpu, selector, rights);
  if (isConforming(rights) ? dplOf(rights) > rpl : dplOf(rights) != rpl)
    raiseSelector(cpu, GP, selector);
  if (!(rights & R_P)) raiseSelector(cpu, NP, selector);
  return d;
}

/** Checks the stack segment of a return to code `code` at `rpl`; 0 for a null one, which 64-bit code below ring 3 may have. */
export function checkReturnStack(cpu: usize, selector: u32, code: u64, rpl: u32): u64 {
  if (isNull(selector)) {
    const allowed =
      longMode(cpu) && (rightsOf(code) & R_L) != 0 && rpl != 3 && (selector & 3) == rpl;
    if (!allowed) raiseZero(cpu, GP);
    return 0;
  }
  const d = fetchDescriptor(cpu, selector, GP);
  checkStackSegment(cpu, selector, d, rpl, GP);
  return markAccessed(cpu, selector, d);
}

/** Loads SS and RSP of a return; `stack` is what `checkReturnStack` gave. */
export function enterStack(cpu: usize, selector: u32, stack: u64, code: u64, sp: u64): void {
  if (isNull(selector)) setNull(cpu, SEG_SS, selector);
  else setFromDescriptor(cpu, SEG_SS, selector, stack);
  const mask = longMode(cpu) && rightsOf(code) & R_L ? MASK64 : maskOf(rightsOf(stack));
  setStackPointer(cpu, sp, mask);
}

function dropIfInner(cpu: usize, seg: u32, cpl: u32): void {
  const rights = segRights(cpu, seg);
  // A register that is null already keeps its base: 64-bit code sets the bases of FS and GS apart from it.
  if (!(rights & R_P) || dplOf(rights) >= cpl || isConforming(rights)) return;
  setFromDescriptor(cpu, seg, 0, 0);
}

/** A less privileged level must not find segments of a more privileged one. */
export function dropInnerSegments(cpu: usize, cpl: u32): void {
  dropIfInner(cpu, SEG_ES, cpl);
  dropIfInner(cpu, SEG_DS, cpl);
  dropIfInner(cpu, SEG_FS, cpl);
  dropIfInner(cpu, SEG_GS, cpl);
}

/** RETF, with `bytes` of parameters to drop. */
export function far_return(cpu: usize, size: u32, bytes: u32): void {
  const rip = cut(peek(cpu, 0, size), size);
  const selector = <u32>peek(cpu, size, size) & 0xffff;
  const past = load<u64>(cpu, S_RSP) + <u64>(size * 2 + bytes);
  if (!protectedMode(cpu)) {
    const mask = stackMask(cpu);
    jumpPlain(cpu, selector, rip);
    setStackPointer(cpu, past, mask);
    return;
  }
  const code = checkReturnCode(cpu, selector);
  const rpl = selector & 3;
  if (rpl == cplOf(cpu)) {
    checkTarget(cpu, code, rip);
    const marked = markAccessed(cpu, selector, code);
    setStackPointer(cpu, past, stackMask(cpu));
    enterCode(cpu, selector, marked, rpl, rip);
  } else {
    const sp = peek(cpu, size * 2 + bytes, size);
    const ss = <u32>peek(cpu, size * 3 + bytes, size) & 0xffff;
    const stack = checkReturnStack(cpu, ss, code, rpl);
    checkTarget(cpu, code, rip);
    const marked = markAccessed(cpu, selector, code);
    enterStack(cpu, ss, stack, code, sp + bytes);
    enterCode(cpu, selector, marked, rpl, rip);
    dropInnerSegments(cpu, rpl);
  }
  updateKey(cpu);
}
