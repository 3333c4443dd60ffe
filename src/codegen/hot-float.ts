import type { Inst } from '#ir/block.ts';
import { S_MXCSR } from '#ir/state.ts';
import { FloatFacts } from './float-facts.ts';
import { emitCompare, emitTruncate, isCompareHelper, isTruncateHelper } from './hot-scalar.ts';
import type { FunctionBody } from './wasm.ts';

// SSE arithmetic in a region: the host's own result stands where nobody can tell it from the exact one (the conditions
// are those of core/sse-arith.ts, told there); else the helper of the same name does it. What has been looked at once is
// not looked at again: `usual` is 1 while MXCSR is as the short ways want it and all that `facts` knows is so.

/** RC, the masks and PE; and their values in the usual case. */
const USUAL_BITS = 0x7fa0;
const USUAL = 0x1fa0;

interface Format {
  readonly bits: 32 | 64;
  readonly lanes: boolean;
}

const FORMATS: Readonly<Record<string, Format>> = {
  ss: { bits: 32, lanes: false },
  sd: { bits: 64, lanes: false },
  ps: { bits: 32, lanes: true },
  pd: { bits: 64, lanes: true },
};

/** When a result of zero is exact: where an operand is zero, say. */
type ExactZero = 'always' | 'of-zero' | 'unknown';

interface Operation {
  /** WebAssembly opcodes: f32 and f64, f32x4 and f64x2. */
  readonly codes: readonly [number, number, number, number];
  readonly zero: ExactZero;
  /** It has but the second operand; the first has the elements that stay. */
  readonly unary?: boolean;
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
  add: { codes: [0x92, 0xa0, 0xfde4, 0xfdf0], zero: 'always' },
  sub: { codes: [0x93, 0xa1, 0xfde5, 0xfdf1], zero: 'always' },
  mul: { codes: [0x94, 0xa2, 0xfde6, 0xfdf2], zero: 'of-zero' },
  div: { codes: [0x95, 0xa3, 0xfde7, 0xfdf3], zero: 'unknown' },
  sqrt: { codes: [0x91, 0x9f, 0xfde3, 0xfdef], zero: 'always', unary: true },
};
const NAME = /^sse_(add|sub|mul|div|sqrt)_([ps][sd])$/;

/** True for helpers that `HotFloat` has a short way for. */
export function isFloatHelper(name: string): boolean {
  return NAME.test(name) || name === 'sse_from_i64_sd';
}

/** What tells, behind a helper, whether all is still known that the short way would have made known. */
export function usualHelperOf(name: string): string | undefined {
  const kind = NAME.exec(name)?.[2];
  return kind && `sse_usual_${kind}`;
}

/** Locals that a region's floating point needs. */
export interface FloatLocals {
  readonly cpu: number;
  readonly usual: number;
}

export interface FloatTemporaries {
  take(type: 'i32' | 'i64' | 'f32' | 'f64' | 'v128'): number;
}

/** What the bits of a number without sign, doubled, are compared with, as signed numbers. */
interface Bounds {
  /** Added to a result: what is not normal, or the least normal number, comes above `resultMost`. */
  readonly result: bigint;
  readonly resultMost: bigint;
  /** Added to an operand: denormal numbers come below `operandLeast`. */
  readonly operand: bigint;
  readonly operandLeast: bigint;
}

const BOUNDS: Readonly<Record<32 | 64, Bounds>> = { 32: boundsOf(32, 23), 64: boundsOf(64, 52) };

function boundsOf(bits: 32 | 64, fraction: number): Bounds {
  const top = 1n << BigInt(bits - 1);
  const least = 2n << BigInt(fraction);
  const infinity = 2n * top - least;
  return {
    result: top - least - 2n,
    resultMost: infinity - least - 4n - top,
    operand: top - 1n,
    operandLeast: least - 1n - top,
  };
}

type Constants = Readonly<Record<'result' | 'operand' | 'operandLeast', number>>;

