import type { Inst } from '#ir/block.ts';
import { bitsOf } from './value-bits.ts';

/** A value whose sign, or whose lowest bit, is a part of another value's sign. */
export interface SignPart {
  readonly value: Inst;
  readonly isBit: boolean;
}

const SIGN = 63;

/** The i64 values that the sign of one is an OR of: shifts are not done only to look at what they leave on top. */
export function signParts(value: Inst): SignPart[] {
  const { op, args } = value;
  const [a, b] = args;
  if (bitsOf(value) <= SIGN) return [];
  if (a === undefined || b === undefined) return [{ value, isBit: false }];
  if (op.name === 'i64.or') return [...signParts(a), ...signParts(b)];
  if (op.name === 'i64.shl' && b.op.family === 'const') {
    const by = Number(b.attr.imm ?? 0);
    if (by === SIGN) return [{ value: a, isBit: true }];
    if (by + bitsOf(a) <= SIGN) return [];
  }
  return [{ value, isBit: false }];
}
