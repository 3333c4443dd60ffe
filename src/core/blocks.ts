import {
  A_ARENA,
  A_BLOCK_TABLE,
  A_CODE_LINES,
  A_JUMP_CACHE,
  A_PAGE_HEADS,
  ARENA_SEGMENT_BYTES,
  ARENA_SEGMENTS,
  ATTN_INTERRUPT,
  B_BYTES,
  B_CHAIN,
  B_COUNT,
  B_HEADER,
  B_KEY,
  B_LIN,
  B_LIN_GEN,
  B_LINKED_ENDING,
  B_LINKED_LAST,
  B_PADDR,
  B_PADDR2,
  B_RECORDS,
  B_RECORDS_MASK,
  BLOCK_BUCKETS,
  JUMP_ENTRIES,
  KEY_CODE64,
  KEY_FLAT,
  KEY_STEP,
  KEY_USER,
  LINK_NEAR,
  PAGE_CODE,
  PAGE_HEADS,
  PAGE_MAP_BYTES,
  REC_DISP,
  REC_LINK,
  REC_LINK2,
  REC_NEXT,
  REC_SIZE,
  S_AREA,
  S_ARENA_END,
  S_ARENA_NEXT,
  S_ATTENTION,
  S_BLOCK,
  S_JUMP_GEN,
  S_KEY,
  S_KILLS,
  S_PAGE_MAP,
  S_REC,
  S_RIP,
  S_ROOM_MADE,
  S_SEGS,
  S_STAT_BLOCKS,
  SEG_BASE,
  SEG_CS,
  SEG_LIMIT,
  SEG_SIZE,
} from '../ir/state.ts';
import { new_block, nextSegment } from './block-arena.ts';
import { bucketOf, killBlock } from './block-table.ts';
import { add_block } from './code-pages.ts';
import { block_dropped, predecode } from './host.ts';
import { ACCESS_FETCH, checkCanonical, fetchMode, isCanonical, walk } from './paging.ts';
import { GP, raiseError } from './raise.ts';
import { BLOCK_BYTES, block_of_templates } from './templates.ts';
import {
  ageJumpCache,
  clearJumpCache,
  execTable,
  fillEntry,
  flushTlb,
  noteFetch,
  TLB_PAGE,
  tlbEntry,
} from './tlb.ts';

const BLOCKS_BETWEEN_LOOKS = 16;

// Blocks of predecoded code: found by linear address through the jump cache, else by physical address and key.

/** Physical address from which the byte at linear address `lin` is fetched; raises #PF. */
export function fetch_address(cpu: usize, lin: u64): u64 {
  const table = execTable(cpu, (load<u32>(cpu, S_KEY) & KEY_USER) != 0);
  const entry = tlbEntry(table, lin);
  if ((lin ^ entry.tag) < 4096) {
    noteFetch(cpu, lin, entry.page);
    return ((<u64>(entry.page & TLB_PAGE)) << 12) | (lin & 0xfff);
  }
  const found = walk(cpu, lin, ACCESS_FETCH, fetchMode(cpu));
  const paddr = found & 0xff_ffff_ffff;
  fillEntry(cpu, table, lin, 0, (<u32>(found >> 32) & ~TLB_PAGE) | <u32>(paddr >> 12));
  noteFetch(cpu, lin, <u32>(found >> 32));
  return paddr;
}

/** Linear address of RIP; raises #GP where it cannot be fetched from. */
function fetchLinear(cpu: usize): u64 {
  const rip = load<u64>(cpu, S_RIP);
  const key = load<u32>(cpu, S_KEY);
  if (key & KEY_CODE64) {
    checkCanonical(cpu, rip, false);
    return rip;
  }
  const at = cpu + SEG_CS * SEG_SIZE;
  if (rip > <u64>load<u32>(at, S_SEGS + SEG_LIMIT)) raiseError(cpu, GP, 0);
  return (load<u64>(at, S_SEGS + SEG_BASE) + rip) & 0xffff_ffff;
}

/** True when all of the block's bytes are still where they were fetched from, for a block over two pages. */
function secondPageHolds(cpu: usize, block: usize, lin: u64): bool {
  const page2 = load<u32>(block, B_PADDR2);
  if (page2 == 0) return true;
  return (fetch_address(cpu, nextPage(cpu, lin)) & 0xffff_f000) == <u64>page2;
}

