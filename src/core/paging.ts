import {
  KEY_USER,
  PAGE_CODE,
  PAGE_DIRTY,
  PAGE_MAP_BYTES,
  PAGE_RAM,
  PAGE_ROM,
  PHYS_BITS,
  S_A20_MASK,
  S_CR0,
  S_CR3,
  S_CR4,
  S_EFER,
  S_KEY,
  S_PAGE_MAP,
  S_PDPTE,
  S_RAM_HOST,
  S_ROM_HOST,
  S_ROM_PADDR,
  S_STAT_WALKS,
  S_WALK_ERROR,
  TLB_MODE_SMAP,
  TLB_MODE_USER,
} from '../ir/state.ts';
import { EVENT_MARK, EVENT_STORE, TRACE_STORES } from '../ir/state-system.ts';
import { hasCode, invalidateRange } from './code-pages.ts';
import { GP, raiseError, raisePageFault, SS } from './raise.ts';
import { TLB_GLOBAL, TLB_HUGE, TLB_LARGE } from './tlb.ts';
import { traceEvent } from './trace.ts';

export const ACCESS_READ: u32 = 0;
export const ACCESS_WRITE: u32 = 1;
export const ACCESS_FETCH: u32 = 2;
/** With one of these: by a region, which may be made from the very bytes that the walk would mark. */
export const SPARE_CODE: u32 = 4;
/** A walk that would mark any entry ends, and marks none. */
export const SPARE_ALL: u32 = 8;

// Page-fault error code and entry bits. Source: Intel SDM vol. 3, 4.7 and tables 4-5 to 4-20.
const ERROR_PRESENT: u32 = 1;
const ERROR_WRITE: u32 = 2;
const ERROR_USER: u32 = 4;
const ERROR_RESERVED: u32 = 8;
const ERROR_FETCH: u32 = 16;
const PTE_P: u64 = 1;
const PTE_W: u64 = 2;
const PTE_U: u64 = 4;
const PTE_A: u64 = 32;
const PTE_D: u64 = 64;
const PTE_PS: u64 = 128;
const PTE_G: u64 = 256;
const PTE_NX: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const PHYS_RESERVED: u64 = ADDRESS & ~((1 << PHYS_BITS) - 1);

const CR0_WP: u64 = 1 << 16;
const CR0_PG: u64 = 1 << 31;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const CR4_PGE: u64 = 1 << 7;
const CR4_SMEP: u64 = 1 << 20;
const CR4_SMAP: u64 = 1 << 21;
const EFER_LMA: u64 = 1 << 10;
const EFER_NXE: u64 = 1 << 11;

/** Bits of the byte map for a physical page; 0 above 4 GiB and where no memory stands. */
export function pageBits(cpu: usize, paddr: u64): u32 {
  const page = paddr >> 12;
  return page < <u64>PAGE_MAP_BYTES ? load<u8>(load<u32>(cpu, S_PAGE_MAP) + <usize>page) : 0;
}

/** Linear-memory address of a physical address behind which memory stands. */
export function hostOf(cpu: usize, paddr: u64): usize {
  const rom = load<u32>(cpu, S_ROM_PADDR);
  if (rom != 0 && <u32>paddr >= rom) return load<u32>(cpu, S_ROM_HOST) + (<u32>paddr - rom);
  return load<u32>(cpu, S_RAM_HOST) + <u32>paddr;
}

/** A page-table entry; all ones where there is no memory, as a read of nothing gives. */
function entryAt(cpu: usize, paddr: u64, size: u32): u64 {
  const masked = paddr & load<u32>(cpu, S_A20_MASK);
  if (!(pageBits(cpu, masked) & PAGE_RAM)) return size == 8 ? ~0 : 0xffff_ffff;
  const host = hostOf(cpu, masked);
  return size == 8 ? load<u64>(host) : <u64>load<u32>(host);
}

/**
 * Marks `entry`, the page-table entry at `paddr`, as accessed or dirty, which are bits of its first byte. Like any write it drops
 * the blocks made from that byte; with SPARE_CODE it does nothing then, and the answer is false. With SPARE_ALL it does nothing at all.
 */
function mark(cpu: usize, paddr: u64, entry: u64, bits: u64, access: u32): bool {
  if ((entry & bits) == bits) return true;
  if (access & SPARE_ALL) return false;
  const masked = paddr & load<u32>(cpu, S_A20_MASK);
  const page = pageBits(cpu, masked);
  if (page & PAGE_ROM) return true;
  if (page & PAGE_CODE) {
    if (access & SPARE_CODE && hasCode(cpu, <u32>masked, 1)) return false;
    traceEvent(cpu, TRACE_STORES, EVENT_STORE, masked, 0);
  }
  traceEvent(cpu, TRACE_STORES, EVENT_MARK, masked, 0);
  const host = hostOf(cpu, masked);
  store<u8>(host, load<u8>(host) | <u8>bits);
  store<u8>(load<u32>(cpu, S_PAGE_MAP) + <usize>(masked >> 12), page | PAGE_DIRTY);
  if (page & PAGE_CODE) invalidateRange(cpu, <u32>masked, 1);
  return true;
}

