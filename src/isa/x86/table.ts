import { ARITH } from './arith.ts';
import { BITS } from './bits.ts';
import { FLOW } from './flow.ts';
import type { InsnRow } from './insn.ts';
import { MMX } from './mmx.ts';
import { MOVE } from './move.ts';
import { SSE } from './sse.ts';
import { STRING } from './string.ts';
import { SYSTEM } from './system.ts';
import { X87 } from './x87.ts';

/** Every encoding; a row's `id` is its place here. */
export const TABLE: readonly InsnRow[] = [
  ...ARITH,
  ...BITS,
  ...MOVE,
  ...FLOW,
  ...STRING,
  ...SYSTEM,
  ...X87,
  ...MMX,
  ...SSE,
];
TABLE.forEach((row, id) => {
  row.id = id;
});
