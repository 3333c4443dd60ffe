import type { FunctionBody } from './wasm.ts';

// What programs do nearly always, for both tiers: the x87's sums and products of normal numbers, 64 bits rounded to
// nearest, its numbers rounded to doubles and floats, and these widened. Whatever is not such a case leaves the innermost block.

const SIGN = 0x8000;
const EXP = 0x7fff;
const BIAS = 0x3fff;
/** One less than the integer bit: added to what is cut off, with the last bit kept, it carries where that rounds up. */
const ALMOST_HALF = (1n << 63n) - 1n;
const LOW32 = 0xffffffffn;
const INTEGER = 1n << 63n;
const REBIAS64 = 0x3c00;
const REBIAS32 = 0x3f80;

// ModRM.reg of D8.
const MUL = 1;
const SUB = 4;
const SUBR = 5;

/** Locals of a register: significand, and sign and exponent. */
export interface Slot {
  readonly sig: number;
  readonly se: number;
}

interface Locals {
  readonly f: FunctionBody;
  readonly take: (type: 'i32' | 'i64') => number;
  /** 1 while precision and rounding are those wanted; undefined where they are always. */
  readonly plain?: number;
  /** Set: 1 when the last result was rounded up; and bits that are not 0 once one was rounded. */
  readonly c1: number;
  readonly inexact: number;
}

/** A result before it is rounded: high:low, normalised; all are locals. */
interface Unrounded {
  readonly high: number;
  readonly low: number;
  readonly exp: number;
  readonly sign: number;
}

export class FpuArithmetic {
  readonly #cx: Locals;
  readonly #f: FunctionBody;

  constructor(cx: Locals) {
    this.#cx = cx;
    this.#f = cx.f;
  }

  /** Emits a `op` b; false where it is not done here. */
  compute(op: number, a: Slot, b: Slot, to: Slot): boolean {
    if (op > SUBR) return false;
    const f = this.#f;
    this.#slowUnlessPlain();
    const [ea, eb] = [this.#exponent(a), this.#exponent(b)];
    f.get(a.sig).get(b.sig).op(0x83).i64(0).op(0x59);
    this.#slowIf();
    if (op === MUL) this.#round(this.#product(a, b, ea, eb), to);
    else this.#round(this.#sum(op, a, b, ea, eb), to);
    return true;
  }

  #slowIf(): void {
    this.#f.hint(false).brIf(0);
  }

  #slowUnlessPlain(): void {
    if (this.#cx.plain === undefined) return;
    this.#f.get(this.#cx.plain).op(0x45);
    this.#slowIf();
  }

