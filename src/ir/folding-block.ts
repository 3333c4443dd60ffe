import { type Attributes, Block, type Inst } from './block.ts';

// Operands that the cold tier takes from a record are constants in the hot one: a shift by 3 needs no mask and no choice.

const MASK64 = (1n << 64n) - 1n;
const count = (value: bigint, bits: bigint) => value & (bits - 1n);

/** Pure ops of two constants, on unsigned values of `bits` bits. */
const BINARY: Readonly<Record<string, (a: bigint, b: bigint, bits: bigint) => bigint>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b, bits) => a << count(b, bits),
  shr_u: (a, b, bits) => a >> count(b, bits),
  shr_s: (a, b, bits) => BigInt.asIntN(Number(bits), a) >> count(b, bits),
};
const COMPARE: Readonly<Record<string, (a: bigint, b: bigint) => boolean>> = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
};
/** Ops that leave the other operand alone when the second is 0. */
const ZERO_IS_NEUTRAL = new Set([
  'add',
  'sub',
  'or',
  'xor',
  'shl',
  'shr_u',
  'shr_s',
  'rotl',
  'rotr',
]);

function constant(inst: Inst | undefined): bigint | undefined {
  if (inst === undefined || !/^i(32|64)\.const$/.test(inst.op.name)) return undefined;
  const bits = inst.op.result === 'i64' ? 64 : 32;
  return BigInt.asUintN(bits, BigInt(inst.attr.imm ?? 0));
}

/** A block that computes what is known: integer ops on constants become constants. */
export class FoldingBlock extends Block {
  override add(name: string, args: readonly Inst[] = [], attr: Attributes = {}): Inst {
    return this.#fold(name, args) ?? super.add(name, args, attr);
  }

  #fold(name: string, args: readonly Inst[]): Inst | undefined {
    const [type, op] = name.split('.');
    const [a, b, c] = args;
    if (op === undefined || a === undefined) return undefined;
    if (op === 'select') return this.#select(a, b, c);
    const left = constant(a);
    if (b !== undefined) return this.#binary(type ?? '', op, a, left, constant(b));
    return left === undefined ? undefined : this.#unary(name, left);
  }

  #select(condition: Inst, a: Inst | undefined, b: Inst | undefined): Inst | undefined {
    const known = constant(condition);
    if (known === undefined) return undefined;
    return known !== 0n ? a : b;
  }

  #unary(name: string, value: bigint): Inst | undefined {
    if (name === 'i64.extend_i32_u') return this.#make('i64', value);
    if (name === 'i64.extend_i32_s') return this.#make('i64', BigInt.asIntN(32, value));
    if (name === 'i32.wrap_i64') return this.#make('i32', value);
    if (name === 'i32.eqz' || name === 'i64.eqz') return this.#make('i32', value === 0n ? 1n : 0n);
    return undefined;
  }

  #binary(
    type: string,
    op: string,
    a: Inst,
    left: bigint | undefined,
    right: bigint | undefined,
  ): Inst | undefined {
    if (type !== 'i32' && type !== 'i64') return undefined;
    if (right === 0n && ZERO_IS_NEUTRAL.has(op)) return a;
    if (left === undefined || right === undefined) return undefined;
    const compare = COMPARE[op];
    if (compare !== undefined) return this.#make('i32', compare(left, right) ? 1n : 0n);
    const value = BINARY[op]?.(left, right, type === 'i64' ? 64n : 32n);
    return value === undefined ? undefined : this.#make(type, value);
  }

  #make(type: 'i32' | 'i64', value: bigint): Inst {
    const imm =
      type === 'i64' ? BigInt.asIntN(64, value & MASK64) : Number(BigInt.asIntN(32, value));
    return super.add(`${type}.const`, [], { imm });
  }
}
