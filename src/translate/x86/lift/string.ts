import type { Lift, Lifter } from '../lifter.ts';

/**
 * A string instruction is one helper of core/, for one element or, with REP, for as many as may be done before the next
 * look at interrupts. It says whether it is done: if not, the instruction runs again.
 */
function string(name: string): Lift {
  return (x: Lifter) => {
    const size = x.arg === 1 ? 1 : Math.min(x.opSize, name === 'ins' || name === 'outs' ? 4 : 8);
    const rep = x.cx.rep === 0 ? 0 : x.cx.rep === 0xf3 ? 1 : 2;
    const sizes = x.const32(size | (x.cx.addrSize << 8));
    const done = x.call(name, [sizes, x.segment(), x.const32(rep)]);
    if (rep !== 0) x.op('goto', [x.select(done, x.nextRip(), x.op('this_rip'))]);
  };
}

const NAMES = ['movs', 'cmps', 'stos', 'lods', 'scas', 'ins', 'outs'];

export const STRING_LIFTS: Record<string, Lift> = Object.fromEntries(
  NAMES.map((name) => [name, string(name)]),
);
