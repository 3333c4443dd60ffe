import type { Inst } from '#ir/block.ts';
import {
  REC_START,
  S_FPU_CONTROL,
  S_FPU_EMPTY,
  S_FPU_IP,
  S_FPU_KEEPS_SELECTORS,
  S_FPU_REGS,
  S_FPU_STATUS,
  S_FPU_TOP,
  S_RIP,
} from '#ir/state.ts';
import { FpuArithmetic, type Slot } from './fpu-arithmetic.ts';
import type { LocalPool } from './local-pool.ts';
import type { FunctionBody } from './wasm.ts';

// The x87's commonest instructions in the interpreter's handlers, where nothing is special: registers full or empty as they
// should be, no exception that waits. Whatever is not such a case leaves the innermost block, with nothing changed.

const [I32_LOAD, I64_LOAD, I32_STORE, I64_STORE] = [0x28, 0x29, 0x36, 0x37];
const [U16_LOAD, I16_STORE] = [0x2f, 0x3b];
const ES = 0x80;
const C1 = 0x200;
/** All exceptions masked, precision of 64 bits, rounding to nearest. */
const CONTROL_BITS = 0xf3f;
const CONTROL_PLAIN = 0x33f;
const LAST_SUM = 5; // ModRM.reg of D8: behind it come quotients

interface ColdFpuContext {
  readonly f: FunctionBody;
  readonly pool: LocalPool;
  /** Locals that hold the CPU's and the record's address. */
  readonly cpu: number;
  readonly rec: number;
  /** Pushes the linear-memory address of a store of `width` bytes; leaves the innermost block where there is none. */
  readonly pushHost: (address: number, width: number) => void;
}

/** The helpers of which `emit` does the usual case. */
export function hasUsualCase(name: string, args: readonly Inst[]): boolean {
  const constant = args[0]?.attr.imm;
  if (/^x87_arith(_f64|_f32)?$/.test(name)) return Number(constant ?? 0) <= LAST_SUM;
  return /^x87_(load_(f64|f32|st)|st_(f64|f32)|move|exchange)$/.test(name);
}

export class ColdFpu {
  readonly #cx: ColdFpuContext;
  readonly #f: FunctionBody;
  readonly #c1: number;
  readonly #inexact: number;
  readonly #top: number;
  readonly #empty: number;
  readonly #arithmetic: FpuArithmetic;

  constructor(cx: ColdFpuContext) {
    this.#cx = cx;
    const { f, pool } = cx;
    this.#f = f;
    const take = pool.take.bind(pool);
    this.#c1 = take('i32');
    this.#top = take('i32');
    this.#empty = take('i32');
    this.#inexact = take('i64');
    this.#arithmetic = new FpuArithmetic({ f, take, c1: this.#c1, inexact: this.#inexact });
  }

  /** Emits the usual case of a call whose arguments, where they are no constants, are in `locals`. */
  emit(name: string, args: readonly Inst[], locals: readonly (number | undefined)[]): void {
    const [l0 = 0, l1 = 0] = locals;
    const constant = (i: number) => Number(args[i]?.attr.imm ?? 0);
    this.#begin();
    if (name === 'x87_arith') this.#compute(constant(0), l1, constant(2));
    else if (name.startsWith('x87_arith')) this.#computeWith(constant(0), l1, name.endsWith('64'));
    else if (name === 'x87_load_st') this.#loadRegister(l0);
    else if (name.startsWith('x87_load')) this.#loadFloat(l0, name.endsWith('64'));
    else if (name === 'x87_move') this.#move(l0, constant(1) !== 0);
    else if (name === 'x87_exchange') this.#exchange(l0);
    else this.#storeFloat(l0, constant(1) !== 0, name.endsWith('64'));
    this.#storeIp();
  }

