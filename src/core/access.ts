import {
  A_TLB_NONE,
  KEY_ALIGN,
  KEY_CODE64,
  PAGE_CODE,
  PAGE_DIRTY,
  PAGE_RAM,
  PAGE_ROM,
  REC_SEG,
  S_AREA,
  S_DATA_MODE,
  S_DR7,
  S_EFER,
  S_KEY,
  S_PAGE_MAP,
  S_REC,
  S_STAT_TLB_MISS,
  S_TLB_READ,
  S_TLB_WRITE,
  SEG_SS,
} from '../ir/state.ts';
import { EVENT_STORE, TRACE_STORES } from '../ir/state-system.ts';
import { hasCode, invalidateRange } from './code-pages.ts';
import { checkDataBreakpoint } from './debug.ts';
import { mmio_read, mmio_write } from './host.ts';
import {
  ACCESS_READ,
  ACCESS_WRITE,
  checkCanonical,
  hostOf,
  pageBits,
  systemMode,
  walk,
} from './paging.ts';
import { AC, raiseError } from './raise.ts';
import { codeTable, fillEntry, TLB_PAGE, tlbEntry, tlbTable } from './tlb.ts';
import { traceEvent } from './trace.ts';

// Data accesses of the guest by linear address. Translated code probes the TLB itself and comes here on a miss; core/
// comes here always.

const PADDR: u64 = 0xff_ffff_ffff;
const EFER_LMA: u64 = 1 << 10;

/** Privilege of ordinary data accesses: one of TLB_MODE_…. */
export function dataMode(cpu: usize): u32 {
  return load<u32>(cpu, S_DATA_MODE);
}

/** True while each access must be looked at: alignment checks or data breakpoints. */
export function watched(cpu: usize): bool {
  return load<u32>(cpu, S_TLB_READ) == load<u32>(cpu, S_AREA) + A_TLB_NONE;
}

/** What every slow access by an instruction checks first. */
function check(cpu: usize, vaddr: u64, size: u32, write: bool): void {
  if (load<u32>(cpu, S_KEY) & KEY_CODE64) {
    const rec = load<u32>(cpu, S_REC);
    const stack = rec != 0 && load<u8>(rec + REC_SEG) == SEG_SS;
    checkCanonical(cpu, vaddr, stack);
    checkCanonical(cpu, vaddr + size - 1, stack);
  }
  if (watched(cpu)) {
    if (load<u32>(cpu, S_KEY) & KEY_ALIGN && size <= 8 && vaddr & (size - 1))
      raiseError(cpu, AC, 0);
    if (load<u64>(cpu, S_DR7) & 0xff) checkDataBreakpoint(cpu, vaddr, size, write);
  }
}

/** Linear-memory address of `vaddr` for a read, or 0 when it is not memory. */
function readable(cpu: usize, vaddr: u64, mode: u32): usize {
  const entry = tlbEntry(tlbTable(cpu, mode, 0), vaddr);
  if ((vaddr ^ entry.tag) < 4096) return <usize>(<u32>vaddr + entry.delta);
  return fillForRead(cpu, vaddr, mode, walk(cpu, vaddr, ACCESS_READ, mode));
}

/** Enters what a walk found for a read; gives the linear-memory address, or 0 when it is not memory. */
export function fillForRead(cpu: usize, vaddr: u64, mode: u32, found: u64): usize {
  store<u64>(cpu, load<u64>(cpu, S_STAT_TLB_MISS) + 1, S_STAT_TLB_MISS);
  const paddr = found & PADDR;
  if (!(pageBits(cpu, paddr) & PAGE_RAM)) return 0;
  return fill(cpu, tlbTable(cpu, mode, 0), vaddr, found);
}

function fill(cpu: usize, table: usize, vaddr: u64, found: u64): usize {
  const paddr = found & PADDR;
  const host = hostOf(cpu, paddr);
  const page = (<u32>(found >> 32) & ~TLB_PAGE) | <u32>(paddr >> 12);
  fillEntry(cpu, table, vaddr, host & ~0xfff, page);
  return host;
}

