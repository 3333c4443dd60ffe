import {
  ATTN_INTERRUPT,
  REC_NEXT,
  S_ATTENTION,
  S_CPL,
  S_CR4,
  S_DR7,
  S_EFLAGS,
  S_REC,
  S_RIP,
  S_RSP,
  SEG_CS,
  SEG_DS,
  SEG_ES,
  SEG_FS,
  SEG_GS,
  SEG_SS,
  SEG_TR,
} from '../ir/state.ts';
import { S_NMI_BLOCKED } from '../ir/state-system.ts';
import { readSystem16 } from './access.ts';
import { checkTarget } from './code-target.ts';
import {
  code64,
  cplOf,
  longMode,
  markAccessed,
  raiseSelector,
  raiseZero,
  segBase,
  segLimit,
} from './descriptor.ts';
import {
  checkReturnCode,
  checkReturnStack,
  dropInnerSegments,
  enterCode,
  enterStack,
} from './far.ts';
import {
  AC,
  ARITHMETIC,
  DF,
  eflags,
  ID,
  IF,
  IOPL_SHIFT,
  NT,
  RF,
  setEflags,
  TF,
  VIF,
  VIP,
  VM,
} from './flags.ts';
import { peek, setStackPointer, stackMask } from './frame.ts';
import { updateKey } from './key.ts';
import { GP, TS } from './raise.ts';
import { loadPlainSegment, protectedMode, setVm86Segment, vm86 } from './segments.ts';
import { switchTask, TASK_RETURN } from './task.ts';

// IRET. Source: Intel SDM vol. 2, IRET; vol. 3, 20.3 for virtual-8086 mode.

const CR4_VME: u64 = 1;
const IOPL: u32 = 3 << IOPL_SHIFT;
/** Flags that IRET loads at every privilege, in the low word and above it. */
const FREE: u32 = ARITHMETIC | TF | DF | NT;
const FREE_HIGH: u32 = RF | AC | ID;

export function iopl(cpu: usize): u32 {
  return (load<u32>(cpu, S_EFLAGS) >> IOPL_SHIFT) & 3;
}

/** Loads the flags of `mask` from `image`. RF is kept only while breakpoints can ask for it: nothing clears it else. */
export function loadFlags(cpu: usize, image: u32, mask: u32): void {
  const flags = (eflags(cpu) & ~mask) | (image & mask);
  setEflags(cpu, load<u64>(cpu, S_DR7) & 0xff ? flags : flags & ~RF);
}

/** NMIs are let in again even by an IRET that faults (SDM vol. 3, 6.7.1 and 25.3). */
export function interrupt_return(cpu: usize, size: u32): void {
  if (load<u32>(cpu, S_NMI_BLOCKED)) {
    store<u32>(cpu, 0, S_NMI_BLOCKED);
    atomic.or<u32>(cpu + S_ATTENTION, ATTN_INTERRUPT); // one that waits comes now
  }
  if (!protectedMode(cpu)) returnPlain(cpu, size);
  else if (load<u32>(cpu, S_EFLAGS) & NT) returnTask(cpu);
  else returnProtected(cpu, size);
}

function cut(value: u64, size: u32): u64 {
  return size == 2 ? value & 0xffff : size == 4 ? value & 0xffff_ffff : value;
}

/** Real and virtual-8086 mode. */
function returnPlain(cpu: usize, size: u32): void {
  const level = iopl(cpu);
  const extended = vm86(cpu) && level != 3;
  if (extended && !(load<u64>(cpu, S_CR4) & CR4_VME && size == 2)) raiseZero(cpu, GP);
  const rip = peek(cpu, 0, size);
  const selector = <u32>peek(cpu, size, size) & 0xffff;
  let image = <u32>peek(cpu, size * 2, size);
  if (rip > <u64>segLimit(cpu, SEG_CS)) raiseZero(cpu, GP);
  let mask = FREE;
  if (extended) {
    if (image & TF || (image & IF && load<u32>(cpu, S_EFLAGS) & VIP)) raiseZero(cpu, GP);
    image = image & IF ? image | VIF : image & ~VIF;
    mask |= VIF;
  } else {
    mask |= vm86(cpu) ? IF : IF | IOPL;
    if (size != 2) mask |= FREE_HIGH;
  }
  setStackPointer(cpu, load<u64>(cpu, S_RSP) + <u64>(size * 3), stackMask(cpu));
  loadPlainSegment(cpu, SEG_CS, selector);
  loadFlags(cpu, image, mask);
  store<u64>(cpu, rip, S_RIP);
  store<u32>(cpu, 0, S_REC);
  updateKey(cpu);
}

