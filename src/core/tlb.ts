import {
  A_JUMP_CACHE,
  A_PAGE_HEADS,
  A_REGIONS,
  A_TLB,
  A_TLB_CODE,
  A_TLB_EXEC,
  A_TLB_LOGS,
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
  TLB_BYTES,
  TLB_ENTRIES,
  TLB_ENTRY_SIZE,
  TLB_LOG_BYTES,
  TLB_LOG_MAX,
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

/** The log of entries of global pages, or of others. Each filled entry stands in that of its page; what stands there may be empty by now, or twice. */
function logOf(cpu: usize, global: u32): usize {
  return load<u32>(cpu, S_AREA) + A_TLB_LOGS + (global ? TLB_LOG_BYTES : 0);
}

function logged(log: usize, i: u32): TlbEntry {
  return changetype<TlbEntry>(load<u32>(log + 4 + i * 4));
}

function note(cpu: usize, entry: TlbEntry, global: u32): void {
  const log = logOf(cpu, global);
  if (load<u32>(log) == TLB_LOG_MAX) flushTlb(cpu, true);
  const count = load<u32>(log);
  store<u32>(log + 4 + count * 4, <u32>changetype<usize>(entry));
  store<u32>(log, count + 1);
}

/** Fills an entry and logs it, so that a flush costs what was filled and no more. Tables are 32-byte aligned. */
export function fillEntry(cpu: usize, table: usize, vaddr: u64, host: usize, page: u32): void {
  const entry = tlbEntry(table, vaddr);
  if (isEmpty(entry) || (entry.page ^ page) & TLB_GLOBAL) note(cpu, entry, page & TLB_GLOBAL);
  const number = (table - load<u32>(cpu, S_AREA)) / TLB_BYTES;
  traceEvent(cpu, TRACE_MMU, EVENT_TLB_FILL, vaddr, ((<u64>number) << 32) | page);
  const base = vaddr & ~0xfff;
  entry.tag = base;
  entry.delta = <u32>host - <u32>base;
  entry.page = page;
  if (page & TLB_LARGE) {
    const bit: u64 = page & TLB_HUGE ? ~0 : (<u64>1) << ((vaddr >> 22) & 63);
    store<u64>(cpu, load<u64>(cpu, S_LARGE_PAGES) | bit, S_LARGE_PAGES);
  }
}

/** Empties all tables of a new vCPU. */
export function resetTlb(cpu: usize): void {
  const area = load<u32>(cpu, S_AREA);
  const end = area + A_TLB_NONE + TLB_BYTES;
  for (let at: usize = area + A_TLB; at < end; at += TLB_ENTRY_SIZE) {
    clear(changetype<TlbEntry>(at));
  }
  store<u32>(logOf(cpu, 0), 0);
  store<u32>(logOf(cpu, 1), 0);
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

/** Clears what a log names, and the log. An entry in the log of others that holds a global page by now is in that one, too. */
function clearLogged(log: usize, globalsToo: bool): void {
  const count = load<u32>(log);
  for (let i: u32 = 0; i < count; i++) {
    const entry = logged(log, i);
    if (globalsToo || !(entry.page & TLB_GLOBAL)) clear(entry);
  }
  store<u32>(log, 0);
}

/** Drops all translations; global ones only if asked. */
export function flushTlb(cpu: usize, globalsToo: bool): void {
  traceEvent(cpu, TRACE_MMU, EVENT_FLUSH, globalsToo ? 1 : 0, 0);
  const globals = logOf(cpu, 1);
  if (globalsToo) clearLogged(globals, true);
  clearLogged(logOf(cpu, 0), globalsToo);
  if (load<u32>(globals) == 0) store<u64>(cpu, 0, S_LARGE_PAGES);
  store<u64>(cpu, load<u64>(cpu, S_STAT_FLUSHES) + 1, S_STAT_FLUSHES);
  ageJumpCache(cpu, globalsToo);
}

/** For the run loop: everything, after a change of what physical addresses mean. */
export function flush_tlb(cpu: usize): void {
  flushTlb(cpu, true);
}

function flushIfSame(table: usize, vaddr: u64): void {
  const entry = tlbEntry(table, vaddr);
  if ((entry.tag ^ vaddr) < 4096) clear(entry);
}

/** Drops every translation of the page of `vaddr`, global or not, of whatever size (SDM vol. 3, 4.10.4.1). */
export function flushTlbPage(cpu: usize, vaddr: u64): void {
  traceEvent(cpu, TRACE_MMU, EVENT_FLUSH_PAGE, vaddr, 0);
  if ((load<u64>(cpu, S_LARGE_PAGES) >> ((vaddr >> 22) & 63)) & 1) {
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
  for (let global: u32 = 0; global < 2; global++) {
    const log = logOf(cpu, global);
    const count = load<u32>(log);
    for (let i: u32 = 0; i < count; i++) {
      const entry = logged(log, i);
      const shift: u64 = entry.page & TLB_HUGE ? 30 : 22; // 4 MiB covers both sizes of large page
      if (entry.page & TLB_LARGE && (entry.tag ^ vaddr) >> shift == 0) clear(entry);
    }
  }
}

/** Drops the write entries of a physical page: it holds translated code now, so writes must be seen. */
export function protectPage(cpu: usize, page: u32): void {
  const area: usize = load<u32>(cpu, S_AREA);
  for (let global: u32 = 0; global < 2; global++) {
    const log = logOf(cpu, global);
    const count = load<u32>(log);
    for (let i: u32 = 0; i < count; i++) {
      const entry = logged(log, i);
      const table = (changetype<usize>(entry) - area - A_TLB) / TLB_BYTES;
      if ((entry.page & TLB_PAGE) == page && table < 6 && (table & 1) != 0) clear(entry);
    }
  }
}
