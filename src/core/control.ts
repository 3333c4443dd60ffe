import {
  PHYS_BITS,
  S_CR0,
  S_CR2,
  S_CR3,
  S_CR4,
  S_DR0,
  S_DR6,
  S_DR7,
  S_EFER,
  S_EFLAGS,
  SEG_CS,
  SEG_TR,
} from '../ir/state.ts';
import { EVENT_CR3, S_CR4_VALID, TRACE_MMU } from '../ir/state-system.ts';
import { read64 } from './access.ts';
import {
  code64,
  cplOf,
  longMode,
  R_L,
  raiseZero,
  segRights,
  TYPE_BUSY,
  TYPE_TSS16,
  typeOf,
} from './descriptor.ts';
import { RF } from './flags.ts';
import { set_task_priority, task_priority } from './host.ts';
import { updateKey } from './key.ts';
import { isCanonical } from './paging.ts';
import { loadPdptes, paeWith } from './paging-registers.ts';
import { GP, raise, raiseDebug, UD } from './raise.ts';
import { protectedMode, vm86 } from './segments.ts';
import { flushTlb, flushTlbPage } from './tlb.ts';
import { traceEvent } from './trace.ts';

// Control and debug registers. Source: Intel SDM vol. 3, 2.5 and 17.2; vol. 2, MOV to and from them.

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_WP: u64 = 1 << 16;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
const CR0_PG: u64 = 1 << 31;
/** PE MP EM TS, ET, NE, WP, AM, NW CD PG. */
const CR0_VALID: u64 = 0xe005_003f;
const CR4_DE: u64 = 1 << 3;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const CR4_PGE: u64 = 1 << 7;
const CR4_PCIDE: u64 = 1 << 17;
const CR4_SMEP: u64 = 1 << 20;
const CR4_SMAP: u64 = 1 << 21;
/** A change of one of these makes translations old (SDM vol. 3, 4.10.4.1). */
const CR4_FLUSHES: u64 = CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP;
const CR3_NO_FLUSH: u64 = 1 << 63;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const PHYS_LIMIT: u64 = 1 << PHYS_BITS;

// DR6 and DR7: what can be written, and what reads as one (SDM vol. 3, 17.2.3 and 17.2.4).
const DR6_VALID: u64 = 0xe00f;
const DR6_ONES: u64 = 0xffff_0ff0;
const DR6_BD: u64 = 1 << 13;
const DR7_VALID: u64 = 0xffff_23ff;
const DR7_ONES: u64 = 0x400;
const DR7_GD: u64 = 1 << 13;

/** #GP(0) unless CPL is 0. Real mode has CPL 0, virtual-8086 mode 3. */
export function require_ring0(cpu: usize): void {
  if (cplOf(cpu) != 0) raiseZero(cpu, GP);
}

export function mov_from_cr(cpu: usize, number: u32): u64 {
  if (number != 0 && number != 2 && number != 3 && number != 4 && !(number == 8 && code64(cpu)))
    raise(cpu, UD);
  require_ring0(cpu);
  if (number == 0) return load<u64>(cpu, S_CR0);
  if (number == 2) return load<u64>(cpu, S_CR2);
  if (number == 3) return load<u64>(cpu, S_CR3);
  if (number == 4) return load<u64>(cpu, S_CR4);
  return <u64>task_priority();
}

export function mov_to_cr(cpu: usize, number: u32, value: u64): void {
  if (number != 0 && number != 2 && number != 3 && number != 4 && !(number == 8 && code64(cpu)))
    raise(cpu, UD);
  require_ring0(cpu);
  if (number == 0) writeCr0(cpu, value);
  else if (number == 2) store<u64>(cpu, value, S_CR2);
  else if (number == 3) writeCr3(cpu, value);
  else if (number == 4) writeCr4(cpu, value);
  else if (value > 15) raiseZero(cpu, GP);
  else set_task_priority(<u32>value);
}

