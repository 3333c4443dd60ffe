import {
  S_ATTENTION,
  S_BLOCK,
  S_BUDGET,
  S_CHILLED,
  S_CR0,
  S_EA,
  S_EFLAGS,
  S_EXC_VECTOR,
  S_FLAGS_RES,
  S_FPU_CONTROL,
  S_FPU_CS,
  S_FPU_IP,
  S_FPU_REGS,
  S_JUMP_GEN,
  S_LARGE_PAGES,
  S_MXCSR,
  S_PDPTE,
  S_RAM_HOST,
  S_REGS,
  S_RIP,
  S_SCRATCH,
  S_SEGS,
  S_SIZE,
  S_STAT_BLOCKS,
  S_STAT_DROPPED,
  S_STAT_TLB_MISS,
  S_STREAMS,
  S_TF_ARMED,
  S_WALK_ERROR,
  S_XMM,
  SEG_SIZE,
} from '#ir/state.ts';
import { RECENT_BYTES, S_RECENT, S_TRACE } from '#ir/state-system.ts';

// What of a vCPU's state (ir/state.ts) is the guest's, and what the engine's own.

export interface Range {
  readonly from: number;
  readonly to: number;
}

/**
 * Counters, caches, and what other threads write. Whatever is not listed is taken to be the guest's: a field that is
 * forgotten here makes differences that are none.
 */
const ENGINE: readonly Range[] = [
  { from: S_EA, to: S_ATTENTION + 4 },
  { from: S_BUDGET, to: S_JUMP_GEN + 4 },
  { from: S_BLOCK, to: S_RAM_HOST },
  { from: S_EXC_VECTOR, to: S_XMM },
  { from: S_STAT_TLB_MISS, to: S_TF_ARMED },
  { from: S_SCRATCH, to: S_PDPTE },
  { from: S_LARGE_PAGES, to: S_LARGE_PAGES + 12 },
  { from: S_STAT_BLOCKS, to: S_STAT_DROPPED + 8 },
  { from: S_WALK_ERROR, to: S_CHILLED + 4 },
  { from: S_TRACE, to: S_RECENT + RECENT_BYTES },
  { from: S_STREAMS, to: S_SIZE },
];

/** Flags that have not been computed: the same six can be held in many ways. */
const LAZY_FLAGS: Range = { from: S_FLAGS_RES, to: S_EFLAGS };

function without(holes: readonly Range[]): Range[] {
  const ranges: Range[] = [];
  let from = 0;
  for (const hole of holes) {
    if (hole.from > from) ranges.push({ from, to: hole.from });
    from = hole.to;
  }
  if (from < S_SIZE) ranges.push({ from, to: S_SIZE });
  return ranges;
}

/** What is put back before the same instructions run again. */
export const GUEST_STATE: readonly Range[] = without(ENGINE);
/** What must be the same, bit by bit, after them. */
export const COMPARED_STATE: readonly Range[] = without([LAZY_FLAGS, ...ENGINE]);

const GENERAL = [
  ...['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
];
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'];
const each = (names: readonly string[], at: number, size: number): (readonly [string, Range])[] =>
  names.map((name, i) => [name, { from: at + i * size, to: at + (i + 1) * size }]);
const numbered = (name: string, count: number) =>
  Array.from({ length: count }, (_, i) => `${name}${i}`);

const NAMES: readonly (readonly [string, Range])[] = [
  ...each(GENERAL, S_REGS, 8),
  ...each(['rip'], S_RIP, 8),
  ...each(['eflags', 'key'], S_EFLAGS, 4),
  ...each(SEGMENTS, S_SEGS, SEG_SIZE),
  ...each(['cr0', 'cr2', 'cr3', 'cr4'], S_CR0, 8),
  ...each(numbered('xmm', 16), S_XMM, 16),
  ...each(['mxcsr'], S_MXCSR, 4),
  ...each(numbered('x87 r', 8), S_FPU_REGS, 16),
  ...each(['x87 control', 'x87 status', 'x87 top', 'x87 empty'], S_FPU_CONTROL, 4),
  ...each(['x87 cs', 'x87 ds'], S_FPU_CS, 4),
  ...each(['x87 rip', 'x87 data pointer'], S_FPU_IP, 8),
];

/** What lies at an offset of the state, and where it begins. */
export function fieldAt(offset: number): { readonly name: string; readonly from: number } {
  const found = NAMES.find(([, { from, to }]) => offset >= from && offset < to);
  return found === undefined
    ? { name: `state+${offset}`, from: offset }
    : { name: found[0], from: found[1].from };
}
