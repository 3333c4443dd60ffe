import {
  S_CPL,
  S_CR0,
  S_CR3,
  S_DR7,
  S_REC,
  S_REGS,
  S_RIP,
  SEG_CS,
  SEG_DS,
  SEG_ES,
  SEG_FS,
  SEG_GS,
  SEG_LDTR,
  SEG_SS,
  SEG_TR,
} from '../ir/state.ts';
import {
  probeSystemWrite,
  readSystem16,
  readSystem32,
  writeSystem16,
  writeSystem32,
} from './access.ts';
import { checkTarget } from './code-target.ts';
import {
  baseOf,
  dplOf,
  fetchDescriptor,
  isCode,
  isConforming,
  isNull,
  limitOf,
  longMode,
  markAccessed,
  R_P,
  raiseSelector,
  raiseZero,
  rightsOf,
  segBase,
  segRights,
  segSelector,
  setBusy,
  setFromDescriptor,
  setNull,
  setSegment,
  TYPE_BUSY,
  TYPE_TSS,
  TYPE_TSS16,
  typeOf,
} from './descriptor.ts';
import { eflags, NT, setEflags, VM } from './flags.ts';
import { closeFrame, openHere, push } from './frame.ts';
import { updateKey } from './key.ts';
import { loadPdptes, paePaging } from './paging-registers.ts';
import { GP, NP, raiseDebug, TS } from './raise.ts';
import { checkStackSegment, loadDataSegment, loadLdt, setVm86Segment } from './segments.ts';
import { flushTlb } from './tlb.ts';

// Hardware task switches. Source: Intel SDM vol. 3, chapter 7: figures 7-2 and 7-10, table 7-1, 7.3.

export const TASK_JUMP: u32 = 0;
export const TASK_CALL: u32 = 1;
export const TASK_INTERRUPT: u32 = 2;
export const TASK_RETURN: u32 = 3;

// Offsets in a 32-bit TSS, and in a 16-bit one.
const TSS_CR3 = 0x1c;
const TSS_EIP = 0x20;
const TSS_EFLAGS = 0x24;
const TSS_REGS = 0x28;
const TSS_SEGS = 0x48;
const TSS_LDT = 0x60;
const TSS_TRAP = 0x64;
const TSS_LIMIT = 0x67;
const TSS16_IP = 0x0e;
const TSS16_FLAGS = 0x10;
const TSS16_REGS = 0x12;
const TSS16_SEGS = 0x22;
const TSS16_LDT = 0x2a;
const TSS16_LIMIT = 0x2b;

const CR0_TS: u64 = 8;
const CR0_PG: u64 = 1 << 31;
const DR6_BT: u64 = 1 << 15;
/** DR7.L0-L3 and LE are cleared by a task switch (SDM vol. 3, 17.2.4). */
const DR7_LOCAL: u64 = 0x155;

function is32(rights: u32): bool {
  return (typeOf(rights) & ~TYPE_BUSY) == TYPE_TSS;
}

/** Switches to the task of `selector`; `rip` is where the old one goes on. */
export function switchTask(cpu: usize, selector: u32, reason: u32, rip: u64): void {
  const returns = reason == TASK_RETURN;
  const vector = returns ? TS : GP;
  if (longMode(cpu)) raiseZero(cpu, GP);
  if (selector & 4 || isNull(selector)) raiseSelector(cpu, returns ? TS : GP, selector);
  const d = fetchDescriptor(cpu, selector, vector);
  const rights = rightsOf(d);
  const available = returns ? typeOf(rights) ^ TYPE_BUSY : typeOf(rights);
  if (available != TYPE_TSS && available != TYPE_TSS16) raiseSelector(cpu, vector, selector);
  if (!(rights & R_P)) raiseSelector(cpu, NP, selector);
  const wide = is32(rights);
  if (limitOf(d) < <u32>(wide ? TSS_LIMIT : TSS16_LIMIT)) raiseSelector(cpu, TS, selector);
  probeTasks(cpu, <u64>baseOf(d), wide);
  leaveTask(cpu, rip, returns);
  const old = segSelector(cpu, SEG_TR);
  const nested = reason == TASK_CALL || reason == TASK_INTERRUPT;
  if (!nested) setBusy(cpu, old, false);
  if (nested) writeSystem16(cpu, <u64>baseOf(d), old);
  if (!returns) setBusy(cpu, selector, true);
  setSegment(cpu, SEG_TR, selector, <u64>baseOf(d), limitOf(d), rights | TYPE_BUSY);
  enterTask(cpu, wide, nested);
}

