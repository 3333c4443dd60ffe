import {
  A_CODE_LINES,
  A_NO_CODE,
  B_BYTES,
  B_CHAIN,
  B_COUNT,
  B_KEY,
  B_LINK1,
  B_LINK2,
  B_PADDR,
  B_PADDR2,
  B_PATCHED,
  B_RECORDS,
  PAGE_CODE,
  PAGE_HEADS,
  S_AREA,
  S_PAGE_MAP,
  S_STAT_BLOCKS,
  S_STAT_DROPPED,
} from '../ir/state.ts';
import { bucketOf, killBlock, pageHead } from './block-table.ts';
import { patched_block } from './host.ts';
import { isReloaded } from './patched.ts';
import { protectPage } from './tlb.ts';

// Which bytes of memory blocks were made from, and what becomes of the blocks when these change.

/** Enters a finished block in the tables: by physical address, and by the pages it was read from. */
export function add_block(cpu: usize, block: usize): void {
  const paddr = load<u32>(block, B_PADDR);
  const bucket = bucketOf(cpu, paddr, load<u32>(block, B_KEY));
  store<u32>(block, load<u32>(bucket), B_CHAIN);
  store<u32>(bucket, <u32>block);
  addToPage(cpu, block, block + B_LINK1, paddr >> 12);
  const paddr2 = load<u32>(block, B_PADDR2);
  const bytes = load<u32>(block, B_BYTES);
  const first = paddr2 == 0 ? bytes : 4096 - (paddr & 0xfff);
  addLines(cpu, paddr, first);
  if (paddr2 != 0) {
    addToPage(cpu, block, block + B_LINK2, paddr2 >> 12);
    addLines(cpu, paddr2, bytes - first);
  }
  store<u64>(load<u32>(cpu, S_AREA), 0, A_NO_CODE);
  store<u64>(cpu, load<u64>(cpu, S_STAT_BLOCKS) + 1, S_STAT_BLOCKS);
}

function addToPage(cpu: usize, block: usize, link: usize, page: u32): void {
  const head = pageHead(cpu, page);
  store<u32>(link, load<u32>(head));
  store<u32>(link, <u32>block, 4);
  store<u32>(head, <u32>link);
  const bits = load<u32>(cpu, S_PAGE_MAP) + page;
  if (load<u8>(bits) & PAGE_CODE) return;
  store<u8>(bits, load<u8>(bits) | PAGE_CODE);
  protectPage(cpu, page);
}

function linesAt(cpu: usize, paddr: u32): usize {
  return load<u32>(cpu, S_AREA) + A_CODE_LINES + ((paddr >> 12) & (PAGE_HEADS - 1)) * 8;
}

/** The lines of 64 bytes that [paddr, paddr + size), which lies in one page, has a part in. */
function linesOf(paddr: u32, size: u32): u64 {
  const all: u64 = ~0;
  const first: u64 = (paddr >> 6) & 63;
  const last: u64 = ((paddr + size - 1) >> 6) & 63;
  return (all << first) & (all >> (63 - last));
}

function addLines(cpu: usize, paddr: u32, size: u32): void {
  const at = linesAt(cpu, paddr);
  store<u64>(at, load<u64>(at) | linesOf(paddr, size));
}

/** True when the block was made from bytes in [paddr, paddr + size), which lies in one page. */
function overlaps(block: usize, paddr: u32, size: u32): bool {
  if (!covers(block, paddr, size)) return false;
  return !(load<u32>(block, B_RECORDS) & B_PATCHED && isReloaded(block, paddr, size));
}

function covers(block: usize, paddr: u32, size: u32): bool {
  const start = load<u32>(block, B_PADDR);
  const bytes = load<u32>(block, B_BYTES);
  const page2 = load<u32>(block, B_PADDR2);
  const first = page2 == 0 ? bytes : 4096 - (start & 0xfff);
  if (start < paddr + size && paddr < start + first) return true;
  return page2 != 0 && page2 < paddr + size && paddr < page2 + (bytes - first);
}

/** True when a block was made from a byte of [paddr, paddr + size), which lies in one page. */
export function hasCode(cpu: usize, paddr: u32, size: u32): bool {
  const known: usize = load<u32>(cpu, S_AREA) + A_NO_CODE;
  if (paddr >= load<u32>(known) && paddr + size <= load<u32>(known, 4)) return false;
  if (!(load<u64>(linesAt(cpu, paddr)) & linesOf(paddr, size))) return false;
  const page = paddr >> 12;
  let link: usize = load<u32>(pageHead(cpu, page));
  while (link != 0) {
    const block: usize = load<u32>(link, 4);
    const mine =
      load<u32>(block, B_PADDR) >> 12 == page || load<u32>(block, B_PADDR2) >> 12 == page;
    if (mine && load<u32>(block, B_COUNT) != 0 && overlaps(block, paddr, size)) return true;
    link = load<u32>(link);
  }
  store<u32>(known, paddr);
  store<u32>(known, paddr + size, 4);
  return false;
}

/** Drops the blocks made from bytes that have changed: [paddr, paddr + size) within one page. */
export function invalidateRange(cpu: usize, paddr: u32, size: u32): void {
  const page = paddr >> 12;
  const bits = load<u32>(cpu, S_PAGE_MAP) + page;
  if (!(load<u8>(bits) & PAGE_CODE)) return;
  if (!(load<u64>(linesAt(cpu, paddr)) & linesOf(paddr, size))) return;
  let at = pageHead(cpu, page);
  let left = false;
  let patched: u32 = 0;
  for (;;) {
    const link: usize = load<u32>(at);
    if (link == 0) break;
    const block: usize = load<u32>(link, 4);
    const mine =
      load<u32>(block, B_PADDR) >> 12 == page || load<u32>(block, B_PADDR2) >> 12 == page;
    if (load<u32>(block, B_COUNT) != 0 && mine && overlaps(block, paddr, size)) {
      if (patched == 0 && size <= 8) patched = patched_block(<u32>block, paddr, size);
      killBlock(cpu, block);
      store<u64>(cpu, load<u64>(cpu, S_STAT_DROPPED) + 1, S_STAT_DROPPED);
    }
    if (load<u32>(block, B_COUNT) == 0) {
      store<u32>(at, load<u32>(link));
      continue;
    }
    if (mine) left = true;
    at = link;
  }
  if (patched != 0) add_block(cpu, patched);
  else if (!left) forgetPage(cpu, page);
}

/** A page has no translated code any more. */
function forgetPage(cpu: usize, page: u32): void {
  const bits = load<u32>(cpu, S_PAGE_MAP) + page;
  store<u8>(bits, load<u8>(bits) & ~PAGE_CODE);
  if (load<u32>(pageHead(cpu, page)) == 0) store<u64>(linesAt(cpu, page << 12), 0);
}
