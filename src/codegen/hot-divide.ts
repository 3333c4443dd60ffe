import { S_RAX, S_RDX } from '#ir/state.ts';
import type { HotState } from './hot-state.ts';
import type { FunctionBody } from './wasm.ts';

// DIV and IDIV of 32 and 64 bits in a region, where the quotient fits and the upper half of a 64-bit dividend is only
// its sign. Everything else, #DE included, is the interpreter's.

const RAX = S_RAX;
const RDX = S_RDX;
const MOST_NEGATIVE = -(1n << 63n);

export interface Division {
  readonly f: FunctionBody;
  readonly state: HotState;
  readonly take: (type: 'i64') => number;
  /** Emits the way to the interpreter. */
  readonly giveUp: () => void;
}

/** `divisor`: an i32 local for 32 bits, an i64 one for 64. */
export function emitDivision(name: string, divisor: number, cx: Division): void {
  const { f, state, take, giveUp } = cx;
  const signed = name.startsWith('i');
  const wide = name.endsWith('64');
  const dividend = take('i64');
  const by = take('i64');
  const quotient = take('i64');
  f.get(divisor);
  if (!wide) f.op(signed ? 0xac : 0xad);
  f.set(by);
  pushDividend(f, state, wide);
  f.set(dividend);
  // No zero divisor; of signed ones not the one quotient that does not fit 64 bits either.
  f.get(by).op(0x50);
  if (signed) {
    f.get(by).i64(-1).op(0x51).get(dividend).i64(MOST_NEGATIVE).op(0x51).op(0x71).op(0x72);
  }
  if (wide) {
    state.get(RDX, '64');
    if (signed) f.get(dividend).i64(63).op(0x87).op(0x52);
    else f.i64(0).op(0x52);
    f.op(0x72);
  }
  f.hint(false).if();
  giveUp();
  f.end();
  f.get(dividend)
    .get(by)
    .op(signed ? 0x7f : 0x80)
    .set(quotient);
  if (!wide) {
    f.get(quotient).get(quotient);
    if (signed) f.op(0xc4).op(0x52);
    else f.i64(0xffffffff).op(0x83).op(0x52);
    f.hint(false).if();
    giveUp();
    f.end();
  }
  const cut = () => {
    if (!wide) f.i64(0xffffffff).op(0x83);
  };
  state.set(RDX, '64', () => {
    f.get(dividend).get(quotient).get(by).op(0x7e).op(0x7d);
    cut();
  });
  state.set(RAX, '64', () => {
    f.get(quotient);
    cut();
  });
}

/** RAX, or EDX:EAX. */
function pushDividend(f: FunctionBody, state: HotState, wide: boolean): void {
  if (wide) {
    state.get(RAX, '64');
    return;
  }
  state.get(RDX, '64');
  f.i64(32).op(0x86);
  state.get(RAX, '64');
  f.i64(0xffffffff).op(0x83).op(0x84);
}
