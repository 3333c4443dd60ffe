import type { FlagLocals } from './hot-flags.ts';
import type { FunctionBody } from './wasm.ts';

/** Locals of a region's function. */
export interface HotLocals extends FlagLocals {
  readonly cpu: number;
  /** RIP at which the region was entered. */
  readonly base: number;
  readonly budget: number;
  /** What `leave` needs: the instruction, as `where` packs it. */
  readonly where: number;
  readonly kills: number;
  readonly usual: number;
  readonly target: number;
}

/** The locals that every region's function has; the registers it keeps come on top. */
export function declareLocals(f: FunctionBody): HotLocals {
  const i64 = (name: string) => f.local('i64', name);
  const i32 = (name: string) => f.local('i32', name);
  return {
    cpu: 0,
    base: i64('base'),
    budget: i32('budget'),
    where: i32('where'),
    kills: i32('kills'),
    usual: i32('usual'),
    target: i64('target'),
    res: i64('res'),
    aux: i64('aux'),
    a32: i32('a32'),
    b32: i32('b32'),
    r32: i32('r32'),
    a64: i64('a64'),
    b64: i64('b64'),
    r64: i64('r64'),
    scratch: i32('scratch'),
    isRaw: i32('is_raw'),
    carry: i32('carry'),
  };
}
