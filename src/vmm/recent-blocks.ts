import type { MemoryLayout } from '#cpu/layout.ts';
import {
  A_ARENA,
  A_TLB_EXEC,
  AREA_BYTES,
  B_BYTES,
  B_KEY,
  B_PADDR,
  KEY_CODE32,
  KEY_CODE64,
  KEY_USER,
  TLB_BYTES,
  TLB_ENTRIES,
  TLB_ENTRY_SIZE,
} from '#ir/state.ts';
import { RECENT_BYTES, S_RECENT, S_RECENT_AT } from '#ir/state-system.ts';

const PAGE_NUMBER = 0x0fff_ffff;
const MOST_BLOCK_BYTES = 64 * 15;

/** A block of instructions that the interpreter has run. */
export interface RecentBlock {
  readonly paddr: number;
  readonly bytes: number;
  readonly codeSize: 2 | 4 | 8;
  /** Where it was run; undefined when the TLB has forgotten. */
  readonly linear: bigint | undefined;
}

/** The blocks that the interpreter entered last, oldest first. Translated code leaves none. */
export function recentBlocks(memory: WebAssembly.Memory, layout: MemoryLayout): RecentBlock[] {
  const view = new DataView(memory.buffer);
  const cpu = layout.cpus[0] ?? 0;
  const area = layout.areas[0] ?? 0;
  const newest = view.getUint32(cpu + S_RECENT_AT, true);
  const blocks: RecentBlock[] = [];
  for (let i = 4; i <= RECENT_BYTES; i += 4) {
    const block = view.getUint32(cpu + S_RECENT + ((newest + i) % RECENT_BYTES), true);
    // Dropped blocks stay as they are until their place is taken.
    const inside = block >= area + A_ARENA && block < area + AREA_BYTES;
    if (inside && view.getUint32(block + B_BYTES, true) <= MOST_BLOCK_BYTES)
      blocks.push(readBlock(view, area, block));
  }
  return blocks;
}

function readBlock(view: DataView, area: number, block: number): RecentBlock {
  const paddr = view.getUint32(block + B_PADDR, true);
  const key = view.getUint32(block + B_KEY, true);
  return {
    paddr,
    bytes: view.getUint32(block + B_BYTES, true),
    codeSize: (key & KEY_CODE64) !== 0 ? 8 : (key & KEY_CODE32) !== 0 ? 4 : 2,
    linear: linearOf(view, area + A_TLB_EXEC + ((key & KEY_USER) !== 0 ? TLB_BYTES : 0), paddr),
  };
}

/** The linear address that the TLB of fetches has for a physical one. */
function linearOf(view: DataView, table: number, paddr: number): bigint | undefined {
  for (let i = 0; i < TLB_ENTRIES; i++) {
    const entry = table + i * TLB_ENTRY_SIZE;
    const tag = view.getBigUint64(entry, true);
    const mine = Number((tag >> 12n) & BigInt(TLB_ENTRIES - 1)) === i;
    if (mine && (view.getUint32(entry + 12, true) & PAGE_NUMBER) === paddr >>> 12)
      return tag | BigInt(paddr & 0xfff);
  }
  return undefined;
}
