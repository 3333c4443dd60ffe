import {
  A_REGION_PAGES,
  A_REGIONS,
  KEY_CODE64,
  KEY_USER,
  NO_DELTA,
  S_AREA,
  S_JUMP_GEN,
  S_KEY,
  S_SCRATCH,
} from '../ir/state.ts';
import {
  besideCode,
  dataMode,
  fillForRead,
  fillForWrite,
  following,
  splits,
  watched,
} from './access.ts';
import { hostBlockHot } from './host.ts';
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  fetchMode,
  isCanonical,
  SPARE_ALL,
  SPARE_CODE,
  tryWalk,
  WALK_FAULT,
} from './paging.ts';
import { execTable, fillEntry, noteFetch, TLB_PAGE, tlbEntry, tlbTable } from './tlb.ts';

// What regions (the hot tier) call. Nothing here raises: 0 says that the interpreter is to do the instruction.

const PADDR: u64 = 0xff_ffff_ffff;
/** What V8 takes to compile a region is about what giving up so often costs. */
const MOST_GIVEN_UP: u32 = 1000;

export function block_hot(_cpu: usize, block: u32): void {
  hostBlockHot(block);
}

function plain(cpu: usize, vaddr: u64): bool {
  if (load<u32>(cpu, S_KEY) & KEY_CODE64 && !isCanonical(vaddr)) return false;
  return !watched(cpu);
}

/** Where `size` bytes that lie in one page are to be read, or 0. */
function readableIn(cpu: usize, vaddr: u64): usize {
  const mode = dataMode(cpu);
  const entry = tlbEntry(tlbTable(cpu, mode, 0), vaddr);
  if ((vaddr ^ entry.tag) < 4096) return <usize>(<u32>vaddr + entry.delta);
  const found = tryWalk(cpu, vaddr, ACCESS_READ | SPARE_CODE, mode);
  return found == WALK_FAULT ? 0 : fillForRead(cpu, vaddr, mode, found);
}

/** Linear-memory address of `size` (1-16) bytes for a read; of bytes in two pages a copy in S_SCRATCH. */
export function hot_read(cpu: usize, vaddr: u64, size: u32): usize {
  if (!plain(cpu, vaddr)) return 0;
  if (!splits(vaddr, size)) return readableIn(cpu, vaddr);
  const next = following(cpu, vaddr);
  if (!plain(cpu, next)) return 0;
  const first: u32 = 4096 - (<u32>vaddr & 0xfff);
  const low = readableIn(cpu, vaddr);
  const high = readableIn(cpu, next);
  if (low == 0 || high == 0) return 0;
  for (let i: u32 = 0; i < first; i++) store<u8>(cpu + i, load<u8>(low + i), S_SCRATCH);
  for (let i: u32 = first; i < size; i++) store<u8>(cpu + i, load<u8>(high + i - first), S_SCRATCH);
  return cpu + S_SCRATCH;
}

/** Linear-memory address for a write of `size` bytes, which is to follow at once. */
export function hot_write(cpu: usize, vaddr: u64, size: u32): usize {
  if (!plain(cpu, vaddr) || splits(vaddr, size)) return 0;
  const mode = dataMode(cpu);
  const entry = tlbEntry(tlbTable(cpu, mode, 1), vaddr);
  if ((vaddr ^ entry.tag) < 4096) return <usize>(<u32>vaddr + entry.delta);
  const known = besideCode(cpu, vaddr, size, mode);
  if (known != 0) return known;
  const found = tryWalk(cpu, vaddr, ACCESS_WRITE | SPARE_CODE, mode);
  if (found == WALK_FAULT) return 0;
  const host = fillForWrite(cpu, vaddr, mode, found);
  return host != 0 ? host : besideCode(cpu, vaddr, size, mode);
}

/** Linear-memory address minus virtual one for accesses to a page, from the TLB or from tables in which nothing is to be marked. */
function distance(cpu: usize, vaddr: u64, write: bool): u32 {
  if (!plain(cpu, vaddr)) return NO_DELTA;
  const mode = dataMode(cpu);
  const entry = tlbEntry(tlbTable(cpu, mode, write ? 1 : 0), vaddr);
  if ((vaddr ^ entry.tag) < 4096) return <u32>entry.delta;
  const found = tryWalk(cpu, vaddr, (write ? ACCESS_WRITE : ACCESS_READ) | SPARE_ALL, mode);
  if (found == WALK_FAULT) return NO_DELTA;
  const host = write ? fillForWrite(cpu, vaddr, mode, found) : fillForRead(cpu, vaddr, mode, found);
  return host == 0 ? NO_DELTA : <u32>host - <u32>vaddr;
}

/** The same for `size` (1-4096) bytes, which may be those of several instructions; NO_DELTA where there is none for all. */
export function hot_distance(cpu: usize, vaddr: u64, size: u32, write: u32): u32 {
  const first = distance(cpu, vaddr, write != 0);
  if (first == NO_DELTA || !splits(vaddr, size)) return first;
  return distance(cpu, following(cpu, vaddr), write != 0) == first ? first : NO_DELTA;
}

/** 1 when instructions at `lin` are fetched from the physical page that stands in `place` of A_REGION_PAGES. */
export function page_holds(cpu: usize, lin: u64, place: u32): u32 {
  const page = load<u32>(load<u32>(cpu, S_AREA) + A_REGION_PAGES + place * 4);
  const key = load<u32>(cpu, S_KEY);
  const at = key & KEY_CODE64 ? lin : lin & 0xffff_ffff;
  if (key & KEY_CODE64 && !isCanonical(at)) return 0;
  const table = execTable(cpu, (key & KEY_USER) != 0);
  const entry = tlbEntry(table, at);
  if ((at ^ entry.tag) < 4096) {
    noteFetch(cpu, at, entry.page);
    return (entry.page & TLB_PAGE) == page ? 1 : 0;
  }
  const found = tryWalk(cpu, at, ACCESS_FETCH | SPARE_CODE, fetchMode(cpu));
  if (found == WALK_FAULT) return 0;
  const paddr = found & PADDR;
  fillEntry(cpu, table, at, 0, (<u32>(found >> 32) & ~TLB_PAGE) | <u32>(paddr >> 12));
  noteFetch(cpu, at, <u32>(found >> 32));
  return <u32>(paddr >> 12) == page ? 1 : 0;
}

/** An instruction in the region in `slot` turned out to be the interpreter's. */
export function region_gave_up(cpu: usize, slot: u32): void {
  const at = load<u32>(cpu, S_AREA) + A_REGIONS + slot * 16;
  const count = load<u32>(at, 4) + 1;
  store<u32>(at, count, 4);
  if (count == MOST_GIVEN_UP) hostBlockHot(slot);
}

/** Remembers that the region in `slot` is valid at `base` until translations change. */
export function region_holds(cpu: usize, slot: u32, base: u64): void {
  const at = load<u32>(cpu, S_AREA) + A_REGIONS + slot * 16;
  store<u32>(at, load<u32>(cpu, S_JUMP_GEN) | load<u32>(cpu, S_KEY));
  store<u64>(at, base, 8);
}
