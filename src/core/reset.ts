import {
  S_A20_MASK,
  S_AREA,
  S_CPL,
  S_CR0,
  S_CR2,
  S_CR3,
  S_CR4,
  S_DB_PENDING,
  S_DR0,
  S_DR6,
  S_DR7,
  S_EFER,
  S_EFLAGS,
  S_FLAGS_AUX,
  S_FLAGS_RES,
  S_FPU_CONTROL,
  S_FPU_EMPTY,
  S_GDT_BASE,
  S_GDT_LIMIT,
  S_HALTED,
  S_IDT_BASE,
  S_IDT_LIMIT,
  S_INDEX,
  S_INHIBIT,
  S_MSR_MISC_ENABLE,
  S_MSR_PAT,
  S_MXCSR,
  S_PAGE_MAP,
  S_RAM_HOST,
  S_RAM_SIZE,
  S_RAX,
  S_RCX,
  S_RDX,
  S_REC,
  S_REGS,
  S_RIP,
  S_ROM_HOST,
  S_ROM_PADDR,
  S_SEGS,
  S_SIZE,
  S_TF_ARMED,
  S_XCR0,
  SEG_BASE,
  SEG_CS,
  SEG_LDTR,
  SEG_LIMIT,
  SEG_RIGHTS,
  SEG_SELECTOR,
  SEG_SIZE,
  SEG_TR,
} from '../ir/state.ts';
import { S_NMI_BLOCKED } from '../ir/state-system.ts';
import { drop_blocks } from './blocks.ts';
import { hostCpuid } from './host.ts';
import { updateKey } from './key.ts';
import { flushTlb, resetTlb } from './tlb.ts';

const CR0_ET: u64 = 1 << 4;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;

function segment(cpu: usize, seg: u32, selector: u32, base: u64, rights: u32): void {
  const at = cpu + seg * SEG_SIZE;
  store<u64>(at, base, S_SEGS + SEG_BASE);
  store<u32>(at, 0xffff, S_SEGS + SEG_LIMIT);
  store<u32>(at, rights, S_SEGS + SEG_RIGHTS);
  store<u32>(at, selector, S_SEGS + SEG_SELECTOR);
}

/** State after RESET#. Source: Intel SDM vol. 3, table 10-1. `signature` is CPUID.1:EAX. What the VM laid out is kept. */
export function reset_cpu(cpu: usize, signature: u32): void {
  const index = load<u32>(cpu, S_INDEX);
  const area = load<u32>(cpu, S_AREA);
  const ram = load<u32>(cpu, S_RAM_HOST);
  const ramSize = load<u32>(cpu, S_RAM_SIZE);
  const map = load<u32>(cpu, S_PAGE_MAP);
  const rom = load<u32>(cpu, S_ROM_PADDR);
  const romHost = load<u32>(cpu, S_ROM_HOST);
  memory.fill(cpu, 0, S_SIZE);
  store<u32>(cpu, index, S_INDEX);
  store<u32>(cpu, area, S_AREA);
  store<u32>(cpu, ram, S_RAM_HOST);
  store<u32>(cpu, ramSize, S_RAM_SIZE);
  store<u32>(cpu, map, S_PAGE_MAP);
  store<u32>(cpu, rom, S_ROM_PADDR);
  store<u32>(cpu, romHost, S_ROM_HOST);
  store<u32>(cpu, 0xffff_ffff, S_A20_MASK);
  store<u64>(cpu, CR0_NW | CR0_CD, S_CR0);
  store<u64>(cpu, 1, S_XCR0);
  store<u32>(cpu, 0x1f80, S_MXCSR);
  store<u32>(cpu, 0x40, S_FPU_CONTROL);
  store<u32>(cpu, 0, S_FPU_EMPTY);
  store<u64>(cpu, 0x0007_0406_0007_0406, S_MSR_PAT);
  store<u64>(cpu, 1, S_MSR_MISC_ENABLE);
  resetTlb(cpu);
  drop_blocks(cpu);
  begin(cpu, signature);
}

/** The INIT signal: as RESET#, but caching, x87, SSE, the TSC and the MSRs but EFER stay (SDM vol. 3, table 10-1). */
export function init_cpu(cpu: usize): void {
  store<u64>(cpu, 1, S_RAX);
  store<u64>(cpu, 0, S_RCX);
  hostCpuid(cpu);
  flushTlb(cpu, true);
  begin(cpu, load<u32>(cpu, S_RAX));
}

/** What RESET# and INIT have in common: the processor begins at the reset vector. */
function begin(cpu: usize, signature: u32): void {
  memory.fill(cpu + S_REGS, 0, 16 * 8);
  store<u64>(cpu, <u64>signature, S_RDX);
  store<u64>(cpu, 0xfff0, S_RIP);
  store<u32>(cpu, 0, S_REC);
  store<u32>(cpu, 2, S_EFLAGS);
  store<i64>(cpu, 1, S_FLAGS_RES);
  store<u64>(cpu, 0, S_FLAGS_AUX);
  store<u64>(cpu, (load<u64>(cpu, S_CR0) & (CR0_NW | CR0_CD)) | CR0_ET, S_CR0);
  store<u64>(cpu, 0, S_CR2);
  store<u64>(cpu, 0, S_CR3);
  store<u64>(cpu, 0, S_CR4);
  store<u64>(cpu, 0, S_EFER);
  memory.fill(cpu + S_DR0, 0, 4 * 8);
  store<u64>(cpu, 0xffff_0ff0, S_DR6);
  store<u64>(cpu, 0x400, S_DR7);
  store<u64>(cpu, 0, S_GDT_BASE);
  store<u32>(cpu, 0xffff, S_GDT_LIMIT);
  store<u64>(cpu, 0, S_IDT_BASE);
  store<u32>(cpu, 0xffff, S_IDT_LIMIT);
  for (let seg: u32 = 0; seg < 6; seg++) segment(cpu, seg, 0, 0, 0x93);
  segment(cpu, SEG_CS, 0xf000, 0xffff_0000, 0x9b);
  segment(cpu, SEG_LDTR, 0, 0, 0x82);
  segment(cpu, SEG_TR, 0, 0, 0x8b);
  store<u32>(cpu, 0, S_CPL);
  store<u32>(cpu, 0, S_HALTED);
  store<u32>(cpu, 0, S_INHIBIT);
  store<u32>(cpu, 0, S_TF_ARMED);
  store<u32>(cpu, 0, S_DB_PENDING);
  store<u32>(cpu, 0, S_NMI_BLOCKED);
  updateKey(cpu);
}
