import { type Attributes, Block, type Inst } from './block.ts';
import { type FoldedVector, foldVector, joinShuffles } from './vector-folding.ts';

// Operands that the cold tier takes from a record are constants in the hot one: a shift by 3 needs no mask and no choice.

type Value = bigint;
const MASK64 = (1n << 64n) - 1n;
const count = (value: Value, bits: Value) => value & (bits - 1n);

/** Pure ops of two constants, on unsigned values of `bits` bits. */
const BINARY: Readonly<Record<string, (a: Value, b: Value, bits: Value) => Value>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b, bits) => a << count(b, bits),
  shr_u: (a, b, bits) => a >> count(b, bits),
  shr_s: (a, b, bits) => BigInt.asIntN(Number(bits), a) >> count(b, bits),
  eq: (a, b) => (a === b ? 1n : 0n),
  ne: (a, b) => (a === b ? 0n : 1n),
  lt_u: (a, b) => (a < b ? 1n : 0n),
  gt_u: (a, b) => (a > b ? 1n : 0n),
};
const COMPARISONS = new Set(['eq', 'ne', 'lt_u', 'gt_u']);
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
const UNARY: Readonly<Record<string, (value: Value) => Value>> = {
  'i64.extend_i32_u': (value) => value,
  'i64.extend_i32_s': (value) => BigInt.asIntN(32, value),
  'i32.wrap_i64': (value) => value,
  'i32.eqz': (value) => (value === 0n ? 1n : 0n),
  'i64.eqz': (value) => (value === 0n ? 1n : 0n),
};

/** How an op of two integers is folded. */
interface BinaryRule {
  readonly bits: Value;
  readonly compute: ((a: Value, b: Value, bits: Value) => Value) | undefined;
  readonly zeroIsNeutral: boolean;
  readonly isComparison: boolean;
}

const RULES = new Map<string, BinaryRule>();
for (const [type, bits] of [
  ['i32', 32n],
  ['i64', 64n],
] as const) {
  for (const op of new Set([...Object.keys(BINARY), ...ZERO_IS_NEUTRAL])) {
    RULES.set(`${type}.${op}`, {
      bits,
      compute: BINARY[op],
      zeroIsNeutral: ZERO_IS_NEUTRAL.has(op),
      isComparison: COMPARISONS.has(op),
    });
  }
}

function constant(inst: Inst): Value | undefined {
  const { family, result } = inst.op;
  if (family !== 'const') return undefined;
  if (result !== 'i32' && result !== 'i64') return undefined;
  return BigInt.asUintN(result === 'i64' ? 64 : 32, BigInt(inst.attr.imm ?? 0));
}

const LOW32 = 0xffffffffn;
/** Ops whose low half comes from the low halves of their operands alone. */
const SUMS = new Set(['i64.add', 'i64.sub']);
const NARROWED = new Set([...SUMS, 'i64.and', 'i64.or', 'i64.xor']);

/**
 * A block that computes what is known: ops on constants become constants, shuffles by them single ones; of sums cut to 32
 * bits the halves above are left out.
 */
export class FoldingBlock extends Block {
  override add(name: string, args: readonly Inst[] = [], attr?: Attributes): Inst {
    if (args.length === 0) return super.add(name, args, attr);
    return this.#fold(name, args) ?? this.#vector(name, args, attr) ?? super.add(name, args, attr);
  }

  #vector(name: string, args: readonly Inst[], attr: Attributes | undefined): Inst | undefined {
    let folded: FoldedVector | undefined;
    if (name !== 'i8x16.shuffle') folded = foldVector(name, args);
    else {
      const bytes = attr?.bytes;
      const [a, b] = args;
      if (a !== undefined && b !== undefined && bytes !== undefined)
        folded = joinShuffles(a, b, bytes);
    }
    if (folded === undefined) return undefined;
    if ('bytes' in folded) return super.add('v128.const', [], folded);
    return super.add('i8x16.shuffle', [folded.a, folded.b], { bytes: folded.lanes });
  }

  #fold(name: string, args: readonly Inst[]): Inst | undefined {
    const a = args[0];
    const b = args[1];
    const c = args[2];
    if (a === undefined) return undefined;
    if (c !== undefined) return name.endsWith('.select') ? this.#select(a, b, c) : undefined;
    if (b !== undefined) {
      const rule = RULES.get(name);
      return (rule && this.#binary(rule, a, b)) ?? this.#cut(name, a, b);
    }
    if (name === 'i32.wrap_i64' && SUMS.has(a.op.name)) return this.#narrow(a);
    if (a.op.family !== 'const') return undefined;
    const compute = UNARY[name];
    const value = compute && constant(a);
    if (value === undefined) return undefined;
    return this.#make(name.startsWith('i64.ext') ? 'i64' : 'i32', compute?.(value) ?? 0n);
  }

  /** An address of 32 bits: processors clear the upper half with each operation on the lower one. */
  #cut(name: string, value: Inst, mask: Inst): Inst | undefined {
    if (name !== 'i64.and' || constant(mask) !== LOW32 || !isNarrowed(value)) return undefined;
    return this.add('i64.extend_i32_u', [this.#narrow(value)]);
  }

  /** The low half of a value. */
  #narrow(value: Inst): Inst {
    const { op, args } = value;
    const known = constant(value);
    if (known !== undefined) return this.#make('i32', known);
    if (op.name === 'get64' && !this.#isWritten(value)) return this.add('get32', [], value.attr);
    const [a, b] = args;
    if (op.name.startsWith('i64.extend_i32') && a !== undefined) return a;
    if (a === undefined || b === undefined || !isNarrowed(value))
      return this.add('i32.wrap_i64', [value]);
    const right = op.name === 'i64.shl' ? this.#make('i32', constant(b) ?? 0n) : this.#narrow(b);
    return this.add(op.name.replace('i64', 'i32'), [this.#narrow(a), right]);
  }

  /** Whether a register may have been written since it was read. */
  #isWritten(read: Inst): boolean {
    const since = this.insts.slice(read.index + 1);
    return since.some(({ op }) => op.family === 'set' || op.family === 'call');
  }

  #select(condition: Inst, a: Inst | undefined, b: Inst): Inst | undefined {
    const known = constant(condition);
    if (known === undefined) return undefined;
    return known !== 0n ? a : b;
  }

  #binary(rule: BinaryRule, a: Inst, b: Inst): Inst | undefined {
    const right = constant(b);
    if (right === undefined) return undefined;
    if (right === 0n && rule.zeroIsNeutral) return a;
    const left = constant(a);
    if (left === undefined || rule.compute === undefined) return undefined;
    const type = rule.bits === 64n && !rule.isComparison ? 'i64' : 'i32';
    return this.#make(type, rule.compute(left, right, rule.bits));
  }

  #make(type: 'i32' | 'i64', value: Value): Inst {
    const imm =
      type === 'i64' ? BigInt.asIntN(64, value & MASK64) : Number(BigInt.asIntN(32, value));
    return super.add(`${type}.const`, [], { imm });
  }
}

function isNarrowed({ op, args }: Inst): boolean {
  const [, by] = args;
  if (op.name !== 'i64.shl') return NARROWED.has(op.name);
  return by !== undefined && (constant(by) ?? 32n) < 32n;
}
