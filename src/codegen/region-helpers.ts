import { askedOnce } from '#ir/block.ts';
import { type Helper, parseHelpers } from '#ir/helpers.ts';
import { usualHelperOf } from './hot-float.ts';
import type { Region } from './region.ts';

/** What regions call besides helpers of instructions. */
const REGION_HELPERS: Readonly<Record<string, Helper>> = {
  hot_read: { params: ['i64', 'i32'], result: 'i32' },
  hot_write: { params: ['i64', 'i32'], result: 'i32' },
  hot_distance: { params: ['i64', 'i32', 'i32'], result: 'i32' },
  page_holds: { params: ['i64', 'i32'], result: 'i32' },
  region_holds: { params: ['i32', 'i64'], result: 'void' },
  region_gave_up: { params: ['i32'], result: 'void' },
};

/** What the short ways of floating point call where they end. */
const SLOW_HELPERS = parseHelpers(`
  sse_usual_ss(vvv) i
  sse_usual_sd(vvv) i
  sse_usual_ps(vvv) i
  sse_usual_pd(vvv) i
  x87_loaded_f64(l) -
  x87_loaded_f32(i) -
  x87_computed(ilili) -
  x87_computed_f64(ilil) -
  x87_computed_f32(ilii) -
  x87_rooted(li) -
  x87_narrowed_f64(li) l
  x87_narrowed_f32(li) l
`);
const X87_SLOW = Object.keys(SLOW_HELPERS).filter((name) => name.startsWith('x87_'));

/** The functions of core/ that regions import; `known`: those of instructions. */
export function importsOf(
  regions: readonly Region[],
  known: Readonly<Record<string, Helper>>,
): Map<string, Helper> {
  const names = new Set(Object.keys(REGION_HELPERS));
  for (const region of regions)
    for (const name of helpersOf(region)) {
      names.add(name);
      const usual = usualHelperOf(name);
      if (usual !== undefined) names.add(usual);
      if (name.startsWith('x87_')) for (const slow of X87_SLOW) names.add(slow);
    }
  for (const inline of ['check_aligned', 'cli', 'sti']) names.delete(inline);
  const imports = new Map<string, Helper>();
  for (const name of names) {
    const helper = REGION_HELPERS[name] ?? SLOW_HELPERS[name] ?? known[name];
    if (helper === undefined) throw new Error(`regions: no helper ${name}`);
    imports.set(name, helper);
  }
  return imports;
}

/** The helpers that a region's instructions call. */
export function helpersOf({ nodes }: Region): Set<string> {
  const names = new Set<string>();
  for (const { insns } of nodes)
    for (const { ir } of insns) for (const name of calledBy(ir)) names.add(name);
  return names;
}

/** Whether SSE's exceptions may come up: of vector registers, or of operands in memory alone. */
export function computesFloats(region: Region): boolean {
  return [...helpersOf(region)].some((name) => name.startsWith('sse_'));
}

const calledBy = askedOnce(({ insts }) =>
  insts.flatMap(({ op, attr }) =>
    op.family === 'call' && attr.helper !== undefined ? [attr.helper] : [],
  ),
);
