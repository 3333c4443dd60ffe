import {
  A_JUMP_CACHE,
  A_REGIONS,
  B_HEAT,
  JUMP_ENTRIES,
  REGION_COLD,
  REGION_DONE,
  REGION_PAGES,
  S_AREA,
  S_JUMP_GEN,
  S_KEY,
} from '#ir/state.ts';
import type { HotLocals } from './hot-locals.ts';
import type { Region } from './region.ts';
import type { FunctionBody } from './wasm.ts';

const I32_LOAD = 0x28;
const I64_LOAD = 0x29;
const RETURN_CALL_INDIRECT = 0x13;
const GLOBAL_GET = 0x23;

/** What a region answers, beside REGION_…, up to its exit: an instruction turned out to be the interpreter's. */
export const GAVE_UP = 3;

/** Canonical addresses, as signed numbers, are those from minus this to below this. */
const CANONICAL_HALF = 2 ** 47;

/** A direct branch to an address that is not canonical faults where it stands: the interpreter's, as is all around it. */
export function checkTargets(f: FunctionBody, { code64, nodes }: Region, base: number): void {
  if (!code64) return;
  let [low, high] = [0, 0];
  for (const { taken, next } of nodes) {
    low = Math.min(low, next.offset, taken?.offset ?? 0);
    high = Math.max(high, next.offset, taken?.offset ?? 0);
  }
  f.get(base)
    .i64(CANONICAL_HALF + low)
    .op(0x7c);
  f.i64(2 * CANONICAL_HALF + low - high).op(0x5a);
  f.hint(false).if().i32(REGION_COLD).op(0x0f).end();
}

/**
 * At a region's entry: its pages besides the first, of which `pages` has an offset each, are looked at when translations
 * have changed since, or the code is mapped elsewhere. `slot`: the global that holds its place in the table of regions.
 */
export function checkPages(
  f: FunctionBody,
  pages: readonly number[],
  { base, where }: HotLocals,
  { slot, helper }: { readonly slot: number; readonly helper: (name: string) => number },
): void {
  if (pages.length === 0) return;
  f.get(0).mem(I32_LOAD, S_AREA).code.byte(GLOBAL_GET).u(slot);
  f.i32(4).op(0x74).op(0x6a).tee(where);
  f.mem(I32_LOAD, A_REGIONS).get(0).mem(I32_LOAD, S_JUMP_GEN).get(0).mem(I32_LOAD, S_KEY);
  f.op(0x72).op(0x47);
  f.get(where)
    .mem(I64_LOAD, A_REGIONS + 8)
    .get(base)
    .op(0x52)
    .op(0x72)
    .hint(false)
    .if();
  for (const [i, offset] of pages.entries()) {
    f.get(0).get(base).i64(offset).op(0x7c).code.byte(GLOBAL_GET).u(slot);
    f.i32(Math.log2(REGION_PAGES)).op(0x74).i32(i).op(0x6a).call(helper('page_holds'));
    f.op(0x45).if().i32(REGION_COLD).op(0x0f).end();
  }
  f.get(0).code.byte(GLOBAL_GET).u(slot);
  f.get(base).call(helper('region_holds')).end();
}

/** At its exit: what it gave up is counted, and is the interpreter's. `code`: the local with what the region answers. */
export function countGivenUp(
  f: FunctionBody,
  code: number,
  { slot, helper }: { readonly slot: number; readonly helper: (name: string) => number },
): void {
  f.get(code).i32(GAVE_UP).op(0x46).hint(false).if();
  f.get(0).code.byte(GLOBAL_GET).u(slot);
  f.call(helper('region_gave_up')).i32(REGION_COLD).set(code).end();
}

/** At its exit: goes straight to the region at `rip` where the jump cache knows one. `type`: that of a region's function. */
export function chain(
  f: FunctionBody,
  at: {
    readonly code: number;
    readonly rip: number;
    readonly where: number;
    readonly type: number;
  },
): void {
  const { code, rip, where, type } = at;
  f.get(code).i32(REGION_DONE).op(0x46).if();
  f.get(0).mem(I32_LOAD, S_AREA);
  f.get(rip).op(0xa7).get(rip).i64(12).op(0x88).op(0xa7).op(0x73);
  f.i32(JUMP_ENTRIES - 1)
    .op(0x71)
    .i32(4)
    .op(0x74)
    .op(0x6a)
    .tee(where);
  f.mem(I64_LOAD, A_JUMP_CACHE).get(rip).op(0x51);
  f.get(where).mem(I32_LOAD, A_JUMP_CACHE + 8);
  f.get(0).mem(I32_LOAD, S_JUMP_GEN).get(0).mem(I32_LOAD, S_KEY).op(0x72);
  f.op(0x46).op(0x71).hint(true).if();
  f.get(where)
    .mem(I32_LOAD, A_JUMP_CACHE + 12)
    .mem(I32_LOAD, B_HEAT)
    .tee(where);
  f.i32(0).op(0x48).hint(true).if();
  f.get(0).i32(0).get(where).op(0x6b);
  f.code.byte(RETURN_CALL_INDIRECT).u(type).u(0);
  f.end().end().end();
}
