import {
  A_JUMP_CACHE,
  A_PAGE_HEADS,
  A_REGIONS,
  A_TLB,
  A_TLB_CODE,
  A_TLB_EXEC,
  A_TLB_FILLED,
  A_TLB_NONE,
  B_LIN,
  JUMP_ENTRIES,
  KEY_BITS,
  KEY_USER,
  PAGE_HEADS,
  REGION_SLOTS,
  S_AREA,
  S_JUMP_GEN,
  S_JUMP_GENS,
  S_KEY,
  S_LARGE_PAGES,
  S_LOCAL_CODE,
  S_STAT_FLUSHES,
  S_TLB_LOGGED,
  TLB_BYTES,
  TLB_ENTRIES,
  TLB_ENTRY_SIZE,
  TLB_FILLED_MAX,
} from '../ir/state.ts';
import { EVENT_FLUSH, EVENT_FLUSH_PAGE, EVENT_TLB_FILL, TRACE_MMU } from '../ir/state-system.ts';
import { traceEvent } from './trace.ts';

/** No address of code. */
const NOWHERE: u64 = 1 << 63;

/** One entry of a TLB. Emitted code reads it: see ir/state.ts. */
@unmanaged
export class TlbEntry {
  tag: u64;
  delta: u32;
  /** Guest-physical page number, below; TLB_GLOBAL, TLB_LARGE above. */
  page: u32;
}
export const TLB_GLOBAL: u32 = 1 << 31;
export const TLB_LARGE: u32 = 1 << 30; // 2 or 4 MiB, or 1 GiB with TLB_HUGE
export const TLB_HUGE: u32 = 1 << 29;
export const TLB_PAGE: u32 = (1 << 28) - 1;

/** Table of a mode: `kind` 0 for reads, 1 for writes. */
export function tlbTable(cpu: usize, mode: u32, kind: u32): usize {
  return load<u32>(cpu, S_AREA) + A_TLB + (mode * 2 + kind) * TLB_BYTES;
}

/** Table for fetches. */
export function execTable(cpu: usize, user: bool): usize {
  return load<u32>(cpu, S_AREA) + A_TLB_EXEC + (user ? TLB_BYTES : 0);
}

/** Table of a mode for writes to pages that have translated code, which those for writes never have. */
export function codeTable(cpu: usize, mode: u32): usize {
  return load<u32>(cpu, S_AREA) + A_TLB_CODE + mode * TLB_BYTES;
}

/** The entry of `table` for `vaddr`. It may belong to another page: the caller compares the tag. */
export function tlbEntry(table: usize, vaddr: u64): TlbEntry {
  return changetype<TlbEntry>(table + ((<usize>(vaddr >> 12) & (TLB_ENTRIES - 1)) << 4));
}

/** True when the entry cannot match any address that looks there: tag bit 12 is not that of its index. */
function isEmpty(entry: TlbEntry): bool {
  return ((<usize>(entry.tag >> 12) ^ (changetype<usize>(entry) >> 4)) & 1) != 0;
}

function clear(entry: TlbEntry): void {
  entry.tag = (<u64>(~(changetype<usize>(entry) >> 4) & 1)) << 12;
}

/** Fills an entry and logs it, so that a flush costs what was filled and no more. Tables are 32-byte aligned. */
export function fillEntry(cpu: usize, table: usize, vaddr: u64, host: usize, page: u32): void {
  const entry = tlbEntry(table, vaddr);
  if (isEmpty(entry)) {
    if (load<u32>(cpu, S_TLB_LOGGED) == TLB_FILLED_MAX) flushTlb(cpu, true);
    const count = load<u32>(cpu, S_TLB_LOGGED);
    store<u32>(load<u32>(cpu, S_AREA) + A_TLB_FILLED + count * 4, <u32>changetype<usize>(entry));
    store<u32>(cpu, count + 1, S_TLB_LOGGED);
  }
  const number = (table - load<u32>(cpu, S_AREA)) / TLB_BYTES;
  traceEvent(cpu, TRACE_MMU, EVENT_TLB_FILL, vaddr, ((<u64>number) << 32) | page);
  const base = vaddr & ~0xfff;
  entry.tag = base;
  entry.delta = <u32>host - <u32>base;
  entry.page = page;
  if (page & TLB_LARGE) {
    const bit: u64 = page & TLB_HUGE ? ~0 : (<u64>1) << ((vaddr >> 21) & 63);
    store<u64>(cpu, load<u64>(cpu, S_LARGE_PAGES) | bit, S_LARGE_PAGES);
  }
}

/** Empties all tables of a new vCPU. */
export function resetTlb(cpu: usize): void {
  const area = load<u32>(cpu, S_AREA);
  for (let i: u32 = 0; i < <u32>(6 * TLB_ENTRIES); i++) {
    clear(changetype<TlbEntry>(area + A_TLB + i * TLB_ENTRY_SIZE));
  }
  for (let i: u32 = 0; i < <u32>(2 * TLB_ENTRIES); i++) {
    clear(changetype<TlbEntry>(area + A_TLB_EXEC + i * TLB_ENTRY_SIZE));
  }
  for (let i: u32 = 0; i < <u32>(3 * TLB_ENTRIES); i++) {
    clear(changetype<TlbEntry>(area + A_TLB_CODE + i * TLB_ENTRY_SIZE));
  }
  for (let i: u32 = 0; i < <u32>TLB_ENTRIES; i++) {
    clear(changetype<TlbEntry>(area + A_TLB_NONE + i * TLB_ENTRY_SIZE));
  }
  store<u32>(cpu, 0, S_TLB_LOGGED);
  store<u64>(cpu, 0, S_LARGE_PAGES);
}

