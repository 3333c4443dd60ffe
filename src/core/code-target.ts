import { limitOf, longMode, R_L, raiseZero, rightsOf } from './descriptor.ts';
import { isCanonical } from './paging.ts';
import { GP } from './raise.ts';

/** #GP(0) unless `rip` may be executed in the code segment of descriptor `d`. */
export function checkTarget(cpu: usize, d: u64, rip: u64): void {
  const ok = longMode(cpu) && rightsOf(d) & R_L ? isCanonical(rip) : rip <= <u64>limitOf(d);
  if (!ok) raiseZero(cpu, GP);
}
