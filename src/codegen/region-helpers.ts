import type { Helper } from '#ir/helpers.ts';
import type { Region } from './region.ts';

/** What regions call besides helpers of instructions. */
export const REGION_HELPERS: Readonly<Record<string, Helper>> = {
  hot_read: { params: ['i64', 'i32'], result: 'i32' },
  hot_write: { params: ['i64', 'i32'], result: 'i32' },
  page_holds: { params: ['i64', 'i32'], result: 'i32' },
  region_holds: { params: ['i32', 'i64'], result: 'void' },
};

const LOOK: Helper = { params: ['v128', 'v128', 'v128'], result: 'i32' };
/** What regions that call some helpers call too: see `usualHelperOf`. */
export const FLOAT_HELPERS: Readonly<Record<string, Helper>> = {
  sse_usual_ss: LOOK,
  sse_usual_sd: LOOK,
  sse_usual_ps: LOOK,
  sse_usual_pd: LOOK,
};

/** The helpers that a region's instructions call. */
export function helpersOf({ nodes }: Region): Set<string> {
  const names = new Set<string>();
  for (const { insns } of nodes)
    for (const { ir } of insns)
      for (const { op, attr } of ir.insts)
        if (op.family === 'call' && attr.helper !== undefined) names.add(attr.helper);
  return names;
}
