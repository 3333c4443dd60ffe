import {
  REC_NEXT,
  S_ATTENTION,
  S_CPL,
  S_CR0,
  S_CR4,
  S_EFLAGS,
  S_HALTED,
  S_INHIBIT,
  S_IRQ_PENDING,
  S_MSR_TSC_AUX,
  S_RAX,
  S_RCX,
  S_RDX,
  S_REC,
  S_RIP,
  S_STI_NEXT,
  S_TSC_OFFSET,
  SEG_TR,
} from '../ir/state.ts';
import { readSystem16 } from './access.ts';
import { require_ring0 } from './control.ts';
import { checkPortBreakpoint } from './debug.ts';
import {
  cplOf,
  raiseZero,
  segBase,
  segLimit,
  segRights,
  TYPE_BUSY,
  TYPE_TSS,
  typeOf,
} from './descriptor.ts';
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
  TF,
  VIF,
  VIP,
  VM,
} from './flags.ts';
import { hostCpuid, hostTsc, port_read, port_write, random32 } from './host.ts';
import { iopl, loadFlags } from './iret.ts';
import { updateKey } from './key.ts';
import { GP, raise, UD } from './raise.ts';
import { protectedMode, vm86 } from './segments.ts';

// Instructions that deal with interrupts, flags, ports and time. Source: Intel SDM vol. 2; vol. 3, 20.3 for VME and PVI;
// vol. 1, 19.5 for ports.

const CR0_PE: u64 = 1;
const CR4_VME: u64 = 1;
const CR4_PVI: u64 = 2;
const CR4_TSD: u64 = 4;
const IOPL: u32 = 3 << IOPL_SHIFT;
const RING3: u32 = 3;
/** A 32-bit TSS holds the offset of its I/O bitmap here. */
const TSS_IO_MAP: u32 = 102;

/** True when VIF stands for IF: ring 3 below IOPL 3, with CR4.VME in virtual-8086 mode, CR4.PVI else. Raises #GP(0) where neither may change. */
function virtualIf(cpu: usize): bool {
  const level = iopl(cpu);
  const cr4 = load<u64>(cpu, S_CR4);
  if (vm86(cpu)) {
    if (level == 3) return false;
    if (!(cr4 & CR4_VME)) raiseZero(cpu, GP);
    return true;
  }
  if (!protectedMode(cpu) || cplOf(cpu) <= level) return false;
  if (cplOf(cpu) != RING3 || !(cr4 & CR4_PVI)) raiseZero(cpu, GP);
  return true;
}

export function cli(cpu: usize): void {
  const bit = virtualIf(cpu) ? VIF : IF;
  store<u32>(cpu, load<u32>(cpu, S_EFLAGS) & ~bit, S_EFLAGS);
}

/**
 * True when nothing can come between STI and the next instruction but what is new: then the shadow is no more than the
 * address where it ends, for the run loop to compare.
 */
function isQuiet(cpu: usize, next: u64): bool {
  if (load<u32>(cpu, S_ATTENTION) | load<u32>(cpu, S_IRQ_PENDING)) return false;
  // Where RIP may wrap around the address is another.
  return (next & 0xffff) != 0;
}

/** STI: interrupts wait for one more instruction, unless they were on already. */
export function sti(cpu: usize): void {
  const flags = load<u32>(cpu, S_EFLAGS);
  if (virtualIf(cpu)) {
    if (flags & VIP) raiseZero(cpu, GP);
    store<u32>(cpu, flags | VIF, S_EFLAGS);
    return;
  }
  if (flags & IF) return;
  store<u32>(cpu, flags | IF, S_EFLAGS);
  const next = load<u64>(cpu, S_RIP) + load<u16>(load<u32>(cpu, S_REC), REC_NEXT);
  if (isQuiet(cpu, next)) {
    store<u64>(cpu, next, S_STI_NEXT);
    return;
  }
  store<u32>(cpu, 1, S_INHIBIT);
  updateKey(cpu);
}

/** What PUSHF of `size` bytes pushes. */
export function pushf_value(cpu: usize, size: u32): u64 {
  let image = eflags(cpu) & ~(RF | VM);
  if (vm86(cpu) && iopl(cpu) != 3) {
    if (!(load<u64>(cpu, S_CR4) & CR4_VME) || size != 2) raiseZero(cpu, GP);
    image = image & VIF ? image | IF : image & ~IF;
    image |= IOPL;
  }
  return <u64>image;
}

/** POPF of `size` bytes, with the value from the stack. */
export function popf(cpu: usize, value: u32, size: u32): void {
  if (vm86(cpu) && iopl(cpu) != 3) popfExtended(cpu, value, size);
  else loadFlags(cpu, value & ~(VIF | VIP), popfMask(cpu, size));
  updateKey(cpu);
}