/** Touches all that the switch reads and writes, so that page faults come while the old task still stands. */
function probeTasks(cpu: usize, base: u64, wide: bool): void {
  const end: u32 = wide ? TSS_LIMIT : TSS16_LIMIT;
  readSystem16(cpu, base);
  readSystem16(cpu, base + end - 1);
  probeSystemWrite(cpu, base, 2);
  const old = segBase(cpu, SEG_TR);
  const oldWide = is32(segRights(cpu, SEG_TR));
  probeSystemWrite(cpu, old + (oldWide ? TSS_EIP : TSS16_IP), 2);
  probeSystemWrite(cpu, old + (oldWide ? TSS_LDT - 2 : TSS16_LDT - 2), 2);
}

/** Segment registers in the order of a TSS: ES CS SS DS FS GS, as they are numbered. */
function leaveTask(cpu: usize, rip: u64, returns: bool): void {
  const base = segBase(cpu, SEG_TR);
  let flags = eflags(cpu);
  if (returns) flags &= ~NT;
  if (is32(segRights(cpu, SEG_TR))) {
    writeSystem32(cpu, base + TSS_EIP, <u32>rip);
    writeSystem32(cpu, base + TSS_EFLAGS, flags);
    for (let i: u32 = 0; i < 8; i++)
      writeSystem32(cpu, base + TSS_REGS + i * 4, load<u32>(cpu + i * 8, S_REGS));
    for (let i: u32 = 0; i < 6; i++)
      writeSystem16(cpu, base + TSS_SEGS + i * 4, segSelector(cpu, i));
  } else {
    writeSystem16(cpu, base + TSS16_IP, <u32>rip & 0xffff);
    writeSystem16(cpu, base + TSS16_FLAGS, flags & 0xffff);
    for (let i: u32 = 0; i < 8; i++)
      writeSystem16(cpu, base + TSS16_REGS + i * 2, load<u16>(cpu + i * 8, S_REGS));
    for (let i: u32 = 0; i < 4; i++)
      writeSystem16(cpu, base + TSS16_SEGS + i * 2, segSelector(cpu, i));
  }
}

/** Loads the state of the task in TR. What is wrong from here on is a fault of the new task. */
function enterTask(cpu: usize, wide: bool, nested: bool): void {
  const base = segBase(cpu, SEG_TR);
  const cr3 = wide ? readSystem32(cpu, base + TSS_CR3) : 0;
  const rip = wide ? readSystem32(cpu, base + TSS_EIP) : readSystem16(cpu, base + TSS16_IP);
  let flags = wide ? readSystem32(cpu, base + TSS_EFLAGS) : readSystem16(cpu, base + TSS16_FLAGS);
  const ldt = readSystem16(cpu, base + (wide ? TSS_LDT : TSS16_LDT));
  const trap = wide ? readSystem16(cpu, base + TSS_TRAP) & 1 : 0;
  for (let i: u32 = 0; i < 8; i++) {
    const value = wide
      ? readSystem32(cpu, base + TSS_REGS + i * 4)
      : readSystem16(cpu, base + TSS16_REGS + i * 2) | 0xffff_0000;
    store<u64>(cpu + i * 8, value, S_REGS);
  }
  for (let i: u32 = 0; i < 6; i++) {
    let selector: u32 = 0;
    if (wide) selector = readSystem16(cpu, base + TSS_SEGS + i * 4);
    else if (i < 4) selector = readSystem16(cpu, base + TSS16_SEGS + i * 2);
    setNull(cpu, i, selector);
  }
  if (nested) flags |= NT;
  setEflags(cpu, flags & 0x003f_7fd7);
  store<u64>(cpu, <u64>rip, S_RIP);
  store<u32>(cpu, 0, S_REC);
  store<u64>(cpu, load<u64>(cpu, S_CR0) | CR0_TS, S_CR0);
  store<u64>(cpu, load<u64>(cpu, S_DR7) & ~DR7_LOCAL, S_DR7);
  if (wide && load<u64>(cpu, S_CR0) & CR0_PG) switchSpace(cpu, cr3);
  setNull(cpu, SEG_LDTR, ldt);
  loadTaskSegments(cpu, ldt, flags, <u64>rip);
  if (trap) raiseDebug(cpu, DR6_BT);
}