/** A bound on results in a local: there is none below it while the short ways are closed. */
interface Most {
  readonly local: number;
  readonly type: 'i32' | 'i64' | 'v128';
  readonly bits: 32 | 64;
}

export class HotFloat {
  readonly facts = new FloatFacts();
  readonly #f: FunctionBody;
  readonly #locals: FloatLocals;
  readonly #temporaries: FloatTemporaries;
  readonly #helper: (name: string) => number;
  /** Locals that hold the bounds in all lanes. */
  readonly #constants = new Map<number, Constants>();
  /** By the letters of the format. */
  readonly #most = new Map<string, Most>();

  constructor(
    f: FunctionBody,
    locals: FloatLocals,
    temporaries: FloatTemporaries,
    helper: (name: string) => number,
  ) {
    this.#f = f;
    this.#locals = locals;
    this.#temporaries = temporaries;
    this.#helper = helper;
  }

  /** At the entry: what all operations have in common. */
  begin(helpers: Iterable<string>): void {
    for (const name of helpers) {
      const kind = NAME.exec(name)?.[2] ?? '';
      const format = FORMATS[kind];
      if (format === undefined || this.#most.has(kind)) continue;
      const { bits, lanes } = format;
      const type = lanes ? 'v128' : bits === 64 ? 'i64' : 'i32';
      this.#most.set(kind, { local: this.#f.local(type), type, bits });
      if (!lanes) continue;
      const { result, operand, operandLeast } = BOUNDS[bits];
      this.#constants.set(bits, {
        result: this.#splat(bits, result),
        operand: this.#splat(bits, operand),
        operandLeast: this.#splat(bits, operandLeast),
      });
    }
  }

  /** A local with a constant in all lanes. */
  #splat(bits: 32 | 64, value: bigint): number {
    const local = this.#f.local('v128');
    this.#pushConstant('v128', bits, value);
    this.#f.set(local);
    return local;
  }

  #pushConstant(type: Most['type'], bits: 32 | 64, value: bigint): void {
    const f = this.#f;
    const narrow = Number(BigInt.asIntN(32, value));
    if (type === 'i64') f.i64(value);
    else if (type === 'i32') f.i32(narrow);
    else {
      const bytes = new Uint8Array(16);
      const view = new DataView(bytes.buffer);
      for (let at = 0; at < 16; at += bits / 8)
        if (bits === 64) view.setBigInt64(at, value, true);
        else view.setInt32(at, narrow, true);
      f.op(0xfd0c).code.raw(bytes);
    }
  }

  /** Opens or closes the short ways, as `usual` says. */
  #open(): void {
    const f = this.#f;
    for (const { local, type, bits } of this.#most.values()) {
      this.#pushConstant(type, bits, BOUNDS[bits].resultMost);
      this.#pushConstant(type, bits, -1n << BigInt(bits - 1));
      f.get(this.#locals.usual).op(0x1b).set(local);
    }
  }

  #look(): void {
    const { cpu, usual } = this.#locals;
    this.#f.get(cpu).mem(0x28, S_MXCSR).i32(USUAL_BITS).op(0x71).i32(USUAL).op(0x46).set(usual);
    this.#open();
    this.facts.stale = false;
  }

  /** Pushes the result of a call; `args` are locals. */
  call(inst: Inst, name: string, args: readonly number[]): void {
    if (isCompareHelper(name)) {
      emitCompare(name, args, this.#f, this.#temporaries, () => this.#callHelper(name, args, []));
      return;
    }
    if (isTruncateHelper(name)) {
      this.#truncate(inst, name, args);
      return;
    }
    const [a, b] = args as [number, number];
    const [, operation, kind] = NAME.exec(name) ?? [];
    const format = FORMATS[kind ?? ''];
    const how = OPERATIONS[operation ?? ''];
    const f = this.#f;
    if (this.facts.stale) this.#look();
    // A branch for each condition costs less than to add them up.
    f.block('v128').block();
    if (format === undefined || how === undefined) this.#fromInteger(a, b);
    else {
      const unknown = how.unary === true ? [] : this.facts.isKnown(inst, 0) ? [] : [a];
      if (!this.facts.isKnown(inst, 1)) unknown.push(b);
      const way = { how, wide: format.bits === 64, most: this.#mostOf(kind), a, b, unknown };
      if (format.lanes) this.#vector(way);
      else this.#scalar(way);
    }
    f.br(1).end();
    this.#callHelper(name, args, how?.unary === true ? [b, b] : [a, b]);
    f.end();
  }

  #truncate(inst: Inst, name: string, args: readonly number[]): void {
    const [wide, truncate] = inst.args.slice(1).map(({ attr }) => Number(attr.imm ?? 0) === 1);
    const pushSlow = () => this.#callHelper(name, args, []);
    if (!truncate) {
      pushSlow();
      return;
    }
    if (this.facts.stale) this.#look();
    const [vector = 0] = args;
    const number = this.#temporaries.take('f64');
    const { usual } = this.#locals;
    emitTruncate(name, { f: this.#f, usual, vector, wide: wide === true, number }, pushSlow);
  }

  #mostOf(kind: string | undefined): number {
    const most = this.#most.get(kind ?? '');
    if (most === undefined) throw new Error(`codegen: no bounds for ${kind}`);
    return most.local;
  }

  /** Pushes the helper's result. */
  #callHelper(name: string, args: readonly number[], operands: readonly number[]): void {
    const { cpu, usual } = this.#locals;
    const f = this.#f.get(cpu);
    for (const arg of args) f.get(arg);
    f.call(this.#helper(name));
    const check = usualHelperOf(name);
    if (check === undefined) return;
    const r = this.#temporaries.take('v128');
    f.set(r).get(cpu);
    for (const operand of operands) f.get(operand);
    f.get(r).call(this.#helper(check)).get(usual).op(0x71).set(usual);
    this.#open();
    f.get(r);
  }

  /** Leaves it to the helper when what has been pushed is not 0. */
  #slowIf(): void {
    this.#f.hint(false).brIf(0);
  }

  /** Integers of at most 53 bits are exact. */
  #fromInteger(vector: number, value: number): void {
    const f = this.#f;
    f.get(value)
      .i64(1n << 53n)
      .op(0x7c)
      .i64(1n << 54n)
      .op(0x5a);
    this.#slowIf();
    f.get(vector).get(value).op(0xb9).op(0xfd22).code.byte(0);
  }

  /**
   * On where the result may stand. `pushOdd` pushes whether it is not normal, `pushInexact` whether it is not an exact
   * zero either.
   */
  #accept(zero: ExactZero, pushOdd: () => void, pushInexact: () => void): void {
    const f = this.#f;
    if (zero === 'unknown') {
      pushOdd();
      this.#slowIf();
      return;
    }
    f.block();
    pushOdd();
    f.op(0x45).hint(true).brIf(0);
    f.get(this.#locals.usual).op(0x45).brIf(1);
    pushInexact();
    f.brIf(1).end();
  }

  // ---- one element

  #scalar({ how, wide, most, a, b, unknown }: Way): void {
    const f = this.#f;
    const type = wide ? 'f64' : 'f32';
    const of = new Map<number, number>();
    const element = (vector: number): number => {
      const known = of.get(vector) ?? this.#temporaries.take(type);
      if (!of.has(vector)) {
        f.get(vector)
          .op(wide ? 0xfd21 : 0xfd1f)
          .code.byte(0);
        f.set(known);
        of.set(vector, known);
      }
      return known;
    };
    const operands = how.unary === true ? [element(b)] : [element(a), element(b)];
    const r = this.#temporaries.take(type);
    for (const operand of operands) f.get(operand);
    f.op(how.codes[wide ? 1 : 0]).set(r);
    const { operand: by, operandLeast, result } = BOUNDS[wide ? 64 : 32];
    for (const vector of unknown) {
      this.#pushDoubled(element(vector), wide, by);
      if (wide) f.i64(operandLeast).op(0x53);
      else f.i32(Number(operandLeast)).op(0x48);
      this.#slowIf();
    }
    this.#accept(
      how.zero,
      () => {
        this.#pushDoubled(r, wide, result);
        f.get(most).op(wide ? 0x55 : 0x4a);
      },
      () => {
        const isZero = (local: number) => this.#pushIsZero(local, wide);
        isZero(r);
        if (how.zero === 'of-zero') {
          operands.forEach(isZero);
          f.op(0x72).op(0x71);
        }
        f.op(0x45);
      },
    );
    f.get(a)
      .get(r)
      .op(wide ? 0xfd22 : 0xfd20)
      .code.byte(0);
  }

  #pushIsZero(local: number, wide: boolean): void {
    const f = this.#f.get(local);
    if (wide) f.op(0x44).code.raw(new Uint8Array(8));
    else f.op(0x43).code.raw(new Uint8Array(4));
    f.op(wide ? 0x61 : 0x5b);
  }

  /** Pushes the bits of a number without its sign, shifted left by one, plus `by`. */
  #pushDoubled(local: number, wide: boolean, by: bigint): void {
    const f = this.#f.get(local);
    if (wide) f.op(0xbd).i64(1).op(0x86).i64(by).op(0x7c);
    else f.op(0xbc).i32(1).op(0x74).i32(Number(by)).op(0x6a);
  }

  // ---- all elements

  #vector({ how, wide, most, a, b, unknown }: Way): void {
    const f = this.#f;
    const constants = this.#constants.get(wide ? 64 : 32);
    if (constants === undefined) throw new Error('codegen: no bounds for these lanes');
    const [eq, greater] = wide ? [0xfd47, 0xfdd9] : [0xfd41, 0xfd3b];
    const [AND, ANDNOT, OR] = [0xfd4e, 0xfd4f, 0xfd50];
    // V8 makes fewer instructions of a mask's bits than of v128.any_true.
    const ANY = wide ? 0xfdc4 : 0xfda4;
    const r = this.#temporaries.take('v128');
    if (how.unary !== true) f.get(a);
    f.get(b)
      .op(how.codes[wide ? 3 : 2])
      .set(r);
    for (const [i, operand] of unknown.entries()) {
      f.get(constants.operandLeast);
      this.#pushDoubledLanes(operand, wide, constants.operand);
      f.op(greater);
      if (i > 0) f.op(OR);
    }
    if (unknown.length > 0) {
      f.op(ANY);
      this.#slowIf();
    }
    const pushOdd = () => {
      this.#pushDoubledLanes(r, wide, constants.result);
      f.get(most).op(greater);
    };
    const pushZeros = (local: number) => f.get(local).get(this.#zero()).op(eq);
    this.#accept(
      how.zero,
      () => {
        pushOdd();
        f.op(ANY);
      },
      () => {
        pushOdd();
        pushZeros(r);
        if (how.zero === 'of-zero') {
          pushZeros(a);
          pushZeros(b).op(OR).op(AND);
        }
        f.op(ANDNOT).op(ANY);
      },
    );
    f.get(r);
  }

  /** A local that is never set. */
  #zero(): number {
    this.#zeroes ??= this.#f.local('v128');
    return this.#zeroes;
  }

  #zeroes: number | undefined;

  #pushDoubledLanes(local: number, wide: boolean, by: number): void {
    this.#f
      .get(local)
      .i32(1)
      .op(wide ? 0xfdcb : 0xfdab)
      .get(by)
      .op(wide ? 0xfdce : 0xfdae);
  }
}

/** How one operation is emitted. */
interface Way {
  readonly how: Operation;
  readonly wide: boolean;
  /** The local of the bound on results. */
  readonly most: number;
  readonly a: number;
  readonly b: number;
  /** Operands of which nothing is known. */
  readonly unknown: readonly number[];
}