/** True when the block ends within CS, whose limit is not part of the key. */
function withinCode(cpu: usize, block: usize, key: u32): bool {
  if (key & (KEY_CODE64 | KEY_FLAT)) return true;
  const limit = load<u32>(cpu + SEG_CS * SEG_SIZE, S_SEGS + SEG_LIMIT);
  return load<u64>(cpu, S_RIP) + load<u32>(block, B_BYTES) <= <u64>limit + 1;
}

function nextPage(cpu: usize, lin: u64): u64 {
  const next = (lin | 0xfff) + 1;
  return load<u32>(cpu, S_KEY) & KEY_CODE64 ? next : next & 0xffff_ffff;
}

/** Where code is taken from: beyond 4 GiB nothing stands, and the last page below is as empty. */
function codeAddress(paddr: u64): u32 {
  return paddr > 0xffff_ffff ? 0xffff_f000 | (<u32>paddr & 0xfff) : <u32>paddr;
}

/** Makes the block of the code at `paddr` from templates; 0 where the predecoder has to make it. */
export function known_block(cpu: usize, paddr: u32, key: u32): usize {
  if (load<u32>(cpu, S_ARENA_NEXT) + BLOCK_BYTES > load<u32>(cpu, S_ARENA_END)) nextSegment(cpu);
  const records = block_of_templates(cpu, paddr, key, load<u32>(cpu, S_ARENA_NEXT));
  if (records == 0) return 0;
  const block = new_block(cpu, records);
  add_block(cpu, block);
  return block;
}

function makeBlock(cpu: usize, paddr: u32, lin: u64): usize {
  const block = known_block(cpu, paddr, load<u32>(cpu, S_KEY));
  if (block == 0) return predecode(cpu, paddr, lin);
  // So that a slice of a million instructions ends in time also when each is in a new block.
  if ((<u32>load<u64>(cpu, S_STAT_BLOCKS) & (BLOCKS_BETWEEN_LOOKS - 1)) == 0)
    atomic.or<u32>(cpu + S_ATTENTION, ATTN_INTERRUPT);
  return block;
}

function isBlockOf(block: usize, paddr: u32, key: u32): bool {
  return (
    load<u32>(block, B_PADDR) == paddr &&
    load<u32>(block, B_KEY) == key &&
    load<u32>(block, B_COUNT) != 0
  );
}

/** The block at RIP, made if it is not there. Raises the faults of fetching. */
export function find_block(cpu: usize): usize {
  const lin = fetchLinear(cpu);
  const key = load<u32>(cpu, S_KEY);
  const generation = load<u32>(cpu, S_JUMP_GEN) | key;
  const slot =
    load<u32>(cpu, S_AREA) +
    A_JUMP_CACHE +
    ((<usize>lin ^ <usize>(lin >> 12)) & (JUMP_ENTRIES - 1)) * 16;
  const known: usize = load<u64>(slot) == lin ? load<u32>(slot, 12) : 0;
  const isOfNow = load<u32>(slot, 8) == generation;
  if (known != 0 && isOfNow && load<u32>(known, B_COUNT) != 0) return known;
  const paddr = codeAddress(fetch_address(cpu, lin));
  if (known != 0 && isBlockOf(known, paddr, key) && load<u32>(known, B_PADDR2) == 0) {
    // The translation is as it was before the flush: the block that stood for it still does.
    store<u32>(slot, generation, 8);
    return known;
  }
  let block: usize = load<u32>(bucketOf(cpu, paddr, key));
  while (block != 0) {
    if (
      isBlockOf(block, paddr, key) &&
      secondPageHolds(cpu, block, lin) &&
      withinCode(cpu, block, key)
    )
      break;
    block = load<u32>(block, B_CHAIN);
  }
  if (block == 0) block = makeBlock(cpu, paddr, lin);
  if (key & (KEY_CODE64 | KEY_FLAT)) {
    store<u64>(slot, lin);
    store<u32>(slot, generation, 8);
    store<u32>(slot, <u32>block, 12);
  }
  return block;
}