function switchSpace(cpu: usize, cr3: u32): void {
  if (<u64>cr3 == load<u64>(cpu, S_CR3)) return;
  if (paePaging(cpu)) loadPdptes(cpu, cr3);
  store<u64>(cpu, <u64>cr3, S_CR3);
  flushTlb(cpu, false);
}

/** LDTR and the segment registers of the new task, whose selectors stand in them already (SDM vol. 3, table 7-1). */
function loadTaskSegments(cpu: usize, ldt: u32, flags: u32, rip: u64): void {
  const cpl = flags & VM ? 3 : segSelector(cpu, SEG_CS) & 3;
  store<u32>(cpu, cpl, S_CPL);
  updateKey(cpu);
  if (!isNull(ldt)) loadLdt(cpu, ldt, TS, TS);
  if (flags & VM) {
    for (let i: u32 = 0; i < 6; i++) setVm86Segment(cpu, i, segSelector(cpu, i));
    updateKey(cpu);
    return;
  }
  const ss = segSelector(cpu, SEG_SS);
  if (isNull(ss)) raiseSelector(cpu, TS, ss);
  const stack = fetchDescriptor(cpu, ss, TS);
  checkStackSegment(cpu, ss, stack, cpl, TS);
  setFromDescriptor(cpu, SEG_SS, ss, markAccessed(cpu, ss, stack));
  loadDataSegment(cpu, SEG_ES, segSelector(cpu, SEG_ES), cpl, TS);
  loadDataSegment(cpu, SEG_DS, segSelector(cpu, SEG_DS), cpl, TS);
  loadDataSegment(cpu, SEG_FS, segSelector(cpu, SEG_FS), cpl, TS);
  loadDataSegment(cpu, SEG_GS, segSelector(cpu, SEG_GS), cpl, TS);
  const code = loadTaskCode(cpu, cpl);
  updateKey(cpu);
  checkTarget(cpu, code, rip);
}

function loadTaskCode(cpu: usize, cpl: u32): u64 {
  const cs = segSelector(cpu, SEG_CS);
  if (isNull(cs)) raiseSelector(cpu, TS, cs);
  const code = fetchDescriptor(cpu, cs, TS);
  const rights = rightsOf(code);
  const dpl = dplOf(rights);
  if (!isCode(rights) || (isConforming(rights) ? dpl > cpl : dpl != cpl))
    raiseSelector(cpu, TS, cs);
  if (!(rights & R_P)) raiseSelector(cpu, NP, cs);
  const marked = markAccessed(cpu, cs, code);
  setFromDescriptor(cpu, SEG_CS, cs, marked);
  return marked;
}

/** The error code of an exception that came through a task gate, on the new task's stack. */
export function pushTaskError(cpu: usize, error: u32): void {
  const size: u32 = is32(segRights(cpu, SEG_TR)) ? 4 : 2;
  openHere(cpu, 1, size);
  push(cpu, error, size);
  closeFrame(cpu);
}