/** After a change of the key. */
export function selectJumps(cpu: usize): void {
  const user: usize = load<u32>(cpu, S_KEY) & KEY_USER ? 4 : 0;
  store<u32>(cpu, load<u32>(cpu + user, S_JUMP_GENS), S_JUMP_GEN);
}

/** Notes where the supervisor takes code from: what it keeps while user space changes is global and in the upper half. */
export function noteFetch(cpu: usize, lin: u64, page: u32): void {
  if (load<u32>(cpu, S_KEY) & KEY_USER) return;
  if (!(page & TLB_GLOBAL) || !(lin >> 63)) store<u32>(cpu, 1, S_LOCAL_CODE);
}

/** The jump cache maps linear addresses: a flush makes its entries old; `all`, or those of user mode. */
export function ageJumpCache(cpu: usize, all: bool): void {
  age(cpu, cpu + 4);
  if (all || load<u32>(cpu, S_LOCAL_CODE) != 0) {
    age(cpu, cpu);
    store<u32>(cpu, 0, S_LOCAL_CODE);
  }
  selectJumps(cpu);
}

function age(cpu: usize, at: usize): void {
  const generation = load<u32>(at, S_JUMP_GENS) + (1 << KEY_BITS);
  store<u32>(at, generation, S_JUMP_GENS);
  if (generation == 0) forgetJumps(cpu);
}

/** Generations begin anew: nothing may be left of those that had the same numbers. */
function forgetJumps(cpu: usize): void {
  const area = load<u32>(cpu, S_AREA);
  clearJumpCache(cpu);
  memory.fill(area + A_REGIONS, 0, REGION_SLOTS * 16);
  for (let head: u32 = 0; head < <u32>PAGE_HEADS; head++) {
    let link: usize = load<u32>(area + A_PAGE_HEADS + head * 4);
    while (link != 0) {
      store<u64>(load<u32>(link, 4), NOWHERE, B_LIN);
      link = load<u32>(link);
    }
  }
}

export function clearJumpCache(cpu: usize): void {
  memory.fill(load<u32>(cpu, S_AREA) + A_JUMP_CACHE, 0, JUMP_ENTRIES * 16);
}

/** Drops all translations; global ones only if asked. */
export function flushTlb(cpu: usize, globalsToo: bool): void {
  traceEvent(cpu, TRACE_MMU, EVENT_FLUSH, globalsToo ? 1 : 0, 0);
  const log = load<u32>(cpu, S_AREA) + A_TLB_FILLED;
  const count = load<u32>(cpu, S_TLB_LOGGED);
  let kept: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const entry = changetype<TlbEntry>(load<u32>(log + i * 4));
    if (!globalsToo && entry.page & TLB_GLOBAL) {
      store<u32>(log + kept * 4, <u32>changetype<usize>(entry));
      kept++;
    } else {
      clear(entry);
    }
  }
  store<u32>(cpu, kept, S_TLB_LOGGED);
  if (kept == 0) store<u64>(cpu, 0, S_LARGE_PAGES);
  store<u64>(cpu, load<u64>(cpu, S_STAT_FLUSHES) + 1, S_STAT_FLUSHES);
  ageJumpCache(cpu, globalsToo);
}

/** For the run loop: everything, after a change of what physical addresses mean. */
export function flush_tlb(cpu: usize): void {
  flushTlb(cpu, true);
}

function flushIfSame(table: usize, vaddr: u64): void {
  const entry = tlbEntry(table, vaddr);
  // It stays in the log and may be listed twice: harmless, and a full log is flushed.
  if ((entry.tag ^ vaddr) < 4096) clear(entry);
}

/** Drops every translation of the page of `vaddr`, global or not, of whatever size (SDM vol. 3, 4.10.4.1). */
export function flushTlbPage(cpu: usize, vaddr: u64): void {
  traceEvent(cpu, TRACE_MMU, EVENT_FLUSH_PAGE, vaddr, 0);
  if ((load<u64>(cpu, S_LARGE_PAGES) >> ((vaddr >> 21) & 63)) & 1) {
    flushLarge(cpu, vaddr);
  }
  for (let mode: u32 = 0; mode < 3; mode++) {
    flushIfSame(tlbTable(cpu, mode, 0), vaddr);
    flushIfSame(tlbTable(cpu, mode, 1), vaddr);
    flushIfSame(codeTable(cpu, mode), vaddr);
  }
  flushIfSame(execTable(cpu, false), vaddr);
  flushIfSame(execTable(cpu, true), vaddr);
  ageJumpCache(cpu, vaddr >> 63 != 0);
}

function flushLarge(cpu: usize, vaddr: u64): void {
  const log = load<u32>(cpu, S_AREA) + A_TLB_FILLED;
  const count = load<u32>(cpu, S_TLB_LOGGED);
  for (let i: u32 = 0; i < count; i++) {
    const entry = changetype<TlbEntry>(load<u32>(log + i * 4));
    const shift: u64 = entry.page & TLB_HUGE ? 30 : 22; // 4 MiB covers both sizes of large page
    if (entry.page & TLB_LARGE && (entry.tag ^ vaddr) >> shift == 0) clear(entry);
  }
}

/** Drops the write entries of a physical page: it holds translated code now, so writes must be seen. */
export function protectPage(cpu: usize, page: u32): void {
  for (let mode: u32 = 0; mode < 3; mode++) {
    const table = tlbTable(cpu, mode, 1);
    for (let i: u32 = 0; i < <u32>TLB_ENTRIES; i++) {
      const entry = changetype<TlbEntry>(table + i * TLB_ENTRY_SIZE);
      if ((entry.page & TLB_PAGE) == page) clear(entry);
    }
  }
}
