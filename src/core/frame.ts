import { KEY_STACK32, KEY_STACK64, S_KEY, S_RSP, S_SCRATCH, SEG_SS, SEG_TR } from '../ir/state.ts';
import { S_FRAME_BASE, S_FRAME_MASK, S_FRAME_SP, S_FRAME_SYSTEM } from '../ir/state-system.ts';
import {
  read16,
  read32,
  read64,
  readSystem16,
  readSystem32,
  readSystem64,
  write16,
  write32,
  write64,
  writeSystem16,
  writeSystem32,
  writeSystem64,
} from './access.ts';
import {
  fetchDescriptor,
  isNull,
  longMode,
  R_DB,
  raiseSelector,
  raiseZero,
  segBase,
  segLimit,
  segRights,
  segSelector,
  TYPE_BUSY,
  TYPE_TSS16,
  typeOf,
} from './descriptor.ts';
import { isCanonical } from './paging.ts';
import { SS, TS } from './raise.ts';
import { checkStackSegment, seg_address, withinLimit } from './segments.ts';

// The stack frame that a far transfer or an event makes. It is described here and in memory before any register of the
// guest changes, so that a fault on the way leaves the guest as it was.

export const MASK64: u64 = ~0;

/** Bits of RSP that address the stack. */
export function stackMask(cpu: usize): u64 {
  const key = load<u32>(cpu, S_KEY);
  if (key & KEY_STACK64) return MASK64;
  return key & KEY_STACK32 ? 0xffff_ffff : 0xffff;
}

export function maskOf(ssRights: u32): u64 {
  return ssRights & R_DB ? 0xffff_ffff : 0xffff;
}

/** Begins a frame at `sp` in a stack to come. */
export function openFrame(cpu: usize, base: u64, sp: u64, mask: u64, cpl: u32): void {
  store<u64>(cpu, base, S_FRAME_BASE);
  store<u64>(cpu, sp, S_FRAME_SP);
  store<u64>(cpu, mask, S_FRAME_MASK);
  store<u32>(cpu, cpl == 3 ? 0 : 1, S_FRAME_SYSTEM);
}

/** Begins a frame on the present stack and checks that `count` items of `size` bytes fit: #SS(0). */
export function openHere(cpu: usize, count: u32, size: u32): void {
  const mask = stackMask(cpu);
  openFrame(cpu, mask == MASK64 ? 0 : segBase(cpu, SEG_SS), load<u64>(cpu, S_RSP), mask, 3);
  checkFrame(cpu, segLimit(cpu, SEG_SS), segRights(cpu, SEG_SS), count, size, 0);
}

/** #SS with `selector` unless `count` items of `size` bytes fit into the stack segment. */
export function checkFrame(
  cpu: usize,
  limit: u32,
  rights: u32,
  count: u32,
  size: u32,
  selector: u32,
): void {
  const mask = load<u64>(cpu, S_FRAME_MASK);
  const sp = load<u64>(cpu, S_FRAME_SP);
  if (mask == MASK64) {
    if (!isCanonical(sp - <u64>(count * size)) || !isCanonical(sp - 1))
      raiseSelector(cpu, SS, selector);
    return;
  }
  for (let i: u32 = 1; i <= count; i++) {
    const offset = (sp - <u64>(i * size)) & mask;
    if (!withinLimit(limit, rights, offset, size)) raiseSelector(cpu, SS, selector);
  }
}

/** Pushes into the frame. */
export function push(cpu: usize, value: u64, size: u32): void {
  const mask = load<u64>(cpu, S_FRAME_MASK);
  const sp = load<u64>(cpu, S_FRAME_SP) - size;
  let at = load<u64>(cpu, S_FRAME_BASE) + (sp & mask);
  if (mask != MASK64) at &= 0xffff_ffff;
  if (load<u32>(cpu, S_FRAME_SYSTEM)) {
    if (size == 8) writeSystem64(cpu, at, value);
    else if (size == 4) writeSystem32(cpu, at, <u32>value);
    else writeSystem16(cpu, at, <u32>value & 0xffff);
  } else if (size == 8) {
    write64(cpu, at, value);
  } else if (size == 4) {
    write32(cpu, at, <u32>value);
  } else {
    write16(cpu, at, <u32>value & 0xffff);
  }
  store<u64>(cpu, sp, S_FRAME_SP);
}

/** The frame is done: RSP becomes its end. */
export function closeFrame(cpu: usize): void {
  setStackPointer(cpu, load<u64>(cpu, S_FRAME_SP), load<u64>(cpu, S_FRAME_MASK));
}

/** Writes as much of RSP as a stack of that size has. */
export function setStackPointer(cpu: usize, value: u64, mask: u64): void {
  if (mask == 0xffff) store<u16>(cpu, <u16>value, S_RSP);
  else store<u64>(cpu, value & mask, S_RSP);
}

/** The item of `size` bytes at RSP + `offset`. */
export function peek(cpu: usize, offset: u32, size: u32): u64 {
  const at = seg_address(cpu, SEG_SS, (load<u64>(cpu, S_RSP) + offset) & stackMask(cpu), size, 0);
  if (size == 8) return read64(cpu, at);
  return <u64>(size == 4 ? read32(cpu, at) : read16(cpu, at));
}

/** Where `innerStack` leaves the stack pointer. */
export const S_INNER_SP = S_SCRATCH + 8;

/** Stack of privilege `level` from the TSS: gives the selector of SS (0 in IA-32e mode), and the pointer in S_INNER_SP. */
export function innerStack(cpu: usize, level: u32): u32 {
  const base = segBase(cpu, SEG_TR);
  const limit = segLimit(cpu, SEG_TR);
  const task = segSelector(cpu, SEG_TR);
  if (longMode(cpu)) {
    store<u64>(cpu, tssPointer64(cpu, 4 + level * 8), S_INNER_SP);
    return 0;
  }
  if ((typeOf(segRights(cpu, SEG_TR)) & ~TYPE_BUSY) == TYPE_TSS16) {
    const at: u32 = 2 + level * 4;
    if (at + 3 > limit) raiseSelector(cpu, TS, task);
    store<u64>(cpu, <u64>readSystem16(cpu, base + at), S_INNER_SP);
    return readSystem16(cpu, base + at + 2);
  }
  const at: u32 = 4 + level * 8;
  if (at + 5 > limit) raiseSelector(cpu, TS, task);
  store<u64>(cpu, <u64>readSystem32(cpu, base + at), S_INNER_SP);
  return readSystem16(cpu, base + at + 4);
}

/** A stack pointer of a 64-bit TSS: RSPn or ISTn. */
export function tssPointer64(cpu: usize, offset: u32): u64 {
  if (offset + 7 > segLimit(cpu, SEG_TR)) raiseSelector(cpu, TS, segSelector(cpu, SEG_TR));
  const sp = readSystem64(cpu, segBase(cpu, SEG_TR) + offset);
  if (!isCanonical(sp)) raiseZero(cpu, SS);
  return sp;
}

/** The descriptor of a stack segment for privilege `cpl` that came from a TSS: #TS, or #SS when not present. */
export function innerStackSegment(cpu: usize, selector: u32, cpl: u32): u64 {
  if (isNull(selector)) raiseSelector(cpu, TS, selector);
  const d = fetchDescriptor(cpu, selector, TS);
  checkStackSegment(cpu, selector, d, cpl, TS);
  return d;
}