/** The same for a write; also 0 when the page is ROM or has translated code: then `storeSlow` does it. */
function writable(cpu: usize, vaddr: u64, mode: u32): usize {
  const entry = tlbEntry(tlbTable(cpu, mode, 1), vaddr);
  if ((vaddr ^ entry.tag) < 4096) return <usize>(<u32>vaddr + entry.delta);
  return fillForWrite(cpu, vaddr, mode, walk(cpu, vaddr, ACCESS_WRITE, mode));
}

/** Enters what a walk found for a write; gives the linear-memory address, or 0 when it is not plain memory. */
export function fillForWrite(cpu: usize, vaddr: u64, mode: u32, found: u64): usize {
  store<u64>(cpu, load<u64>(cpu, S_STAT_TLB_MISS) + 1, S_STAT_TLB_MISS);
  const paddr = found & PADDR;
  const bits = pageBits(cpu, paddr);
  if ((bits & (PAGE_RAM | PAGE_ROM | PAGE_CODE)) != PAGE_RAM) {
    if ((bits & (PAGE_RAM | PAGE_ROM)) == PAGE_RAM) fill(cpu, codeTable(cpu, mode), vaddr, found);
    return 0;
  }
  store<u8>(load<u32>(cpu, S_PAGE_MAP) + <usize>(paddr >> 12), bits | PAGE_DIRTY);
  return fill(cpu, tlbTable(cpu, mode, 1), vaddr, found);
}

/**
 * Where `size` bytes of a page with translated code are to be written at once, because no block was made from them; 0 when
 * one was, or when `fillForWrite` has not met the page of late.
 */
export function besideCode(cpu: usize, vaddr: u64, size: u32, mode: u32): usize {
  const entry = tlbEntry(codeTable(cpu, mode), vaddr);
  if ((vaddr ^ entry.tag) >= 4096) return 0;
  const page = entry.page & TLB_PAGE;
  const at = load<u32>(cpu, S_PAGE_MAP) + page;
  const bits = load<u8>(at);
  // Without code it is to have an entry for writes.
  if ((bits & (PAGE_RAM | PAGE_ROM | PAGE_CODE)) != (PAGE_RAM | PAGE_CODE)) return 0;
  const paddr = (page << 12) | (<u32>vaddr & 0xfff);
  if (hasCode(cpu, paddr, size)) return 0;
  traceEvent(cpu, TRACE_STORES, EVENT_STORE, paddr, 0);
  store<u8>(at, bits | PAGE_DIRTY);
  return <usize>(<u32>vaddr + entry.delta);
}

/** Reads `size` (1-8) bytes that lie in one page. */
function readIn(cpu: usize, vaddr: u64, size: u32, mode: u32): u64 {
  const host = readable(cpu, vaddr, mode);
  if (host == 0) return readMmio(cpu, walk(cpu, vaddr, ACCESS_READ, mode) & PADDR, size);
  if (size == 8) return load<u64>(host);
  if (size == 4) return <u64>load<u32>(host);
  if (size == 2) return <u64>load<u16>(host);
  if (size == 1) return <u64>load<u8>(host);
  let value: u64 = 0;
  for (let i: u32 = 0; i < size; i++) value |= (<u64>load<u8>(host + i)) << (i * 8);
  return value;
}

function readMmio(cpu: usize, paddr: u64, size: u32): u64 {
  if (size == 8) {
    return <u64>mmio_read(cpu, paddr, 4) | ((<u64>mmio_read(cpu, paddr + 4, 4)) << 32);
  }
  if (size == 1 || size == 2 || size == 4) return <u64>mmio_read(cpu, paddr, size);
  let value: u64 = 0;
  for (let i: u32 = 0; i < size; i++) value |= (<u64>mmio_read(cpu, paddr + i, 1)) << (i * 8);
  return value;
}

