import {
  A_BLOCK_TABLE,
  A_PAGE_HEADS,
  B_CHAIN,
  B_COUNT,
  B_HEADER,
  B_HEAT,
  B_KEY,
  B_PADDR,
  B_RECORDS,
  B_RECORDS_MASK,
  BLOCK_BUCKETS,
  PAGE_HEADS,
  REC_HANDLER,
  REC_SIZE,
  S_AREA,
  S_KILLS,
} from '../ir/state.ts';
import { block_dropped } from './host.ts';

// Where blocks are found by: chains by physical address and key, and by page.

export function bucketOf(cpu: usize, paddr: u32, key: u32): usize {
  const hash = (paddr ^ (paddr >> 13) ^ (key * 0x9e35)) & (BLOCK_BUCKETS - 1);
  return load<u32>(cpu, S_AREA) + A_BLOCK_TABLE + hash * 4;
}

export function pageHead(cpu: usize, page: u32): usize {
  return load<u32>(cpu, S_AREA) + A_PAGE_HEADS + (page & (PAGE_HEADS - 1)) * 4;
}

/** Makes a block unusable, even while it runs: each record but those already begun leads back to the dispatcher. */
export function killBlock(cpu: usize, block: usize): void {
  const bucket = bucketOf(cpu, load<u32>(block, B_PADDR), load<u32>(block, B_KEY));
  let at = bucket;
  while (load<u32>(at) != <u32>block) at = load<u32>(at) + B_CHAIN;
  store<u32>(at, load<u32>(block, B_CHAIN));
  store<u32>(block, 0, B_COUNT);
  store<i32>(block, 0, B_HEAT);
  const records = load<u32>(block, B_RECORDS) & B_RECORDS_MASK;
  for (let i: u32 = 0; i < records; i++) {
    store<u16>(block + B_HEADER + i * REC_SIZE, 0, REC_HANDLER);
  }
  store<u32>(cpu, load<u32>(cpu, S_KILLS) + 1, S_KILLS);
  block_dropped(<u32>block);
}
