import type { FlagKind, Inst } from '#ir/block.ts';
import { type FlagOperation, pushAux, pushCondition, pushRes, type RawFlags } from './flags.ts';
import { type SignPart, signParts } from './sign-parts.ts';
import { bitsOf } from './value-bits.ts';
import type { FunctionBody } from './wasm.ts';

/**
 * Where the flags are: computed (`raw`), in the operands of the last operation, in either of these (`mixed`: a local says
 * which, for loops that are entered with computed ones), or in values not yet computed. `carry` is what a node that needs CF
 * alone begins with: CF in a local (`saveCarry`), whatever form the ways there had.
 */
export type FlagForm =
  | { readonly at: 'raw' }
  | { readonly at: 'carry' }
  | { readonly at: 'operation' | 'mixed'; readonly kind: FlagKind; readonly size: number }
  | {
      readonly at: 'values';
      readonly res: Inst;
      readonly aux: Inst;
      /** Locals of what the values are computed from. */
      readonly leaves: ReadonlyMap<Inst, number>;
      /** The flags before, where the values are computed from them too. */
      readonly before: FlagForm | undefined;
    };

export type FlagValues = FlagForm & { readonly at: 'values' };

export const RAW: FlagForm = { at: 'raw' };
export const CARRY: FlagForm = { at: 'carry' };

export function sameForm(a: FlagForm, b: FlagForm): boolean {
  return a.at === b.at && (a.at === 'raw' || a.at === 'carry' || isSameOperation(a, b));
}

/** True when both have the operands of operations of the same kind, in the same locals. */
export function isSameOperation(a: FlagForm, b: FlagForm): boolean {
  const known = ['operation', 'mixed'];
  if (!known.includes(a.at) || !known.includes(b.at)) return false;
  return 'kind' in a && 'kind' in b && a.kind === b.kind && a.size === b.size;
}

/** How many `values` a form consists of: itself and those before it. */
export function depthOf(form: FlagForm | undefined): number {
  return form?.at === 'values' ? 1 + depthOf(form.before) : 0;
}

const CC_CARRY = 2;
const I32_STORED = { a: 'a32', b: 'b32', r: 'r32' } as const;
const I64_STORED = { a: 'a64', b: 'b64', r: 'r64' } as const;

/** Locals that carry the flags from node to node. */
export interface FlagLocals {
  readonly res: number;
  readonly aux: number;
  readonly a32: number;
  readonly b32: number;
  readonly r32: number;
  readonly a64: number;
  readonly b64: number;
  readonly r64: number;
  readonly scratch: number;
  /** In the mixed form: not 0 while the flags are computed. */
  readonly isRaw: number;
  /** In the form `carry`: CF, 0 or 1. */
  readonly carry: number;
}

/** The flags of a region while it is emitted: kept as the operands of the last operation until something reads them. */
export class HotFlags {
  form: FlagForm = RAW;
  readonly #f: FunctionBody;
  readonly #locals: FlagLocals;
  readonly #pushValue: (inst: Inst, form: FlagValues) => void;

  /** `pushValue` pushes a value of the `values` form. */
  constructor(
    f: FunctionBody,
    locals: FlagLocals,
    pushValue: (inst: Inst, form: FlagValues) => void,
  ) {
    this.#f = f;
    this.#locals = locals;
    this.#pushValue = pushValue;
  }

  /** Records an operation; `push` pushes its operand. */
  record(kind: FlagKind, size: number, push: (which: 'a' | 'b' | 'result') => void): void {
    const f = this.#f;
    const names = size === 8 ? I64_STORED : I32_STORED;
    const locals = this.#locals;
    if (kind === 'inc' || kind === 'dec') {
      this.pushCondition(CC_CARRY);
      push('result');
      f.set(locals[names.r]).set(locals.b32);
    } else if (kind === 'logic') {
      push('result');
      f.set(locals[names.r]);
    } else {
      push('a');
      push('b');
      const carried = kind === 'adc' || kind === 'sbb';
      if (carried) {
        push('result');
        f.set(locals[names.r]);
      }
      f.set(locals[names.b]).set(locals[names.a]);
    }
    this.form = { at: 'operation', kind, size };
  }