/** NT: back to the task that the link of this TSS names. */
function returnTask(cpu: usize): void {
  if (longMode(cpu)) raiseZero(cpu, GP);
  const link = readSystem16(cpu, segBase(cpu, SEG_TR));
  if (link & 4) raiseSelector(cpu, TS, link);
  const next = load<u64>(cpu, S_RIP) + load<u16>(load<u32>(cpu, S_REC), REC_NEXT);
  switchTask(cpu, link, TASK_RETURN, next);
}

function maskFor(cpu: usize, cpl: u32, size: u32): u32 {
  let mask = FREE;
  if (size != 2) mask |= FREE_HIGH;
  if (cpl <= iopl(cpu)) mask |= IF;
  if (cpl == 0) mask |= size == 2 ? IOPL : IOPL | VIF | VIP;
  return mask;
}

function returnProtected(cpu: usize, size: u32): void {
  const rip = cut(peek(cpu, 0, size), size);
  const selector = <u32>peek(cpu, size, size) & 0xffff;
  const image = <u32>peek(cpu, size * 2, size);
  const cpl = cplOf(cpu);
  if (size == 4 && image & VM && cpl == 0 && !longMode(cpu)) {
    returnToVm86(cpu, rip, selector, image);
    return;
  }
  const code = checkReturnCode(cpu, selector);
  const rpl = selector & 3;
  const outer = rpl != cpl;
  const mask = maskFor(cpu, cpl, size);
  if (outer || code64(cpu)) {
    const sp = peek(cpu, size * 3, size);
    const ss = <u32>peek(cpu, size * 4, size) & 0xffff;
    const stack = checkReturnStack(cpu, ss, code, rpl);
    checkTarget(cpu, code, rip);
    const marked = markAccessed(cpu, selector, code);
    enterStack(cpu, ss, stack, code, sp);
    enterCode(cpu, selector, marked, rpl, rip);
    if (outer) dropInnerSegments(cpu, rpl);
  } else {
    checkTarget(cpu, code, rip);
    const marked = markAccessed(cpu, selector, code);
    setStackPointer(cpu, load<u64>(cpu, S_RSP) + <u64>(size * 3), stackMask(cpu));
    enterCode(cpu, selector, marked, rpl, rip);
  }
  loadFlags(cpu, image, mask);
  updateKey(cpu);
}

/** Ring 0 to virtual-8086 mode: all segment registers come from the stack. */
function returnToVm86(cpu: usize, rip: u64, selector: u32, image: u32): void {
  if (rip > 0xffff) raiseZero(cpu, GP);
  const sp = peek(cpu, 12, 4);
  const ss = <u32>peek(cpu, 16, 4) & 0xffff;
  const es = <u32>peek(cpu, 20, 4) & 0xffff;
  const ds = <u32>peek(cpu, 24, 4) & 0xffff;
  const fs = <u32>peek(cpu, 28, 4) & 0xffff;
  const gs = <u32>peek(cpu, 32, 4) & 0xffff;
  loadFlags(cpu, image, FREE | FREE_HIGH | IF | IOPL | VIF | VIP | VM);
  store<u64>(cpu, sp, S_RSP);
  setVm86Segment(cpu, SEG_CS, selector);
  setVm86Segment(cpu, SEG_SS, ss);
  setVm86Segment(cpu, SEG_ES, es);
  setVm86Segment(cpu, SEG_DS, ds);
  setVm86Segment(cpu, SEG_FS, fs);
  setVm86Segment(cpu, SEG_GS, gs);
  store<u32>(cpu, 3, S_CPL);
  store<u64>(cpu, rip, S_RIP);
  store<u32>(cpu, 0, S_REC);
  updateKey(cpu);
}