/** What a walk gives when it meets a fault, whose error code is in S_WALK_ERROR then; or code that it is to spare. */
export const WALK_FAULT: u64 = ~0;

function fault(cpu: usize, access: u32, mode: u32, code: u32): u64 {
  let error = code;
  if (access & ACCESS_WRITE) error |= ERROR_WRITE;
  if (mode == TLB_MODE_USER) error |= ERROR_USER;
  const nx =
    (load<u64>(cpu, S_CR4) & CR4_PAE && load<u64>(cpu, S_EFER) & EFER_NXE) ||
    load<u64>(cpu, S_CR4) & CR4_SMEP;
  if (access & ACCESS_FETCH && nx) error |= ERROR_FETCH;
  store<u32>(cpu, error, S_WALK_ERROR);
  return WALK_FAULT;
}

/** What `walk` found besides the address: TLB_GLOBAL, TLB_LARGE, TLB_HUGE in the top bits of the physical page number. */
function describe(paddr: u64, flags: u32): u64 {
  return paddr | ((<u64>flags) << 32);
}

/** Whether the combined rights of the entries allow the access. SDM vol. 3, 4.6. */
function allowed(cpu: usize, access: u32, mode: u32, rights: u64): bool {
  if (access & ACCESS_FETCH && rights & PTE_NX) return false;
  const user = (rights & PTE_U) != 0;
  const writes = (access & ACCESS_WRITE) != 0;
  if (mode == TLB_MODE_USER) return user && (!writes || (rights & PTE_W) != 0);
  if (access & ACCESS_FETCH) return !(user && load<u64>(cpu, S_CR4) & CR4_SMEP);
  if (user && mode == TLB_MODE_SMAP) return false;
  return !writes || (rights & PTE_W) != 0 || !(load<u64>(cpu, S_CR0) & CR0_WP);
}

/** Checks rights over the combined entry bits, sets A and D, and gives the result. */
function finish(
  cpu: usize,
  vaddr: u64,
  access: u32,
  mode: u32,
  rights: u64,
  leaf: u64,
  leafAddress: u64,
  pageMask: u64,
): u64 {
  if (!allowed(cpu, access, mode, rights)) return fault(cpu, access, mode, ERROR_PRESENT);
  const want = access & ACCESS_WRITE ? PTE_A | PTE_D : PTE_A;
  if (!mark(cpu, leafAddress, leaf, want, access)) return WALK_FAULT;
  const paddr = (leaf & ADDRESS & ~pageMask) | (vaddr & (pageMask | 0xfff));
  let flags: u32 = 0;
  if (leaf & PTE_G && load<u64>(cpu, S_CR4) & CR4_PGE) flags |= TLB_GLOBAL;
  if (pageMask != 0) flags |= TLB_LARGE;
  if (pageMask >= 0x3fff_ffff) flags |= TLB_HUGE;
  return describe(paddr, flags);
}

/** 32-bit paging. SDM vol. 3, 4.3. PSE-36 is not offered. */
function walk32(cpu: usize, vaddr: u64, access: u32, mode: u32): u64 {
  const pdeAddress = (load<u64>(cpu, S_CR3) & 0xffff_f000) | ((vaddr >> 20) & 0xffc);
  const pde = entryAt(cpu, pdeAddress, 4);
  if (!(pde & PTE_P)) return fault(cpu, access, mode, 0);
  if (pde & PTE_PS && load<u64>(cpu, S_CR4) & CR4_PSE) {
    if (pde & 0x3f_e000) return fault(cpu, access, mode, ERROR_PRESENT | ERROR_RESERVED);
    return finish(cpu, vaddr, access, mode, pde, pde, pdeAddress, 0x3f_f000);
  }
  const pteAddress = (pde & 0xffff_f000) | ((vaddr >> 10) & 0xffc);
  const pte = entryAt(cpu, pteAddress, 4);
  if (!(pte & PTE_P)) return fault(cpu, access, mode, 0);
  if (!mark(cpu, pdeAddress, pde, PTE_A, access)) return WALK_FAULT;
  return finish(cpu, vaddr, access, mode, pde & pte, pte, pteAddress, 0);
}

