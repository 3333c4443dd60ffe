import { PAGE_RAM, PHYS_BITS, S_A20_MASK, S_CR0, S_CR4, S_EFER, S_PDPTE } from '../ir/state.ts';
import { raiseZero } from './descriptor.ts';
import { hostOf, pageBits } from './paging.ts';
import { GP } from './raise.ts';

// The four PDPTE registers of PAE paging. Source: Intel SDM vol. 3, 4.4.1.

const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LMA: u64 = 1 << 10;
const PDPTE_P: u64 = 1;
/** Bits 2:1 and 8:5, and those above the physical address. */
const PDPTE_RESERVED: u64 = 0x1e6 | ~((1 << PHYS_BITS) - 1);

/** 32-bit PAE paging is on. */
export function paePaging(cpu: usize): bool {
  return paeWith(load<u64>(cpu, S_CR0), load<u64>(cpu, S_CR4), load<u64>(cpu, S_EFER));
}

/** 32-bit PAE paging would be on with these registers. */
export function paeWith(cr0: u64, cr4: u64, efer: u64): bool {
  return (cr0 & CR0_PG) != 0 && (cr4 & CR4_PAE) != 0 && !(efer & EFER_LMA);
}

function pdpteAt(cpu: usize, cr3: u64, i: u32): u64 {
  const paddr = ((cr3 & 0xffff_ffe0) + i * 8) & load<u32>(cpu, S_A20_MASK);
  return pageBits(cpu, paddr) & PAGE_RAM ? load<u64>(hostOf(cpu, paddr)) : ~0;
}

/** Loads the four entries that `cr3` points to; #GP(0), with nothing changed, when a present one has reserved bits. */
export function loadPdptes(cpu: usize, cr3: u64): void {
  for (let i: u32 = 0; i < 4; i++) {
    const entry = pdpteAt(cpu, cr3, i);
    if (entry & PDPTE_P && entry & PDPTE_RESERVED) raiseZero(cpu, GP);
  }
  for (let i: u32 = 0; i < 4; i++) store<u64>(cpu + i * 8, pdpteAt(cpu, cr3, i), S_PDPTE);
}