function writeMmio(cpu: usize, paddr: u64, size: u32, value: u64): void {
  if (size == 8) {
    mmio_write(cpu, paddr, 4, <u32>value);
    mmio_write(cpu, paddr + 4, 4, <u32>(value >> 32));
  } else if (size == 1 || size == 2 || size == 4) {
    mmio_write(cpu, paddr, size, <u32>value);
  } else {
    for (let i: u32 = 0; i < size; i++)
      mmio_write(cpu, paddr + i, 1, <u32>(value >> (i * 8)) & 0xff);
  }
}

function storeBytes(host: usize, size: u32, value: u64): void {
  if (size == 8) store<u64>(host, value);
  else if (size == 4) store<u32>(host, <u32>value);
  else if (size == 2) store<u16>(host, <u16>value);
  else for (let i: u32 = 0; i < size; i++) store<u8>(host + i, <u8>(value >> (i * 8)));
}

/** Writes `size` (1-8) bytes that lie in one page, whose rights have been checked. */
function writeIn(cpu: usize, vaddr: u64, size: u32, value: u64, mode: u32): void {
  const entry = tlbEntry(tlbTable(cpu, mode, 1), vaddr);
  let host = <usize>(<u32>vaddr + entry.delta);
  if ((vaddr ^ entry.tag) >= 4096) {
    host = besideCode(cpu, vaddr, size, mode);
    if (host == 0) host = fillForWrite(cpu, vaddr, mode, walk(cpu, vaddr, ACCESS_WRITE, mode));
    if (host == 0) host = besideCode(cpu, vaddr, size, mode);
  }
  if (host != 0) storeBytes(host, size, value);
  else storeSlow(cpu, walk(cpu, vaddr, ACCESS_WRITE, mode) & PADDR, size, value);
}

/** A write to a page that is not plain RAM: MMIO, ROM, or translated code. */
function storeSlow(cpu: usize, paddr: u64, size: u32, value: u64): void {
  const bits = pageBits(cpu, paddr);
  if (!(bits & PAGE_RAM)) {
    writeMmio(cpu, paddr, size, value);
  } else if (!(bits & PAGE_ROM)) {
    traceEvent(cpu, TRACE_STORES, EVENT_STORE, paddr, 0);
    storeBytes(hostOf(cpu, paddr), size, value);
    store<u8>(load<u32>(cpu, S_PAGE_MAP) + <usize>(paddr >> 12), bits | PAGE_DIRTY);
    invalidateRange(cpu, <u32>paddr, size);
  }
}

export function splits(vaddr: u64, size: u32): bool {
  return (<u32>vaddr & 0xfff) + size > 4096;
}

/** The second part of an access that crosses a page: 4 GiB wraps outside 64-bit mode. */
export function following(cpu: usize, vaddr: u64): u64 {
  const next = (vaddr | 0xfff) + 1;
  return load<u32>(cpu, S_KEY) & KEY_CODE64 ? next : next & 0xffff_ffff;
}

function readMode(cpu: usize, vaddr: u64, size: u32, mode: u32): u64 {
  check(cpu, vaddr, size, false);
  return readChecked(cpu, vaddr, following(cpu, vaddr), size, mode);
}

function readChecked(cpu: usize, vaddr: u64, second: u64, size: u32, mode: u32): u64 {
  if (!splits(vaddr, size)) return readIn(cpu, vaddr, size, mode);
  const first = 4096 - (<u32>vaddr & 0xfff);
  const low = readIn(cpu, vaddr, first, mode);
  return low | (readIn(cpu, second, size - first, mode) << (first * 8));
}

function writeMode(cpu: usize, vaddr: u64, size: u32, value: u64, mode: u32): void {
  check(cpu, vaddr, size, true);
  writeChecked(cpu, vaddr, following(cpu, vaddr), size, value, mode);
}

function writeChecked(cpu: usize, vaddr: u64, second: u64, size: u32, value: u64, mode: u32): void {
  if (!splits(vaddr, size)) {
    writeIn(cpu, vaddr, size, value, mode);
    return;
  }
  const first = 4096 - (<u32>vaddr & 0xfff);
  // Both pages are probed before the first byte is written.
  walk(cpu, vaddr, ACCESS_WRITE, mode);
  walk(cpu, second, ACCESS_WRITE, mode);
  writeIn(cpu, vaddr, first, value, mode);
  writeIn(cpu, second, size - first, value >> (first * 8), mode);
}

