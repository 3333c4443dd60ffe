import { S_FPU_EMPTY } from '#ir/state.ts';
import type { Lift } from '../lifter.ts';

/** All x87 registers are empty after it; TOP is 0, as after any MMX instruction. */
const liftEmms: Lift = (x) => {
  x.call('mmx_enter');
  x.op('set32', [x.const32(0xff)], { slot: { fixed: S_FPU_EMPTY } });
};

/** The rest of MMX shares its lifts with SSE: sse.ts. */
export const MMX_LIFTS: Record<string, Lift> = { emms: liftEmms };