function writeCr0(cpu: usize, value: u64): void {
  if (value >> 32) raiseZero(cpu, GP);
  const old = load<u64>(cpu, S_CR0);
  const cr0 = (value & CR0_VALID) | CR0_ET;
  const cr4 = load<u64>(cpu, S_CR4);
  if (cr0 & CR0_PG && !(cr0 & CR0_PE)) raiseZero(cpu, GP);
  if (cr0 & CR0_NW && !(cr0 & CR0_CD)) raiseZero(cpu, GP);
  const efer = eferWith(cpu, old, cr0, cr4);
  const pdpteBits = CR0_CD | CR0_NW | CR0_PG;
  if ((old ^ cr0) & pdpteBits && paeWith(cr0, cr4, efer)) loadPdptes(cpu, load<u64>(cpu, S_CR3));
  store<u64>(cpu, efer, S_EFER);
  store<u64>(cpu, cr0, S_CR0);
  if ((old ^ cr0) & (CR0_PG | CR0_PE | CR0_WP)) flushTlb(cpu, true);
  updateKey(cpu);
}

/** EFER after a change of CR0: PG with LME enters IA-32e mode, PG cleared leaves it (SDM vol. 3, 9.8.5). */
function eferWith(cpu: usize, old: u64, cr0: u64, cr4: u64): u64 {
  const efer = load<u64>(cpu, S_EFER);
  if (!((old ^ cr0) & CR0_PG)) return efer;
  if (!(cr0 & CR0_PG)) {
    if (code64(cpu) || cr4 & CR4_PCIDE) raiseZero(cpu, GP);
    return efer & ~EFER_LMA;
  }
  if (!(efer & EFER_LME)) return efer;
  const task16 = (typeOf(segRights(cpu, SEG_TR)) & ~TYPE_BUSY) == TYPE_TSS16;
  if (!(cr4 & CR4_PAE) || segRights(cpu, SEG_CS) & R_L || task16) raiseZero(cpu, GP);
  return efer | EFER_LMA;
}

function writeCr3(cpu: usize, value: u64): void {
  const long = longMode(cpu);
  const pcid = (load<u64>(cpu, S_CR4) & CR4_PCIDE) != 0;
  const keep = pcid && (value & CR3_NO_FLUSH) != 0;
  const cr3 = keep ? value & ~CR3_NO_FLUSH : value;
  if (long && cr3 >= PHYS_LIMIT) raiseZero(cpu, GP);
  if (paeWith(load<u64>(cpu, S_CR0), load<u64>(cpu, S_CR4), load<u64>(cpu, S_EFER)))
    loadPdptes(cpu, cr3);
  const same = cr3 == load<u64>(cpu, S_CR3);
  store<u64>(cpu, cr3, S_CR3);
  traceEvent(cpu, TRACE_MMU, EVENT_CR3, cr3, 0);
  // The TLB holds one address space: another PCID's translations are not kept.
  if (!(keep && same)) flushTlb(cpu, false);
}

function writeCr4(cpu: usize, value: u64): void {
  const old = load<u64>(cpu, S_CR4);
  if (value & ~load<u64>(cpu, S_CR4_VALID)) raiseZero(cpu, GP);
  const changed = old ^ value;
  if (longMode(cpu) && !(value & CR4_PAE)) raiseZero(cpu, GP);
  if (changed & value & CR4_PCIDE && (!longMode(cpu) || load<u64>(cpu, S_CR3) & 0xfff))
    raiseZero(cpu, GP);
  const pdpteBits = CR4_PGE | CR4_PSE | CR4_PAE | CR4_SMEP;
  if (changed & pdpteBits && paeWith(load<u64>(cpu, S_CR0), value, load<u64>(cpu, S_EFER))) {
    loadPdptes(cpu, load<u64>(cpu, S_CR3));
  }
  store<u64>(cpu, value, S_CR4);
  if (changed & CR4_FLUSHES) flushTlb(cpu, true);
  updateKey(cpu);
}

