import { S_MXCSR } from '#ir/state.ts';
import type { FunctionBody } from './wasm.ts';

// SSE arithmetic in a region: the host's own result stands where nobody can tell it from the exact one (the conditions
// are those of core/sse-arith.ts, told there); else the helper of the same name does it.

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
/** WebAssembly opcodes: f32 and f64, f32x4 and f64x2. */
const OPERATIONS: Readonly<Record<string, readonly [number, number, number, number]>> = {
  add: [0x92, 0xa0, 0xfde4, 0xfdf0],
  sub: [0x93, 0xa1, 0xfde5, 0xfdf1],
  mul: [0x94, 0xa2, 0xfde6, 0xfdf2],
  div: [0x95, 0xa3, 0xfde7, 0xfdf3],
};
const NAME = /^sse_(add|sub|mul|div)_([ps][sd])$/;

/** True for helpers that `HotFloat` has a short way for. */
export function isFloatHelper(name: string): boolean {
  return NAME.test(name) || name === 'sse_from_i64_sd';
}

/** Locals that a region's floating point needs. */
export interface FloatLocals {
  readonly cpu: number;
  /** 1 while MXCSR is as the short ways want it. */
  readonly usual: number;
}

export interface FloatTemporaries {
  take(type: 'i32' | 'i64' | 'f32' | 'f64' | 'v128'): number;
}

export class HotFloat {
  readonly #f: FunctionBody;
  readonly #locals: FloatLocals;
  readonly #temporaries: FloatTemporaries;

  constructor(f: FunctionBody, locals: FloatLocals, temporaries: FloatTemporaries) {
    this.#f = f;
    this.#locals = locals;
    this.#temporaries = temporaries;
  }

  /** Looks at MXCSR: at the entry, and after whatever may have changed it. */
  look(): void {
    const { cpu, usual } = this.#locals;
    this.#f.get(cpu).mem(0x28, S_MXCSR).i32(USUAL_BITS).op(0x71).i32(USUAL).op(0x46).set(usual);
  }

  /** Pushes the helper's result; `args` are locals, `helper` its function. */
  call(name: string, args: readonly number[], helper: number): void {
    const [a = 0, b = 0] = args;
    const [, operation, kind] = NAME.exec(name) ?? [];
    const format = FORMATS[kind ?? ''];
    const codes = OPERATIONS[operation ?? ''];
    // A branch for each condition costs less than to add them up.
    this.#f.block('v128').block();
    if (format === undefined || codes === undefined) this.#fromInteger(a, b);
    else if (format.lanes) this.#vector(format.bits, codes, a, b);
    else this.#scalar(format.bits, codes, a, b);
    this.#f.br(1).end().get(this.#locals.cpu);
    for (const arg of args) this.#f.get(arg);
    this.#f.call(helper);
    this.look();
    this.#f.end();
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

  #scalar(
    bits: 32 | 64,
    codes: readonly [number, number, number, number],
    a: number,
    b: number,
  ): void {
    const f = this.#f;
    const wide = bits === 64;
    const type = wide ? 'f64' : 'f32';
    const x = this.#temporaries.take(type);
    const y = this.#temporaries.take(type);
    const r = this.#temporaries.take(type);
    const extract = wide ? 0xfd21 : 0xfd1f;
    f.get(a).op(extract).code.byte(0);
    f.set(x).get(b).op(extract).code.byte(0);
    f.set(y)
      .get(x)
      .get(y)
      .op(codes[wide ? 1 : 0])
      .set(r);
    f.get(this.#locals.usual).op(0x45);
    this.#slowIf();
    for (const operand of [x, y]) this.#unlessNotDenormal(operand, wide);
    this.#unlessNormal(r, wide);
    f.get(a)
      .get(r)
      .op(wide ? 0xfd22 : 0xfd20)
      .code.byte(0);
  }

  /** Pushes the bits of a number without its sign, shifted left by one. */
  #pushMagnitude(local: number, wide: boolean): void {
    const f = this.#f.get(local);
    if (wide) f.op(0xbd).i64(1).op(0x86);
    else f.op(0xbc).i32(1).op(0x74);
  }

  /** On for zero, or at least the least normal number; an infinity or NaN shows in the result. */
  #unlessNotDenormal(local: number, wide: boolean): void {
    const f = this.#f;
    this.#pushMagnitude(local, wide);
    if (wide)
      f.i64(1)
        .op(0x7d)
        .i64((1n << 53n) - 1n)
        .op(0x54);
    else f.i32(1).op(0x6b).i32(0x00ffffff).op(0x49);
    this.#slowIf();
  }

  /** On for what is finite, and more than the least normal number. */
  #unlessNormal(local: number, wide: boolean): void {
    const f = this.#f;
    this.#pushMagnitude(local, wide);
    if (wide)
      f.i64((1n << 53n) + 2n)
        .op(0x7d)
        .i64(0xffc0000000000000n - 2n)
        .op(0x5a);
    else
      f.i32(0x01000002)
        .op(0x6b)
        .i32(0xfe000000 - 2)
        .op(0x4f);
    this.#slowIf();
  }

  #vector(
    bits: 32 | 64,
    codes: readonly [number, number, number, number],
    a: number,
    b: number,
  ): void {
    const f = this.#f;
    const wide = bits === 64;
    const r = this.#temporaries.take('v128');
    const m = this.#temporaries.take('v128');
    // Of f32x4 and f64x2: eq, gt, ge, lt, abs.
    const [eq, gt, ge, lt, abs] = wide
      ? [0xfd47, 0xfd4a, 0xfd4c, 0xfd49, 0xfdec]
      : [0xfd41, 0xfd44, 0xfd46, 0xfd43, 0xfde0];
    const AND = 0xfd4e;
    const OR = 0xfd50;
    f.get(a)
      .get(b)
      .op(codes[wide ? 3 : 2])
      .set(r);
    f.get(this.#locals.usual);
    f.get(r).op(abs).tee(m);
    this.#splat(wide, 'least');
    f.op(gt).get(m);
    this.#splat(wide, 'infinity');
    f.op(lt).op(AND);
    for (const operand of [a, b]) {
      f.get(operand).op(abs).tee(m);
      this.#splat(wide, 'least');
      f.op(ge).get(m);
      this.#splat(wide, 'zero');
      f.op(eq).op(OR).op(AND);
    }
    // i32x4 or i64x2 all_true
    f.op(wide ? 0xfdc3 : 0xfda3)
      .op(0x71)
      .op(0x45);
    this.#slowIf();
    f.get(r);
  }

  #splat(wide: boolean, what: 'least' | 'infinity' | 'zero'): void {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    const high = {
      least: wide ? 0x00100000 : 0x00800000,
      infinity: wide ? 0x7ff00000 : 0x7f800000,
      zero: 0,
    };
    for (let at = wide ? 4 : 0; at < 16; at += wide ? 8 : 4) view.setUint32(at, high[what], true);
    this.#f.op(0xfd0c).code.raw(bytes);
  }
}
