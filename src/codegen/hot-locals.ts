import type { FlagLocals } from './hot-flags.ts';

/** Locals of a region's function. */
export interface HotLocals extends FlagLocals {
  readonly cpu: number;
  /** RIP at which the region was entered. */
  readonly base: number;
  readonly budget: number;
  readonly tlbRead: number;
  readonly tlbWrite: number;
  /** What `leave` needs: the instruction, as `where` packs it. */
  readonly where: number;
  readonly kills: number;
  readonly usual: number;
  readonly target: number;
}