/** Drops all blocks of this vCPU. Not while one runs. */
export function drop_blocks(cpu: usize): void {
  const area = load<u32>(cpu, S_AREA);
  memory.fill(area + A_BLOCK_TABLE, 0, BLOCK_BUCKETS * 4);
  memory.fill(area + A_PAGE_HEADS, 0, PAGE_HEADS * 4);
  memory.fill(area + A_CODE_LINES, 0, PAGE_HEADS * 8);
  const map = load<u32>(cpu, S_PAGE_MAP);
  for (let page: u32 = 0; page < <u32>PAGE_MAP_BYTES; page++) {
    store<u8>(map + page, load<u8>(map + page) & ~PAGE_CODE);
  }
  const arena = area + A_ARENA;
  for (let i = 0; i < ARENA_SEGMENTS; i++)
    store<u32>(arena + i * ARENA_SEGMENT_BYTES, 0, B_RECORDS);
  store<u32>(cpu, 0, S_ROOM_MADE);
  store<u32>(cpu, arena, S_ARENA_NEXT);
  store<u32>(cpu, arena + ARENA_SEGMENT_BYTES, S_ARENA_END);
  clearJumpCache(cpu);
  ageJumpCache(cpu, true);
  block_dropped(0);
}

/** S_A20_MASK has changed while an instruction runs: the next one is fetched through it, wherever this one came from. */
export function a20_moved(cpu: usize): void {
  flushTlb(cpu, true);
  const block = load<u32>(cpu, S_BLOCK);
  if (block != 0 && load<u32>(block, B_COUNT) != 0) killBlock(cpu, block);
  // A region runs, which leaves when anything was dropped.
  else store<u32>(cpu, load<u32>(cpu, S_KILLS) + 1, S_KILLS);
}

/** True when code may be fetched from RIP as far as CS goes. */
function isReachable(cpu: usize): bool {
  const rip = load<u64>(cpu, S_RIP);
  if (load<u32>(cpu, S_KEY) & KEY_CODE64) return isCanonical(rip);
  return rip <= <u64>load<u32>(cpu + SEG_CS * SEG_SIZE, S_SEGS + SEG_LIMIT);
}

/** #GP(0) at the direct branch of record `rec`, which has written RIP. Does not return. */
function faultAt(cpu: usize, rec: usize): void {
  const start = load<u64>(cpu, S_RIP) - <u64>(<i64>load<i32>(rec, REC_DISP));
  store<u64>(cpu, load<u32>(cpu, S_KEY) & KEY_CODE64 ? start : start & 0xffff_ffff, S_RIP);
  store<u32>(cpu, <u32>rec, S_REC);
  raiseError(cpu, GP, 0);
}

/**
 * The block at RIP, after the direct branch of record `rec`; remembers it in the record's slot. Where both are on the
 * same page no change of the page tables can come between them; else the branch looks whether there was any.
 */
export function link_block(cpu: usize, rec: usize, slot: u32): usize {
  if (slot == REC_LINK && !isReachable(cpu)) faultAt(cpu, rec);
  const generation = load<u32>(cpu, S_JUMP_GEN);
  const from = load<u32>(cpu, S_BLOCK);
  const offset =
    <i32>(load<u32>(from, B_PADDR) & 0xfff) +
    (slot == REC_LINK2 ? <i32>load<u16>(rec, REC_NEXT) : load<i32>(rec, REC_DISP));
  const key = load<u32>(cpu, S_KEY);
  const block = find_block(cpu);
  // The block that the record is of may have made room meanwhile.
  if (!(key & KEY_FLAT) || key & KEY_STEP || load<u32>(cpu, S_JUMP_GEN) != generation) return block;
  const samePage = <u32>offset < 4096 && !(load<u32>(from, B_PADDR2) | load<u32>(block, B_PADDR2));
  store<u64>(block, load<u64>(cpu, S_RIP), B_LIN);
  store<u32>(block, generation, B_LIN_GEN);
  store<u32>(rec + slot, <u32>block | (samePage ? LINK_NEAR : 0));
  const records = load<u32>(from, B_RECORDS);
  const index = <u32>(rec - from - B_HEADER) / REC_SIZE;
  const isLast = index + 1 == (records & B_RECORDS_MASK);
  store<u32>(from, records | (isLast ? B_LINKED_LAST : B_LINKED_ENDING), B_RECORDS);
  return block;
}