/** The page directory of PAE paging: a register, loaded with CR3. */
function paeDirectory(cpu: usize, vaddr: u64, access: u32, mode: u32): u64 {
  const pdpte = load<u64>(cpu + (<usize>(vaddr >> 30) & 3) * 8, S_PDPTE);
  if (!(pdpte & PTE_P)) return fault(cpu, access, mode, 0);
  return pdpte & ADDRESS;
}

/** PAE and 4-level paging. SDM vol. 3, 4.4 and 4.5: they differ above the page directory. */
function walk64(cpu: usize, vaddr: u64, access: u32, mode: u32, long: bool): u64 {
  const reserved = PHYS_RESERVED | (load<u64>(cpu, S_EFER) & EFER_NXE ? 0 : PTE_NX);
  // 32-bit PAE has no bits 62:52 to ignore either.
  const ignored: u64 = long ? 0 : 0x7ff0_0000_0000_0000;
  let rights: u64 = PTE_W | PTE_U;
  let table = long ? load<u64>(cpu, S_CR3) & ADDRESS : paeDirectory(cpu, vaddr, access, mode);
  if (table == WALK_FAULT) return WALK_FAULT;
  let shift: u64 = long ? 39 : 21;
  while (true) {
    const address = table | (((vaddr >> shift) & 0x1ff) << 3);
    const entry = entryAt(cpu, address, 8);
    if (!(entry & PTE_P)) return fault(cpu, access, mode, 0);
    if (entry & (reserved | ignored))
      return fault(cpu, access, mode, ERROR_PRESENT | ERROR_RESERVED);
    rights = (rights & entry & (PTE_W | PTE_U)) | ((rights | entry) & PTE_NX);
    if (shift == 12) return finish(cpu, vaddr, access, mode, rights, entry, address, 0);
    if (entry & PTE_PS) {
      const mask = (((<u64>1) << shift) - 1) & ~0xfff;
      // PAT is bit 12; the bits above it, up to the page's size, must be 0. PS is reserved in the top table.
      if (shift == 39 || entry & mask & ~0x1000)
        return fault(cpu, access, mode, ERROR_PRESENT | ERROR_RESERVED);
      return finish(cpu, vaddr, access, mode, rights, entry, address, mask);
    }
    if (!mark(cpu, address, entry, PTE_A, access)) return WALK_FAULT;
    table = entry & ADDRESS;
    shift -= 9;
  }
}

/** True for an address whose bits 63:47 are equal. */
export function isCanonical(vaddr: u64): bool {
  return <u64>(((<i64>vaddr) << 16) >> 16) == vaddr;
}

/** As `walk`, but a fault is the value WALK_FAULT and nothing is raised. SPARE_CODE or SPARE_ALL may stand beside the access. */
export function tryWalk(cpu: usize, vaddr: u64, access: u32, mode: u32): u64 {
  store<u64>(cpu, load<u64>(cpu, S_STAT_WALKS) + 1, S_STAT_WALKS);
  const mask = <u64>load<u32>(cpu, S_A20_MASK) | 0xffff_ffff_0000_0000;
  if (!(load<u64>(cpu, S_CR0) & CR0_PG)) return vaddr & 0xffff_ffff & mask;
  const found = !(load<u64>(cpu, S_CR4) & CR4_PAE)
    ? walk32(cpu, vaddr, access, mode)
    : walk64(cpu, vaddr, access, mode, (load<u64>(cpu, S_EFER) & EFER_LMA) != 0);
  return found == WALK_FAULT ? WALK_FAULT : found & mask;
}

/**
 * Physical address of `vaddr` for an access, with TLB_ flags in bits 63:32 + page flags; raises #PF. The linear address
 * is canonical, or below 4 GiB outside 64-bit mode.
 */
export function walk(cpu: usize, vaddr: u64, access: u32, mode: u32): u64 {
  const found = tryWalk(cpu, vaddr, access, mode);
  if (found == WALK_FAULT) raisePageFault(cpu, vaddr, load<u32>(cpu, S_WALK_ERROR));
  return found;
}

/** The mode of implicit supervisor accesses (descriptor tables, TSS): EFLAGS.AC does not lift SMAP for them. */
export function systemMode(cpu: usize): u32 {
  return load<u64>(cpu, S_CR4) & CR4_SMAP ? TLB_MODE_SMAP : 1;
}

/** The mode of instruction fetches. */
export function fetchMode(cpu: usize): u32 {
  return load<u32>(cpu, S_KEY) & KEY_USER ? TLB_MODE_USER : 1;
}

/** #GP(0), or #SS(0) for an access through the stack segment, when a 64-bit address is not canonical. */
export function checkCanonical(cpu: usize, vaddr: u64, stack: bool): void {
  if (!isCanonical(vaddr)) raiseError(cpu, stack ? SS : GP, 0);
}