/** LMSW: the low four bits of CR0, of which PE can be set and not cleared. */
export function lmsw(cpu: usize, value: u32): void {
  require_ring0(cpu);
  const cr0 = load<u64>(cpu, S_CR0);
  writeCr0(cpu, (cr0 & ~0xe) | (value & 0xf));
}

/** SMSW: all of CR0; the instruction cuts it. */
export function smsw(cpu: usize): u64 {
  return load<u64>(cpu, S_CR0);
}

export function clts(cpu: usize): void {
  require_ring0(cpu);
  store<u64>(cpu, load<u64>(cpu, S_CR0) & ~8, S_CR0);
  updateKey(cpu);
}

export function invlpg(cpu: usize, vaddr: u64): void {
  require_ring0(cpu);
  // A page behind a non-canonical address: the instruction does nothing (SDM vol. 2, INVLPG).
  if (isCanonical(vaddr)) flushTlbPage(cpu, vaddr);
}

/** INVPCID with its descriptor at `address` (SDM vol. 2). The TLB knows one PCID, so that more is dropped than asked for. */
export function invpcid(cpu: usize, type: u64, address: u64): void {
  if (!protectedMode(cpu) && !vm86(cpu)) checkPcidDescriptor(cpu, type, address);
  else {
    require_ring0(cpu);
    checkPcidDescriptor(cpu, type, address);
  }
}

function checkPcidDescriptor(cpu: usize, type: u64, address: u64): void {
  const pcid = read64(cpu, address);
  const linear = read64(cpu, address + 8);
  if (type > 3 || (type < 2 && pcid >> 12)) raiseZero(cpu, GP);
  const enabled = (load<u64>(cpu, S_CR4) & CR4_PCIDE) != 0;
  if (type < 2 && pcid != 0 && !enabled) raiseZero(cpu, GP);
  if (type == 0 && !isCanonical(linear)) raiseZero(cpu, GP);
  const here = enabled ? load<u64>(cpu, S_CR3) & 0xfff : 0;
  if (type == 0) {
    if (pcid == here) flushTlbPage(cpu, linear);
  } else if (type == 1) {
    if (pcid == here) flushTlb(cpu, false);
  } else {
    flushTlb(cpu, type == 2);
  }
}

/** The register that DR `number` names: 4 and 5 are 6 and 7, unless CR4.DE forbids them. */
function debugNumber(cpu: usize, number: u32): u32 {
  const alias = number == 4 || number == 5;
  if (number > 7 || (alias && load<u64>(cpu, S_CR4) & CR4_DE)) raise(cpu, UD);
  require_ring0(cpu);
  if (load<u64>(cpu, S_DR7) & DR7_GD) raiseDebug(cpu, DR6_BD);
  return alias ? number + 2 : number;
}

export function mov_from_dr(cpu: usize, number: u32): u64 {
  const n = debugNumber(cpu, number);
  if (n == 6) return (load<u64>(cpu, S_DR6) & DR6_VALID) | DR6_ONES;
  if (n == 7) return load<u64>(cpu, S_DR7) | DR7_ONES;
  return load<u64>(cpu + n * 8, S_DR0);
}

export function mov_to_dr(cpu: usize, number: u32, value: u64): void {
  const n = debugNumber(cpu, number);
  if (n >= 6 && value >> 32) raiseZero(cpu, GP);
  if (n == 6) {
    store<u64>(cpu, (value & DR6_VALID) | DR6_ONES, S_DR6);
  } else if (n == 7) {
    store<u64>(cpu, (value & DR7_VALID) | DR7_ONES, S_DR7);
    store<u32>(cpu, load<u32>(cpu, S_EFLAGS) & ~RF, S_EFLAGS);
    updateKey(cpu);
  } else {
    store<u64>(cpu + n * 8, value, S_DR0);
  }
}