/** Raises the fault that a write of `size` bytes would raise. */
export function probeWrite(cpu: usize, vaddr: u64, size: u32): void {
  check(cpu, vaddr, size, true);
  const mode = dataMode(cpu);
  if (writable(cpu, vaddr, mode) == 0) walk(cpu, vaddr, ACCESS_WRITE, mode);
  if (splits(vaddr, size)) walk(cpu, following(cpu, vaddr), ACCESS_WRITE, mode);
}

export function read8(cpu: usize, vaddr: u64): u32 {
  return <u32>readMode(cpu, vaddr, 1, dataMode(cpu));
}
export function read16(cpu: usize, vaddr: u64): u32 {
  return <u32>readMode(cpu, vaddr, 2, dataMode(cpu));
}
export function read32(cpu: usize, vaddr: u64): u32 {
  return <u32>readMode(cpu, vaddr, 4, dataMode(cpu));
}
export function read64(cpu: usize, vaddr: u64): u64 {
  return readMode(cpu, vaddr, 8, dataMode(cpu));
}
/** Linear-memory address for a write of `size` bytes where nothing else is to be looked at; 0 otherwise. */
function hitForWrite(cpu: usize, vaddr: u64, size: u32): usize {
  const entry = tlbEntry(load<u32>(cpu, S_TLB_WRITE), vaddr);
  if ((vaddr ^ entry.tag) <= 4096 - size) return <usize>(<u32>vaddr + entry.delta);
  return splits(vaddr, size) || watched(cpu) ? 0 : besideCode(cpu, vaddr, size, dataMode(cpu));
}

export function write8(cpu: usize, vaddr: u64, value: u32): void {
  const host = hitForWrite(cpu, vaddr, 1);
  if (host != 0) store<u8>(host, <u8>value);
  else writeMode(cpu, vaddr, 1, value, dataMode(cpu));
}
export function write16(cpu: usize, vaddr: u64, value: u32): void {
  const host = hitForWrite(cpu, vaddr, 2);
  if (host != 0) store<u16>(host, <u16>value);
  else writeMode(cpu, vaddr, 2, value, dataMode(cpu));
}
export function write32(cpu: usize, vaddr: u64, value: u32): void {
  const host = hitForWrite(cpu, vaddr, 4);
  if (host != 0) store<u32>(host, value);
  else writeMode(cpu, vaddr, 4, value, dataMode(cpu));
}
export function write64(cpu: usize, vaddr: u64, value: u64): void {
  const host = hitForWrite(cpu, vaddr, 8);
  if (host != 0) store<u64>(host, value);
  else writeMode(cpu, vaddr, 8, value, dataMode(cpu));
}

/** 16 bytes at once; a fault on either half comes before any byte is written. */
export function read128(cpu: usize, vaddr: u64): v128 {
  check(cpu, vaddr, 16, false);
  const mode = dataMode(cpu);
  const low = readMode(cpu, vaddr, 8, mode);
  return i64x2.replace_lane(i64x2.splat(low), 1, readMode(cpu, vaddr + 8, 8, mode));
}
export function write128(cpu: usize, vaddr: u64, value: v128): void {
  probeWrite(cpu, vaddr, 16);
  const mode = dataMode(cpu);
  writeMode(cpu, vaddr, 8, i64x2.extract_lane(value, 0), mode);
  writeMode(cpu, vaddr + 8, 8, i64x2.extract_lane(value, 1), mode);
}

/** Loads whose faults are those of a write, for read-modify-write. */
export function rmw8(cpu: usize, vaddr: u64): u32 {
  probeWrite(cpu, vaddr, 1);
  return read8(cpu, vaddr);
}
export function rmw16(cpu: usize, vaddr: u64): u32 {
  probeWrite(cpu, vaddr, 2);
  return read16(cpu, vaddr);
}
export function rmw32(cpu: usize, vaddr: u64): u32 {
  probeWrite(cpu, vaddr, 4);
  return read32(cpu, vaddr);
}
export function rmw64(cpu: usize, vaddr: u64): u64 {
  probeWrite(cpu, vaddr, 8);
  return read64(cpu, vaddr);
}

