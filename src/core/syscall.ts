import {
  S_CPL,
  S_CR4,
  S_EFER,
  S_EFLAGS,
  S_MSR_KERNEL_GS_BASE,
  S_MSR_LSTAR,
  S_MSR_SFMASK,
  S_MSR_STAR,
  S_MSR_SYSENTER_CS,
  S_MSR_SYSENTER_EIP,
  S_MSR_SYSENTER_ESP,
  S_RCX,
  S_RDX,
  S_REC,
  S_REGS,
  S_RIP,
  S_RSP,
  S_TF_ARMED,
  SEG_CS,
  SEG_GS,
  SEG_SS,
} from '../ir/state.ts';
import {
  code64,
  cplOf,
  isNull,
  longMode,
  R_DB,
  R_G,
  R_L,
  raiseZero,
  segBase,
  setSegBase,
  setSegment,
} from './descriptor.ts';
import { eflags, IF, RF, setEflags, TF, VM } from './flags.ts';
import { loadFlags } from './iret.ts';
import { updateKey } from './key.ts';
import { isCanonical } from './paging.ts';
import { GP, raise, raiseDebug, UD } from './raise.ts';
import { protectedMode } from './segments.ts';

// SYSCALL, SYSENTER and their returns; SWAPGS and the FS and GS bases. Source: Intel SDM vol. 2.

const EFER_SCE: u64 = 1;
const DR6_BS: u64 = 1 << 14;
const CR4_FSGSBASE: u64 = 1 << 16;
const S_R11 = S_REGS + 11 * 8;
/** Present, accessed: code that can be read, data that can be written. */
const CODE: u32 = 0x9b;
const DATA: u32 = 0x93;
/** All defined flags but RF and VM: what SYSRET takes from R11. */
const SYSRET_FLAGS: u32 = 0x003c_7fd7;

/** Flat code and stack segments of the fixed kind that these instructions load, at `cpl`. */
function setFlat(cpu: usize, cs: u32, ss: u32, cpl: u32, long: bool): void {
  const dpl = cpl << 5;
  setSegment(cpu, SEG_CS, cs | cpl, 0, 0xffff_ffff, CODE | dpl | R_G | (long ? R_L : R_DB));
  setSegment(cpu, SEG_SS, ss | cpl, 0, 0xffff_ffff, DATA | dpl | R_G | R_DB);
  store<u32>(cpu, cpl, S_CPL);
}

function go(cpu: usize, rip: u64): void {
  store<u64>(cpu, rip, S_RIP);
  store<u32>(cpu, 0, S_REC);
  updateKey(cpu);
}

/** SYSCALL: #UD outside 64-bit mode, as on Intel's processors. */
export function syscall(cpu: usize, next: u64): void {
  if (!code64(cpu) || !(load<u64>(cpu, S_EFER) & EFER_SCE)) raise(cpu, UD);
  const flags = eflags(cpu);
  store<u64>(cpu, next, S_RCX);
  store<u64>(cpu, flags & ~RF, S_R11);
  setEflags(cpu, flags & ~(<u32>load<u64>(cpu, S_MSR_SFMASK) | RF));
  const selector = <u32>(load<u64>(cpu, S_MSR_STAR) >> 32) & 0xfffc;
  setFlat(cpu, selector, selector + 8, 0, true);
  // A step ends here only if IA32_FMASK lets TF through.
  if (!(load<u32>(cpu, S_EFLAGS) & TF)) store<u32>(cpu, 0, S_TF_ARMED);
  go(cpu, load<u64>(cpu, S_MSR_LSTAR));
}

/** SYSRET to 64-bit code (`size` 8) or compatibility mode. A non-canonical RCX faults in ring 0, as on Intel. */
export function sysret(cpu: usize, size: u32): void {
  if (!code64(cpu) || !(load<u64>(cpu, S_EFER) & EFER_SCE)) raise(cpu, UD);
  const target = load<u64>(cpu, S_RCX);
  if (cplOf(cpu) != 0 || (size == 8 && !isCanonical(target))) raiseZero(cpu, GP);
  const selector = <u32>(load<u64>(cpu, S_MSR_STAR) >> 48) & 0xffff;
  loadFlags(cpu, (<u32>load<u64>(cpu, S_R11) & SYSRET_FLAGS) | 2, SYSRET_FLAGS | RF);
  setFlat(cpu, (selector + (size == 8 ? 16 : 0)) | 3, (selector + 8) | 3, 3, size == 8);
  go(cpu, size == 8 ? target : target & 0xffff_ffff);
  // Unlike IRET's, a TF from here counts at once: the step is that of the SYSCALL.
  if (load<u32>(cpu, S_EFLAGS) & TF) raiseDebug(cpu, DR6_BS);
}

export function sysenter(cpu: usize): void {
  const selector = <u32>load<u64>(cpu, S_MSR_SYSENTER_CS) & 0xfffc;
  if ((!protectedMode(cpu) && !(load<u32>(cpu, S_EFLAGS) & VM)) || isNull(selector))
    raiseZero(cpu, GP);
  const long = longMode(cpu);
  const sp = load<u64>(cpu, S_MSR_SYSENTER_ESP);
  const rip = load<u64>(cpu, S_MSR_SYSENTER_EIP);
  store<u32>(cpu, load<u32>(cpu, S_EFLAGS) & ~(VM | IF | RF), S_EFLAGS);
  setFlat(cpu, selector, selector + 8, 0, long);
  store<u64>(cpu, long ? sp : sp & 0xffff_ffff, S_RSP);
  go(cpu, long ? rip : rip & 0xffff_ffff);
}

/** SYSEXIT to 64-bit code (`size` 8) or 32-bit code. */
export function sysexit(cpu: usize, size: u32): void {
  const selector = <u32>load<u64>(cpu, S_MSR_SYSENTER_CS) & 0xfffc;
  if (!protectedMode(cpu) || isNull(selector) || cplOf(cpu) != 0) raiseZero(cpu, GP);
  const rip = load<u64>(cpu, S_RDX);
  const sp = load<u64>(cpu, S_RCX);
  const long = size == 8;
  if (long && !(isCanonical(rip) && isCanonical(sp))) raiseZero(cpu, GP);
  setFlat(cpu, selector + (long ? 32 : 16), selector + (long ? 40 : 24), 3, long);
  store<u64>(cpu, long ? sp : sp & 0xffff_ffff, S_RSP);
  go(cpu, long ? rip : rip & 0xffff_ffff);
}

export function swapgs(cpu: usize): void {
  if (cplOf(cpu) != 0) raiseZero(cpu, GP);
  const base = segBase(cpu, SEG_GS);
  setSegBase(cpu, SEG_GS, load<u64>(cpu, S_MSR_KERNEL_GS_BASE));
  store<u64>(cpu, base, S_MSR_KERNEL_GS_BASE);
}

/** RDFSBASE and RDGSBASE. */
export function read_segment_base(cpu: usize, seg: u32): u64 {
  if (!(load<u64>(cpu, S_CR4) & CR4_FSGSBASE)) raise(cpu, UD);
  return segBase(cpu, seg);
}

/** WRFSBASE and WRGSBASE. */
export function write_segment_base(cpu: usize, seg: u32, base: u64): void {
  if (!(load<u64>(cpu, S_CR4) & CR4_FSGSBASE)) raise(cpu, UD);
  if (!isCanonical(base)) raiseZero(cpu, GP);
  setSegBase(cpu, seg, base);
}
