import type { Lift } from '../lifter.ts';

/** Decimal and ASCII adjustment: core/ does all of it; nothing but old software asks. */
export const BCD_LIFTS: Record<string, Lift> = {
  daa: (x) => void x.call('daa'),
  das: (x) => void x.call('das'),
  aaa: (x) => void x.call('aaa'),
  aas: (x) => void x.call('aas'),
  aam: (x) => void x.call('aam', [x.read(0)]),
  aad: (x) => void x.call('aad', [x.read(0)]),
};
