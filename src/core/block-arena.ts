import {
  A_ARENA,
  ARENA_SEGMENT_BYTES,
  ARENA_SEGMENTS,
  B_COUNT,
  B_HEADER,
  B_LINKED_ENDING,
  B_LINKED_LAST,
  B_RECORDS,
  B_RECORDS_MASK,
  BLOCKS_EVICTED,
  PAGE_HEADS,
  REC_LINK,
  REC_LINK2,
  REC_SIZE,
  S_AREA,
  S_ARENA_END,
  S_ARENA_NEXT,
  S_ROOM_MADE,
  S_ROOM_PAGES,
  S_STAT_EVICTED,
} from '../ir/state.ts';
import { killBlock, pageHead } from './block-table.ts';
import { block_dropped } from './host.ts';
import { ageJumpCache, clearJumpCache } from './tlb.ts';

// Where blocks lie: segments that are filled one after the other, the oldest anew.

/** Bytes of the arena that are filled while `make_room` looks through a page. */
const ROOM_BYTES: u32 = ARENA_SEGMENT_BYTES / 2 / PAGE_HEADS;

function blockBytes(records: u32): u32 {
  return (B_HEADER + records * REC_SIZE + 7) & ~7;
}

/** Room for a block of `records` records; blocks of the oldest segment make room when there is none. */
export function new_block(cpu: usize, records: u32): usize {
  const bytes = blockBytes(records);
  if (load<u32>(cpu, S_ARENA_NEXT) + bytes > load<u32>(cpu, S_ARENA_END)) nextSegment(cpu);
  const block = load<u32>(cpu, S_ARENA_NEXT);
  store<u32>(cpu, block + bytes, S_ARENA_NEXT);
  return block;
}

/** Forgets the links of a record to blocks in [start, end). */
function unlink(rec: usize, start: u32, end: u32): void {
  for (let slot: u32 = REC_LINK; slot <= <u32>REC_LINK2; slot += REC_LINK2 - REC_LINK) {
    const to = load<u32>(rec + slot);
    if (to >= start && to < end) store<u32>(rec + slot, 0);
  }
}

/** Forgets the links of a block, which only its last two records have. */
function unlinkBlock(block: usize, start: u32, end: u32): void {
  const records = load<u32>(block, B_RECORDS);
  const behind = block + B_HEADER + (records & B_RECORDS_MASK) * REC_SIZE;
  if (records & B_LINKED_LAST) unlink(behind - REC_SIZE, start, end);
  if (records & B_LINKED_ENDING) unlink(behind - 2 * REC_SIZE, start, end);
}

/** Where the segment begins that is the next to be filled: the oldest. */
function oldestSegment(cpu: usize): u32 {
  const arena = load<u32>(cpu, S_AREA) + A_ARENA;
  const end = load<u32>(cpu, S_ARENA_END);
  return end == <u32>arena + ARENA_SEGMENTS * ARENA_SEGMENT_BYTES ? <u32>arena : end;
}

/** Kills the blocks of the oldest segment that begin before `until`. Behind the last of them stands one of no records. */
function evictBlocks(cpu: usize, until: u32): void {
  let block = load<u32>(cpu, S_ROOM_MADE);
  let evicted: u32 = 0;
  while (block + B_HEADER <= until) {
    const records = load<u32>(block, B_RECORDS) & B_RECORDS_MASK;
    if (records == 0) {
      block = oldestSegment(cpu) + ARENA_SEGMENT_BYTES;
      break;
    }
    if (load<u32>(block, B_COUNT) != 0) {
      killBlock(cpu, block);
      evicted++;
    }
    block += blockBytes(records);
  }
  store<u32>(cpu, block, S_ROOM_MADE);
  store<u64>(cpu, load<u64>(cpu, S_STAT_EVICTED) + evicted, S_STAT_EVICTED);
}

/** Takes what leads to blocks in [start, end), which are dead, out of those of a page. */
function forgetBlocks(cpu: usize, page: u32, start: u32, end: u32): void {
  let at = pageHead(cpu, page);
  for (;;) {
    const link: usize = load<u32>(at);
    if (link == 0) return;
    const block: usize = load<u32>(link, 4);
    if (<u32>block >= start && <u32>block < end) {
      store<u32>(at, load<u32>(link));
      continue;
    }
    unlinkBlock(block, start, end);
    at = link;
  }
}

/** Takes what leads to the oldest segment, whose blocks are dead, out of the blocks of pages up to `until`. */
function forgetEvicted(cpu: usize, until: u32): void {
  const start = oldestSegment(cpu);
  let page = load<u32>(cpu, S_ROOM_PAGES);
  for (; page < until; page++) forgetBlocks(cpu, page, start, start + ARENA_SEGMENT_BYTES);
  store<u32>(cpu, page, S_ROOM_PAGES);
}

/**
 * Empties the oldest segment of the arena a little, so that it is empty when the present one is full and the guest need not
 * wait: while a quarter is filled its blocks are killed, and then nothing new can lead to them. Between blocks only.
 */
export function make_room(cpu: usize): void {
  if (load<u32>(cpu, S_ROOM_MADE) == 0) return;
  const used = load<u32>(cpu, S_ARENA_NEXT) + ARENA_SEGMENT_BYTES - load<u32>(cpu, S_ARENA_END);
  const quarter: u32 = ARENA_SEGMENT_BYTES / 4;
  evictBlocks(cpu, oldestSegment(cpu) + min<u32>(4 * used, ARENA_SEGMENT_BYTES));
  if (used > quarter) forgetEvicted(cpu, min<u32>(PAGE_HEADS, (used - quarter) / ROOM_BYTES));
}

/** The oldest segment of the arena is where the next blocks go. Not while a block runs. */
export function nextSegment(cpu: usize): void {
  const next = load<u32>(cpu, S_ARENA_NEXT);
  if (next + B_HEADER <= load<u32>(cpu, S_ARENA_END)) store<u32>(next, 0, B_RECORDS);
  const start = oldestSegment(cpu);
  const isNew = load<u32>(cpu, S_ROOM_MADE) == 0;
  if (!isNew) {
    evictBlocks(cpu, start + ARENA_SEGMENT_BYTES);
    forgetEvicted(cpu, PAGE_HEADS);
  }
  store<u32>(cpu, start, S_ARENA_NEXT);
  store<u32>(cpu, start + ARENA_SEGMENT_BYTES, S_ARENA_END);
  const oldest = oldestSegment(cpu);
  store<u32>(cpu, load<u32>(oldest, B_RECORDS) == 0 ? 0 : oldest, S_ROOM_MADE);
  store<u32>(cpu, 0, S_ROOM_PAGES);
  if (isNew) return;
  // What lies there from now on may be anything.
  clearJumpCache(cpu);
  ageJumpCache(cpu, true);
  block_dropped(BLOCKS_EVICTED);
}