  #slowIf(): void {
    this.#f.hint(false).brIf(0);
  }

  #begin(): void {
    const f = this.#f;
    const { cpu } = this.#cx;
    f.get(cpu).mem(I32_LOAD, S_FPU_STATUS).i32(ES).op(0x71);
    f.get(cpu).mem(I32_LOAD, S_FPU_KEEPS_SELECTORS).op(0x72);
    this.#slowIf();
    f.get(cpu).mem(I32_LOAD, S_FPU_TOP).set(this.#top);
    f.get(cpu).mem(I32_LOAD, S_FPU_EMPTY).set(this.#empty);
  }

  #plainControl(): void {
    this.#f.get(this.#cx.cpu).mem(I32_LOAD, S_FPU_CONTROL);
    this.#f.i32(CONTROL_BITS).op(0x71).i32(CONTROL_PLAIN).op(0x47);
    this.#slowIf();
  }

  /** The number of ST(i), `i` in a local or 0. */
  #number(i?: number): number {
    if (i === undefined) return this.#top;
    const p = this.#cx.pool.take('i32');
    this.#f.get(this.#top).get(i).op(0x6a).i32(7).op(0x71).set(p);
    return p;
  }

  /** The number of the register that is to be pushed; slow unless it is empty. */
  #room(): number {
    const f = this.#f;
    const p = this.#cx.pool.take('i32');
    f.get(this.#empty).get(this.#top).i32(1).op(0x6b).i32(7).op(0x71).tee(p).op(0x76);
    f.i32(1).op(0x71).op(0x45);
    this.#slowIf();
    return p;
  }

  /** Slow unless both are full. */
  #full(p: number, q: number): void {
    const f = this.#f;
    f.get(this.#empty).get(p).op(0x76);
    if (q !== p) f.get(this.#empty).get(q).op(0x76).op(0x72);
    f.i32(1).op(0x71);
    this.#slowIf();
  }

  #addressOf(p: number): number {
    const at = this.#cx.pool.take('i32');
    this.#f.get(this.#cx.cpu).get(p).i32(4).op(0x74).op(0x6a).set(at);
    return at;
  }

  #slot(): Slot {
    return { sig: this.#cx.pool.take('i64'), se: this.#cx.pool.take('i32') };
  }

  #get(at: number): Slot {
    const slot = this.#slot();
    this.#f.get(at).mem(I64_LOAD, S_FPU_REGS).set(slot.sig);
    this.#f
      .get(at)
      .mem(U16_LOAD, S_FPU_REGS + 8)
      .set(slot.se);
    return slot;
  }

  #put(at: number, { sig, se }: Slot): void {
    this.#f.get(at).get(sig).mem(I64_STORE, S_FPU_REGS);
    this.#f
      .get(at)
      .get(se)
      .mem(I16_STORE, S_FPU_REGS + 8);
  }

  #storeIp(): void {
    const { cpu, rec } = this.#cx;
    this.#f.get(cpu).get(cpu).mem(I64_LOAD, S_RIP).get(rec).mem(U16_LOAD, REC_START).op(0xad);
    this.#f.op(0x7c).mem(I64_STORE, S_FPU_IP);
  }

  /** The status word: C1 is 0, or with `computed` as arithmetic has left it, PE too. */
  #storeStatus(computed: boolean): void {
    const f = this.#f;
    const { cpu } = this.#cx;
    f.get(cpu).get(cpu).mem(I32_LOAD, S_FPU_STATUS).i32(~C1).op(0x71);
    if (computed) {
      f.get(this.#c1).i32(9).op(0x74).op(0x72);
      f.get(this.#inexact).i64(0).op(0x52).i32(5).op(0x74).op(0x72);
    }
    f.mem(I32_STORE, S_FPU_STATUS);
  }

  /** The old ST(0), number `p`, is empty from now on, and `filled` is full. */
  #pop(p: number, filled?: number): void {
    const f = this.#f;
    const { cpu } = this.#cx;
    f.get(cpu).get(this.#empty);
    if (filled !== undefined) this.#without(filled);
    f.i32(1).get(p).op(0x74).op(0x72).mem(I32_STORE, S_FPU_EMPTY);
    f.get(cpu).get(p).i32(1).op(0x6a).i32(7).op(0x71).mem(I32_STORE, S_FPU_TOP);
  }

  /** Takes a register out of the empty ones, whose bits are on the stack. */
  #without(filled: number): void {
    this.#f.i32(1).get(filled).op(0x74).i32(-1).op(0x73).op(0x71);
  }

  #push(p: number, value: Slot): void {
    const f = this.#f;
    const { cpu } = this.#cx;
    this.#put(this.#addressOf(p), value);
    f.get(cpu).get(this.#empty).i32(1).get(p).op(0x74).op(0x73).mem(I32_STORE, S_FPU_EMPTY);
    f.get(cpu).get(p).mem(I32_STORE, S_FPU_TOP);
    this.#storeStatus(false);
  }

  #loadFloat(bits: number, wide: boolean): void {
    const p = this.#room();
    const value = this.#slot();
    this.#arithmetic.widen(bits, wide, value);
    this.#push(p, value);
  }

  #loadRegister(i: number): void {
    const p = this.#room();
    const from = this.#number(i);
    this.#full(from, from);
    this.#push(p, this.#get(this.#addressOf(from)));
  }

  #storeFloat(address: number, pops: boolean, wide: boolean): void {
    const f = this.#f;
    const bits = this.#cx.pool.take('i64');
    this.#plainControl();
    this.#full(this.#top, this.#top);
    f.i64(0).set(this.#inexact);
    this.#arithmetic.narrow(this.#get(this.#addressOf(this.#top)), wide, bits);
    this.#cx.pushHost(address, wide ? 8 : 4);
    f.get(bits).mem(wide ? I64_STORE : 0x3e, 0);
    this.#storeStatus(true);
    if (pops) this.#pop(this.#top);
  }

  #move(i: number, pops: boolean): void {
    const f = this.#f;
    const { cpu } = this.#cx;
    const to = this.#number(i);
    this.#full(this.#top, this.#top);
    this.#put(this.#addressOf(to), this.#get(this.#addressOf(this.#top)));
    this.#storeStatus(false);
    if (pops) {
      this.#pop(this.#top, to);
      return;
    }
    f.get(cpu).get(this.#empty);
    this.#without(to);
    f.mem(I32_STORE, S_FPU_EMPTY);
  }

  #exchange(i: number): void {
    const other = this.#number(i);
    this.#full(this.#top, other);
    const [a, b] = [this.#addressOf(this.#top), this.#addressOf(other)];
    const [x, y] = [this.#get(a), this.#get(b)];
    this.#put(a, y);
    this.#put(b, x);
    this.#storeStatus(false);
  }

  #compute(op: number, i: number, mode: number): void {
    this.#plainControl();
    const other = this.#number(i);
    this.#full(this.#top, other);
    const [a, b] = [this.#addressOf(this.#top), this.#addressOf(other)];
    this.#finish(op, this.#get(a), this.#get(b), mode & 1 ? b : a);
    if (mode & 2) this.#pop(this.#top);
  }

  #computeWith(op: number, bits: number, wide: boolean): void {
    this.#plainControl();
    this.#full(this.#top, this.#top);
    const operand = this.#slot();
    this.#arithmetic.widen(bits, wide, operand);
    const a = this.#addressOf(this.#top);
    this.#finish(op, this.#get(a), operand, a);
  }

  #finish(op: number, a: Slot, b: Slot, at: number): void {
    this.#f.i64(0).set(this.#inexact);
    const result = this.#slot();
    this.#arithmetic.compute(op, a, b, result);
    this.#put(at, result);
    this.#storeStatus(true);
  }
}