// Implicit accesses of the processor to its tables: supervisor rights whatever the CPL (SDM vol. 3, 4.6.1), addresses of
// 64 bits in compatibility mode too, and neither alignment checks nor data breakpoints.
function followingSystem(cpu: usize, vaddr: u64): u64 {
  const next = (vaddr | 0xfff) + 1;
  return load<u64>(cpu, S_EFER) & EFER_LMA ? next : next & 0xffff_ffff;
}

function checkSystem(cpu: usize, vaddr: u64, size: u32): void {
  if (!(load<u64>(cpu, S_EFER) & EFER_LMA)) return;
  checkCanonical(cpu, vaddr, false);
  checkCanonical(cpu, vaddr + size - 1, false);
}

function readSystem(cpu: usize, vaddr: u64, size: u32): u64 {
  checkSystem(cpu, vaddr, size);
  return readChecked(cpu, vaddr, followingSystem(cpu, vaddr), size, systemMode(cpu));
}

function writeSystem(cpu: usize, vaddr: u64, size: u32, value: u64): void {
  checkSystem(cpu, vaddr, size);
  writeChecked(cpu, vaddr, followingSystem(cpu, vaddr), size, value, systemMode(cpu));
}

export function readSystem8(cpu: usize, vaddr: u64): u32 {
  return <u32>readSystem(cpu, vaddr, 1);
}
export function readSystem16(cpu: usize, vaddr: u64): u32 {
  return <u32>readSystem(cpu, vaddr, 2);
}
export function readSystem32(cpu: usize, vaddr: u64): u32 {
  return <u32>readSystem(cpu, vaddr, 4);
}
export function readSystem64(cpu: usize, vaddr: u64): u64 {
  return readSystem(cpu, vaddr, 8);
}
export function writeSystem8(cpu: usize, vaddr: u64, value: u32): void {
  writeSystem(cpu, vaddr, 1, value);
}
export function writeSystem16(cpu: usize, vaddr: u64, value: u32): void {
  writeSystem(cpu, vaddr, 2, value);
}
export function writeSystem32(cpu: usize, vaddr: u64, value: u32): void {
  writeSystem(cpu, vaddr, 4, value);
}
export function writeSystem64(cpu: usize, vaddr: u64, value: u64): void {
  writeSystem(cpu, vaddr, 8, value);
}
/** Raises the fault that an implicit write would raise. */
export function probeSystemWrite(cpu: usize, vaddr: u64, size: u32): void {
  walk(cpu, vaddr, ACCESS_WRITE, systemMode(cpu));
  if (splits(vaddr, size)) walk(cpu, followingSystem(cpu, vaddr), ACCESS_WRITE, systemMode(cpu));
}

/** For string instructions: where `vaddr` is in linear memory, valid to the end of its page, or 0 when not plain RAM. */
export function hostRead(cpu: usize, vaddr: u64): usize {
  check(cpu, vaddr, 1, false);
  return watched(cpu) ? 0 : readable(cpu, vaddr, dataMode(cpu));
}
export function hostWrite(cpu: usize, vaddr: u64): usize {
  check(cpu, vaddr, 1, true);
  return watched(cpu) ? 0 : writable(cpu, vaddr, dataMode(cpu));
}

/**
 * Of `bytes` from `vaddr`, which is at `host`: how many lie one behind the other there too, as far as the TLB of `kind` knows
 * without a walk.
 */
export function spanOf(cpu: usize, vaddr: u64, host: usize, bytes: u64, kind: u32): u64 {
  const table = tlbTable(cpu, dataMode(cpu), kind);
  const delta = <u32>host - <u32>vaddr;
  let span = 4096 - (vaddr & 0xfff);
  while (span < bytes) {
    const entry = tlbEntry(table, vaddr + span);
    if (((vaddr + span) ^ entry.tag) >= 4096 || entry.delta != delta) return span;
    span += 4096;
  }
  return bytes;
}
