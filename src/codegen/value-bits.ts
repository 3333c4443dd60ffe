import type { Inst } from '#ir/block.ts';

const ALL = 64;
const READS = new Set(['get', 'load', 'loadw']);

/** Bits that an integer has at most, counted from the lowest, by what it comes from. */
export function bitsOf({ op, attr, args }: Inst): number {
  const a = args[0];
  const b = args[1];
  if (op.family === 'const') return width(BigInt.asUintN(ALL, BigInt(attr.imm ?? 0)));
  if (READS.has(op.family)) return op.width === 'v' ? ALL : Number(op.width);
  if (a === undefined) return ALL;
  if (op.name === 'i64.extend_i32_u') return Math.min(bitsOf(a), 32);
  if (b === undefined) return ALL;
  if (op.name.endsWith('.shr_u') && b.op.family === 'const') {
    const by = Number(b.attr.imm ?? 0) & (op.result === 'i32' ? 31 : 63);
    return Math.max(bitsOf(a) - by, 0);
  }
  if (op.name.endsWith('.and')) return Math.min(bitsOf(a), bitsOf(b));
  return /\.x?or$/.test(op.name) ? Math.max(bitsOf(a), bitsOf(b)) : ALL;
}

function width(value: bigint): number {
  return value === 0n ? 0 : value.toString(2).length;
}
