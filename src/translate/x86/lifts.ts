import { ARITH_LIFTS } from './lift/arith.ts';
import { BCD_LIFTS } from './lift/bcd.ts';
import { BITS_LIFTS } from './lift/bits.ts';
import { FAR_LIFTS } from './lift/far.ts';
import { FLOW_LIFTS } from './lift/flow.ts';
import { MMX_LIFTS } from './lift/mmx.ts';
import { MOVE_LIFTS } from './lift/move.ts';
import { MULDIV_LIFTS } from './lift/muldiv.ts';
import { SHIFT_LIFTS } from './lift/shift.ts';
import { SSE_LIFTS } from './lift/sse.ts';
import { STRING_LIFTS } from './lift/string.ts';
import { SYSTEM_LIFTS } from './lift/system.ts';
import { X87_LIFTS } from './lift/x87.ts';
import type { Lift } from './lifter.ts';

/** What each instruction means, by the name in its row. */
export const LIFTS: Readonly<Record<string, Lift>> = {
  ...ARITH_LIFTS,
  ...BCD_LIFTS,
  ...BITS_LIFTS,
  ...FAR_LIFTS,
  ...FLOW_LIFTS,
  ...MMX_LIFTS,
  ...MOVE_LIFTS,
  ...MULDIV_LIFTS,
  ...SHIFT_LIFTS,
  ...SSE_LIFTS,
  ...STRING_LIFTS,
  ...SYSTEM_LIFTS,
  ...X87_LIFTS,
};
