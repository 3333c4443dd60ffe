import type { Inst } from '#ir/block.ts';

/** A value whose sign, or whose lowest bit, is a part of another value's sign. */
export interface SignPart {
  readonly value: Inst;
  readonly isBit: boolean;
}

const SIGN = 63n;

/** The i64 values that the sign of one is an OR of: shifts are not done only to look at what they leave on top. */
export function signParts(value: Inst): SignPart[] {
  const { op, args } = value;
  const [a, b] = args;
  if (a === undefined || b === undefined) return [{ value, isBit: false }];
  if (op.name === 'i64.or') return [...signParts(a), ...signParts(b)];
  if (op.name === 'i64.shl' && b.op.family === 'const') {
    const by = BigInt(b.attr.imm ?? 0);
    if (by === SIGN) return [{ value: a, isBit: true }];
    if (by + bitsOf(a) <= SIGN) return [];
  }
  return [{ value, isBit: false }];
}

/** Bits that a value has at most, counted from the lowest. */
function bitsOf({ op, attr, args }: Inst): bigint {
  const [a, b] = args;
  if (op.family === 'const') return width(BigInt.asUintN(64, BigInt(attr.imm ?? 0)));
  if (a === undefined) return 64n;
  if (op.name === 'i64.extend_i32_u') return 32n;
  if (b === undefined) return 64n;
  const [x, y] = [bitsOf(a), bitsOf(b)];
  if (op.name === 'i64.and') return x < y ? x : y;
  return op.name === 'i64.or' || op.name === 'i64.xor' ? (x > y ? x : y) : 64n;
}

function width(value: bigint): bigint {
  return value === 0n ? 0n : BigInt(value.toString(2).length);
}