  /** Puts CF into the local of the form `carry`, and leaves the flags in the form they have. */
  saveCarry(): void {
    this.pushCondition(CC_CARRY);
    this.#f.set(this.#locals.carry);
  }

  /** Computes the flags into the locals of the raw form. */
  settle(): void {
    if (this.form.at === 'raw') return;
    const { res, aux } = this.#raw();
    res();
    aux();
    this.#f.set(this.#locals.aux).set(this.#locals.res);
    this.form = RAW;
  }

  /** Brings the flags into the form that a node expects where several edges meet. */
  become(form: FlagForm): void {
    if (sameForm(this.form, form)) return;
    if (form.at === 'raw') {
      this.settle();
      return;
    }
    if (form.at !== 'mixed') throw new Error(`codegen: flags that are ${this.form.at} on an edge`);
    const isOperation = isSameOperation(this.form, form);
    if (!isOperation) this.settle();
    this.#f.i32(isOperation ? 0 : 1).set(this.#locals.isRaw);
    this.form = form;
  }

  pushRes(form = this.form): void {
    this.#raw(form).res();
  }

  pushAux(form = this.form): void {
    this.#raw(form).aux();
  }

  pushCondition(cc: number): void {
    const { form } = this;
    if (cc >> 1 === CC_CARRY >> 1 && this.#pushCarry()) {
      if (cc !== CC_CARRY) this.#f.op(0x45);
    } else if (form.at === 'mixed') this.#pushMixed(form.kind, form.size, cc);
    else if (form.at !== 'operation' || !this.#direct(form.kind, form.size, cc))
      pushCondition(this.#f, this.#raw(), cc);
  }

  /** CF where it is short; false where it has to be got from AUX or the operands. */
  #pushCarry(): boolean {
    const { form } = this;
    const f = this.#f;
    if (form.at === 'carry') {
      f.get(this.#locals.carry);
      return true;
    }
    if (form.at !== 'values') return false;
    signParts(form.aux).forEach((part, i) => {
      this.#pushSign(part, form);
      if (i > 0) f.op(0x72);
    });
    if (signParts(form.aux).length === 0) f.i32(0);
    return true;
  }

  #pushSign({ value, isBit }: SignPart, form: FlagValues): void {
    this.#pushValue(value, form);
    if (isBit) {
      this.#f.op(0xa7);
      if (bitsOf(value) > 1) this.#f.i32(1).op(0x71);
    } else this.#f.i64(0).op(0x53);
  }

  #pushMixed(kind: FlagKind, size: number, cc: number): void {
    const f = this.#f;
    f.get(this.#locals.isRaw).if('i32');
    pushCondition(f, this.#settled(), cc);
    f.else();
    if (!this.#direct(kind, size, cc)) pushCondition(f, this.#computed(kind, size), cc);
    f.end();
  }

  #raw(form = this.form): RawFlags {
    const f = this.#f;
    if (form.at === 'carry')
      throw new Error('codegen: more than CF is read where CF alone is kept');
    if (form.at === 'raw') return this.#settled();
    if (form.at === 'values') {
      return {
        res: () => this.#pushValue(form.res, form),
        aux: () => this.#pushValue(form.aux, form),
      };
    }
    const computed = this.#computed(form.kind, form.size);
    if (form.at === 'operation') return computed;
    const settled = this.#settled();
    const either = (which: keyof RawFlags) => () => {
      f.get(this.#locals.isRaw).if('i64');
      settled[which]();
      f.else();
      computed[which]();
      f.end();
    };
    return { res: either('res'), aux: either('aux') };
  }

  #settled(): RawFlags {
    const f = this.#f;
    return { res: () => f.get(this.#locals.res), aux: () => f.get(this.#locals.aux) };
  }

  /** Those of an operation whose operands are kept. */
  #computed(kind: FlagKind, size: number): RawFlags {
    const operation = this.#operation(kind, size);
    return {
      res: () => pushRes(this.#f, operation),
      aux: () => pushAux(this.#f, operation, this.#locals.scratch),
    };
  }

  #operation(kind: FlagKind, size: number): FlagOperation {
    const f = this.#f;
    const names = size === 8 ? I64_STORED : I32_STORED;
    const get = (which: 'a' | 'b' | 'r') => f.get(this.#locals[names[which]]);
    const result = () => {
      if (kind !== 'add' && kind !== 'sub') {
        get('r');
        return;
      }
      get('a');
      get('b');
      f.op((kind === 'add' ? 0x6a : 0x6b) + (size === 8 ? 0x12 : 0));
      if (size < 4) f.i32(size === 1 ? 0xff : 0xffff).op(0x71);
    };
    return {
      kind,
      size,
      a: () => get('a'),
      b: () => get('b'),
      result,
      carry: () => f.get(this.#locals.b32),
    };
  }

  /** Pushes a condition straight from the operands; false where that has no short form. */
  #direct(kind: FlagKind, size: number, cc: number): boolean {
    const negated = (cc & 1) !== 0;
    const pushed =
      kind === 'sub'
        ? this.#ofDifference(size, cc >> 1, negated)
        : this.#ofResult(kind, size, cc >> 1);
    if (!pushed) return false;
    if (kind !== 'sub' && negated) this.#f.op(0x45);
    return true;
  }

  /** After SUB and CMP: a comparison of the operands, negated by another one. */
  #ofDifference(size: number, condition: number, negated: boolean): boolean {
    const f = this.#f;
    const operation = this.#operation('sub', size);
    // Comparisons of i32 in the order eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u; i64's are 11 on.
    const codes: Readonly<Record<number, readonly [number, number, boolean]>> = {
      1: [0x49, 0x4f, false],
      2: [0x46, 0x47, false],
      3: [0x4d, 0x4b, false],
      6: [0x48, 0x4e, true],
      7: [0x4c, 0x4a, true],
    };
    const code = codes[condition];
    if (code !== undefined) {
      const [yes, no, signed] = code;
      for (const operand of [operation.a, operation.b]) {
        operand();
        if (signed && size < 4) f.op(size === 1 ? 0xc0 : 0xc1);
      }
      f.op((negated ? no : yes) + (size === 8 ? 11 : 0));
      return true;
    }
    if (condition !== 4) return false;
    this.#pushSigned(operation, size);
    this.#compareZero(size, negated ? 0x4e : 0x48);
    return true;
  }

  #pushSigned(operation: FlagOperation, size: number): void {
    operation.result();
    if (size < 4) this.#f.op(size === 1 ? 0xc0 : 0xc1);
  }

  #compareZero(size: number, code: number): void {
    if (size === 8) this.#f.i64(0).op(code + 11);
    else this.#f.i32(0).op(code);
  }

  /** After other operations: what the result alone says, and the carry of ADD, INC and DEC. Not yet negated. */
  #ofResult(kind: FlagKind, size: number, condition: number): boolean {
    const f = this.#f;
    const operation = this.#operation(kind, size);
    const isLogic = kind === 'logic';
    if (condition === 2 || (isLogic && condition === 3)) {
      operation.result();
      f.op(size === 8 ? 0x50 : 0x45);
      return true;
    }
    if (condition === 4 || (isLogic && (condition === 6 || condition === 7))) {
      this.#pushSigned(operation, size);
      this.#compareZero(size, condition === 7 ? 0x4c : 0x48);
      return true;
    }
    if (isLogic && condition <= 1) {
      f.i32(0);
      return true;
    }
    if (condition !== 1) return false;
    if (kind === 'inc' || kind === 'dec') {
      operation.carry();
      return true;
    }
    if (kind !== 'add') return false;
    operation.result();
    operation.a();
    f.op(size === 8 ? 0x54 : 0x49);
    return true;
  }
}