  /** The exponent of a number, which is a normal one if its integer bit is set. */
  #exponent({ se }: Slot): number {
    const exp = this.#cx.take('i32');
    this.#f.get(se).i32(EXP).op(0x71).tee(exp).i32(1).op(0x6b).i32(0x7ffe).op(0x4f);
    this.#slowIf();
    return exp;
  }

  #unrounded(): Unrounded {
    const { take } = this.#cx;
    return { high: take('i64'), low: take('i64'), exp: take('i32'), sign: take('i32') };
  }

  #product(a: Slot, b: Slot, ea: number, eb: number): Unrounded {
    const f = this.#f;
    const { take } = this.#cx;
    const to = this.#unrounded();
    const [a0, a1, b0, b1, mid, shift] = [
      take('i64'),
      take('i64'),
      take('i64'),
      take('i64'),
      take('i64'),
      take('i64'),
    ];
    for (const [{ sig }, low, high] of [
      [a, a0, a1],
      [b, b0, b1],
    ] as const) {
      f.get(sig).i64(LOW32).op(0x83).set(low);
      f.get(sig).i64(32).op(0x88).set(high);
    }
    f.get(a1).get(b0).op(0x7e).get(a0).get(b0).op(0x7e).i64(32).op(0x88).op(0x7c).set(mid);
    f.get(a1).get(b1).op(0x7e).get(mid).i64(32).op(0x88).op(0x7c);
    f.get(a0).get(b1).op(0x7e).get(mid).i64(LOW32).op(0x83).op(0x7c).i64(32).op(0x88).op(0x7c);
    f.tee(to.high).i64(63).op(0x88).i64(1).op(0x85).set(shift);
    f.get(a.sig).get(b.sig).op(0x7e).set(to.low);
    f.get(to.high).get(shift).op(0x86);
    f.get(to.low).i64(63).op(0x88).get(shift).op(0x83).op(0x84).set(to.high);
    f.get(to.low).get(shift).op(0x86).set(to.low);
    f.get(ea)
      .get(eb)
      .op(0x6a)
      .get(shift)
      .op(0xa7)
      .op(0x6b)
      .i32(BIAS - 1)
      .op(0x6b)
      .set(to.exp);
    f.get(a.se).get(b.se).op(0x73).i32(SIGN).op(0x71).set(to.sign);
    return to;
  }

  /** A sum: the smaller magnitude is shifted to the larger one. */
  #sum(op: number, a: Slot, b: Slot, ea: number, eb: number): Unrounded {
    const f = this.#f;
    const { take } = this.#cx;
    const to = this.#unrounded();
    const [swap, distance, differ] = [take('i32'), take('i32'), take('i32')];
    const [large, upper, lower, by] = [take('i64'), take('i64'), take('i64'), take('i64')];
    f.get(ea).get(eb).op(0x48);
    f.get(ea).get(eb).op(0x46).get(a.sig).get(b.sig).op(0x54).op(0x71).op(0x72).set(swap);
    f.get(eb).get(ea).op(0x6b).get(ea).get(eb).op(0x6b).get(swap).op(0x1b).tee(distance);
    f.i32(63).op(0x4b);
    this.#slowIf();
    f.get(distance).op(0xad).set(by);
    f.get(b.sig).get(a.sig).get(swap).op(0x1b).set(large);
    f.get(a.sig).get(b.sig).get(swap).op(0x1b).tee(upper);
    f.i64(1).op(0x86).i64(63).get(by).op(0x7d).op(0x86).set(lower);
    f.get(upper).get(by).op(0x88).set(upper);
    // The sign of the larger one, and whether the other's is another.
    for (const [{ se }, flips] of [
      [b, op === SUB],
      [a, op === SUBR],
    ] as const) {
      f.get(se);
      if (flips) f.i32(SIGN).op(0x73);
    }
    f.get(swap).op(0x1b).i32(SIGN).op(0x71).set(to.sign);
    f.get(a.se).get(b.se).op(0x73);
    if (op === SUB || op === SUBR) f.i32(SIGN).op(0x73);
    f.i32(SIGN).op(0x71).set(differ);
    f.get(eb).get(ea).get(swap).op(0x1b).set(to.exp);
    f.get(differ).if();
    this.#difference(to, { large, upper, lower });
    f.else();
    this.#total(to, { large, upper, lower });
    f.end();
    return to;
  }

  #difference(to: Unrounded, { large, upper, lower }: Parts): void {
    const f = this.#f;
    const zeros = this.#cx.take('i64');
    f.get(large).get(upper).op(0x7d).get(lower).i64(0).op(0x52).op(0xad).op(0x7d).tee(to.high);
    f.op(0x50).hint(false).brIf(1);
    f.i64(0).get(lower).op(0x7d).set(to.low);
    f.get(to.high).op(0x79).set(zeros);
    f.get(to.high).get(zeros).op(0x86);
    f.get(to.low).i64(1).op(0x88).i64(63).get(zeros).op(0x7d).op(0x88).op(0x84).set(to.high);
    f.get(to.low).get(zeros).op(0x86).set(to.low);
    f.get(to.exp).get(zeros).op(0xa7).op(0x6b).set(to.exp);
  }

  #total(to: Unrounded, { large, upper, lower }: Parts): void {
    const f = this.#f;
    const carry = this.#cx.take('i64');
    f.get(large).get(upper).op(0x7c).tee(to.high).get(upper).op(0x54).op(0xad).set(carry);
    // A carry moves the last bit on; what lies below it counts only as a whole.
    f.get(lower).get(carry).op(0x88);
    f.get(to.high).i64(63).op(0x86).get(lower).i64(1).op(0x83).op(0x84);
    f.i64(0).get(carry).op(0x7d).op(0x83).op(0x84).set(to.low);
    f.get(to.high).get(carry).op(0x88).get(carry).i64(63).op(0x86).op(0x84).set(to.high);
    f.get(to.exp).get(carry).op(0xa7).op(0x6a).set(to.exp);
  }

  #round({ high, low, exp, sign }: Unrounded, to: Slot): void {
    const f = this.#f;
    const { take, c1, inexact } = this.#cx;
    const [up, carry, e] = [take('i32'), take('i32'), take('i32')];
    const sig = take('i64');
    f.get(low).i64(ALMOST_HALF).op(0x7c).get(high).i64(1).op(0x83).op(0x7c).get(low).op(0x54);
    f.tee(up).op(0xad).get(high).op(0x7c).tee(sig).op(0x50).tee(carry);
    f.get(exp).op(0x6a).tee(e).i32(1).op(0x6b).i32(0x7ffe).op(0x4f);
    this.#slowIf();
    f.get(sig).get(carry).op(0xad).i64(63).op(0x86).op(0x84).set(to.sig);
    f.get(sign).get(e).op(0x72).set(to.se);
    f.get(up).set(c1).get(inexact).get(low).op(0x84).set(inexact);
  }

  /** A double or float, given by its bits, to a slot; what is no normal number leaves the innermost block. */
  widen(bits: number, wide: boolean, to: Slot): void {
    const f = this.#f;
    const exp = this.#cx.take('i32');
    if (wide) f.get(bits).i64(52).op(0x88).op(0xa7).i32(0x7ff);
    else f.get(bits).i32(23).op(0x76).i32(0xff);
    f.op(0x71)
      .tee(exp)
      .i32(1)
      .op(0x6b)
      .i32(wide ? 0x7fe : 0xfe)
      .op(0x4f);
    this.#slowIf();
    f.get(bits);
    if (!wide) f.op(0xad);
    f.i64(wide ? 11 : 40)
      .op(0x86)
      .i64(INTEGER)
      .op(0x84)
      .set(to.sig);
    f.get(bits);
    if (wide) f.i64(48).op(0x88).op(0xa7);
    else f.i32(16).op(0x76);
    f.i32(SIGN).op(0x71).get(exp);
    f.i32(wide ? REBIAS64 : REBIAS32)
      .op(0x6a)
      .op(0x72)
      .set(to.se);
  }

  /** A normal number, well inside the range, as the bits of a double or float. */
  narrow({ sig, se }: Slot, wide: boolean, bits: number): void {
    const f = this.#f;
    const { take, c1, inexact } = this.#cx;
    const drop = wide ? 11 : 40;
    const [exp, up] = [take('i32'), take('i64')];
    this.#slowUnlessPlain();
    f.get(se)
      .i32(EXP)
      .op(0x71)
      .i32(wide ? 0x3c01 : 0x3f81)
      .op(0x6b)
      .tee(exp);
    f.i32(wide ? 0x7fd : 0xfd).op(0x4f);
    this.#slowIf();
    f.get(sig).i64(0).op(0x59);
    this.#slowIf();
    f.get(sig)
      .i64((1n << BigInt(drop - 1)) - 1n)
      .op(0x83)
      .i64(0)
      .op(0x52)
      .op(0xad);
    f.get(sig).i64(drop).op(0x88).op(0x84);
    f.get(sig)
      .i64(drop - 1)
      .op(0x88)
      .op(0x83)
      .i64(1)
      .op(0x83)
      .tee(up);
    f.get(sig).i64(drop).op(0x88).op(0x7c);
    f.get(exp)
      .op(0xad)
      .i64(wide ? 52 : 23)
      .op(0x86)
      .op(0x7c);
    f.get(se)
      .i32(SIGN)
      .op(0x71)
      .op(0xad)
      .i64(wide ? 48 : 16)
      .op(0x86)
      .op(0x84)
      .set(bits);
    f.get(up).op(0xa7).set(c1);
    f.get(inexact)
      .get(sig)
      .i64(64 - drop)
      .op(0x86)
      .op(0x84)
      .set(inexact);
  }
}

interface Parts {
  readonly large: number;
  readonly upper: number;
  readonly lower: number;
}