/** Flags that POPF loads where IF is itself (SDM vol. 2, table 4-15). */
function popfMask(cpu: usize, size: u32): u32 {
  const cpl = cplOf(cpu);
  let mask = ARITHMETIC | TF | DF | NT;
  if (size != 2) mask |= AC | ID;
  if (vm86(cpu) || cpl <= iopl(cpu)) mask |= IF;
  if (cpl == 0) mask |= size == 2 ? IOPL : IOPL | VIF | VIP;
  return mask;
}

/** In virtual-8086 mode below IOPL 3 VIF stands for IF. */
function popfExtended(cpu: usize, value: u32, size: u32): void {
  if (!(load<u64>(cpu, S_CR4) & CR4_VME) || size != 2) raiseZero(cpu, GP);
  const on = (value & IF) != 0;
  if (value & TF || (on && load<u32>(cpu, S_EFLAGS) & VIP)) raiseZero(cpu, GP);
  loadFlags(cpu, on ? value | VIF : value & ~VIF, ARITHMETIC | TF | DF | NT | VIF);
}

export function hlt(cpu: usize): void {
  require_ring0(cpu);
  store<u32>(cpu, 1, S_HALTED);
}

/** #GP(0) unless this privilege may use the ports [port, port + size). */
export function check_io(cpu: usize, port: u32, size: u32): void {
  if (load<u64>(cpu, S_CR0) & CR0_PE && (vm86(cpu) || cplOf(cpu) > iopl(cpu)))
    checkIoMap(cpu, port, size);
  checkPortBreakpoint(cpu, port, size);
}

function checkIoMap(cpu: usize, port: u32, size: u32): void {
  const limit = segLimit(cpu, SEG_TR);
  const wide = (typeOf(segRights(cpu, SEG_TR)) & ~TYPE_BUSY) == TYPE_TSS;
  if (!wide || limit < TSS_IO_MAP + 1) raiseZero(cpu, GP);
  const base = segBase(cpu, SEG_TR);
  // Two bytes are read whatever the port, so both must lie within the limit.
  const at = readSystem16(cpu, base + TSS_IO_MAP) + (port >> 3);
  if (at + 1 > limit) raiseZero(cpu, GP);
  const bits = readSystem16(cpu, base + at) >> (port & 7);
  if (bits & ((1 << size) - 1)) raiseZero(cpu, GP);
}

export function io_in(cpu: usize, port: u32, size: u32): u32 {
  check_io(cpu, port & 0xffff, size);
  return port_read(cpu, port & 0xffff, size);
}

export function io_out(cpu: usize, port: u32, size: u32, value: u32): void {
  check_io(cpu, port & 0xffff, size);
  port_write(cpu, port & 0xffff, size, value);
}

/** The time-stamp counter as RDTSC and the MSR show it. */
export function tscNow(cpu: usize): u64 {
  return <u64>hostTsc() + load<u64>(cpu, S_TSC_OFFSET);
}

function storeTsc(cpu: usize): void {
  if (load<u64>(cpu, S_CR4) & CR4_TSD && cplOf(cpu) != 0) raiseZero(cpu, GP);
  const now = tscNow(cpu);
  store<u64>(cpu, now & 0xffff_ffff, S_RAX);
  store<u64>(cpu, now >> 32, S_RDX);
}

export function rdtsc(cpu: usize): void {
  storeTsc(cpu);
}

export function rdtscp(cpu: usize): void {
  storeTsc(cpu);
  store<u64>(cpu, load<u64>(cpu, S_MSR_TSC_AUX) & 0xffff_ffff, S_RCX);
}

/** No performance counters are offered: every index is out of range. */
export function rdpmc(cpu: usize): void {
  raiseZero(cpu, GP);
}

/** 64 random bits, for RDRAND and RDSEED. */
export function random64(_cpu: usize): u64 {
  return <u64>random32() | ((<u64>random32()) << 32);
}

export function cpuid(cpu: usize): void {
  hostCpuid(cpu);
}

/** MONITOR and MWAIT outside ring 0 are undefined; an extension that is not there is #GP(0). */
export function monitor(cpu: usize): void {
  if (load<u32>(cpu, S_CPL) != 0) raise(cpu, UD);
  if (load<u64>(cpu, S_RCX) != 0) raiseZero(cpu, GP);
}

/** MWAIT may always end early: it does at once. */
export function mwait(cpu: usize): void {
  if (load<u32>(cpu, S_CPL) != 0) raise(cpu, UD);
  if (load<u64>(cpu, S_RCX) & ~1) raiseZero(cpu, GP);
}

/** CLAC and STAC. */
export function set_ac(cpu: usize, on: u32): void {
  if (load<u32>(cpu, S_CPL) != 0) raise(cpu, UD);
  const flags = load<u32>(cpu, S_EFLAGS);
  store<u32>(cpu, on ? flags | AC : flags & ~AC, S_EFLAGS);
  updateKey(cpu);
}
