import { askedOnce, type Inst } from '#ir/block.ts';
import { bytesWritten, type HelperKind, helperKind } from './hot-helpers.ts';

const GIVING_UP: ReadonlySet<HelperKind | undefined> = new Set([
  'aligned',
  'fpu',
  'division',
  'interrupts',
] as const);
const MAY_FAULT = new Set(['load', 'loadw', 'store']);

/** Helpers before whose call the instruction may turn out to be the interpreter's. */
function givesUp(helper: string): boolean {
  if (GIVING_UP.has(helperKind(helper))) return true;
  return helper.startsWith('x87_') || bytesWritten(helper) > 0;
}

/** True when the instruction may turn out, while a region runs, to be the interpreter's. */
export const mayGiveUp = askedOnce(({ insts }) => insts.some(isGivenUp));

function isGivenUp({ op, attr }: Inst): boolean {
  return (
    MAY_FAULT.has(op.family) ||
    op.name === 'raise_if' ||
    op.name === 'check_goto' ||
    (op.family === 'call' && givesUp(attr.helper ?? ''))
  );
}
