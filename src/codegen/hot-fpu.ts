import type { Inst } from '#ir/block.ts';
import {
  S_FPU_CONTROL,
  S_FPU_CS,
  S_FPU_EMPTY,
  S_FPU_IP,
  S_FPU_KEEPS_SELECTORS,
  S_FPU_REGS,
  S_FPU_STATUS,
  S_FPU_TOP,
  S_SCRATCH,
  S_SEGS,
  SEG_CS,
  SEG_SELECTOR,
  SEG_SIZE,
} from '#ir/state.ts';
import { FpuArithmetic, type Slot } from './fpu-arithmetic.ts';
import { type FpuEffect, type FpuPlan, fpuEffect } from './fpu-plan.ts';
import type { FunctionBody } from './wasm.ts';

// The x87 in a region whose plan is known: the stack's registers are locals, and so are what most instructions change of
// status and tags. Values of usual kinds are loaded, moved, computed and stored here; the rest by helpers of core/, which get
// and give values, or which find everything in the CPU's state for as long as they run.

const [I32_LOAD, I64_LOAD, I32_STORE, I64_STORE] = [0x28, 0x29, 0x36, 0x37];
const [U16_LOAD, I16_STORE] = [0x2f, 0x3b];
const CS_SELECTOR = S_SEGS + SEG_CS * SEG_SIZE + SEG_SELECTOR;
const C1 = 0x200;
const SIGN = 0x8000;
const MASKS = 0x3f;
/** Bit of `empty` that says that an exception is not masked: no instruction is done here then. */
const UNMASKED = 0x100;
/** Precision of 64 bits, rounding to nearest. */
const PLAIN_BITS = 0xf00;
const PLAIN = 0x300;
/** Of `ip`: none of the x87's instructions has run here. */
const NO_IP = -0x80000000;
const INTEGER = 1n << 63n;
const BIAS = 0x3fff;
const WIDE = /^x87_(load|st)_f64$/;
const LOADS = /^x87_load_(f64|f32|int|st|constant)$/;

export interface FpuContext {
  readonly f: FunctionBody;
  readonly plan: FpuPlan;
  readonly cpu: number;
  /** The local with the RIP of the region's entry. */
  readonly base: number;
  readonly code64: boolean;
  readonly take: (type: 'i32' | 'i64') => number;
  readonly helper: (name: string) => number;
  readonly giveUp: () => void;
  /** The local that holds a value. */
  readonly inLocal: (inst: Inst) => number;
  /** Emits a call of a helper that finds the x87 in the CPU's state. */
  readonly callInState: (inst: Inst, name: string) => void;
  /** Pushes the linear-memory address of a store. */
  readonly pushHost: (address: number, width: number) => void;
}

export class HotFpu {
  readonly #cx: FpuContext;
  readonly #f: FunctionBody;
  readonly #slots: (Slot | undefined)[] = [];
  /** Locals: the physical register of slot 0; TOP and tags as slots; offset of FIP; C1; what is not 0 when PE is to be set. */
  readonly #first: number;
  readonly #top: number;
  readonly #empty: number;
  readonly #ip: number;
  readonly #c1: number;
  readonly #inexact: number;
  readonly #plain: number;
  readonly #arithmetic: FpuArithmetic;
  #now = 0;
  #call = 0;
  #checks: ReadonlyMap<number, { mask: number; empty: number }> = new Map();
  #offset = 0;

  constructor(cx: FpuContext) {
    this.#cx = cx;
    const { f } = cx;
    this.#f = f;
    this.#first = f.local('i32', 'fpu_first');
    this.#top = f.local('i32', 'fpu_top');
    this.#empty = f.local('i32', 'fpu_empty');
    this.#ip = f.local('i32', 'fpu_ip');
    this.#c1 = f.local('i32', 'fpu_c1');
    this.#inexact = f.local('i64', 'fpu_inexact');
    this.#plain = f.local('i32', 'fpu_plain');
    for (const p of cx.plan.used)
      this.#slots[p] = { sig: f.local('i64', `st${p}`), se: f.local('i32', `st${p}_se`) };
    const { take } = cx;
    this.#arithmetic = new FpuArithmetic({
      f,
      take,
      plain: this.#plain,
      c1: this.#c1,
      inexact: this.#inexact,
    });
  }

  // ---- between locals and state

  /** Everything from the CPU's state, TOP being slot 0. */
  load(): void {
    const f = this.#f;
    const { cpu } = this.#cx;
    f.get(cpu).mem(I32_LOAD, S_FPU_TOP).set(this.#first);
    f.i32(0).set(this.#top);
    this.#loadTags();
    f.i32(NO_IP).set(this.#ip).i64(0).set(this.#inexact);
    this.#loadC1();
    this.#loadSlots(this.#cx.plan.used);
  }

  /** Tags, and what the control word says. */
  #loadTags(): void {
    const f = this.#f;
    const { cpu } = this.#cx;
    f.get(cpu).mem(I32_LOAD, S_FPU_EMPTY).tee(this.#empty);
    f.get(this.#empty).i32(8).op(0x74).op(0x72).get(this.#first).op(0x76).i32(0xff).op(0x71);
    f.i32(0).i32(UNMASKED);
    f.get(cpu).mem(I32_LOAD, S_FPU_CONTROL).tee(this.#plain);
    f.i32(MASKS).op(0x71).i32(MASKS).op(0x46).op(0x1b).op(0x72).set(this.#empty);
    f.get(this.#plain).i32(PLAIN_BITS).op(0x71).i32(PLAIN).op(0x46).set(this.#plain);
  }

  #loadC1(): void {
    const f = this.#f;
    f.get(this.#cx.cpu).mem(I32_LOAD, S_FPU_STATUS).i32(9).op(0x76).i32(1).op(0x71).set(this.#c1);
  }

  #pushSlotAddress(slot: number): void {
    const f = this.#f.get(this.#first);
    if (slot !== 0) f.i32(slot).op(0x6a);
    f.i32(7).op(0x71).i32(4).op(0x74).get(this.#cx.cpu).op(0x6a);
  }

  #loadSlots(slots: readonly number[]): void {
    const f = this.#f;
    for (const p of slots) {
      const { sig, se } = this.#slot(p);
      const at = this.#cx.take('i32');
      this.#pushSlotAddress(p);
      f.tee(at).mem(I64_LOAD, S_FPU_REGS).set(sig);
      f.get(at)
        .mem(U16_LOAD, S_FPU_REGS + 8)
        .set(se);
    }
  }

  #storeSlots(slots: readonly number[]): void {
    const f = this.#f;
    for (const p of slots) {
      const { sig, se } = this.#slot(p);
      const at = this.#cx.take('i32');
      this.#pushSlotAddress(p);
      f.tee(at).get(sig).mem(I64_STORE, S_FPU_REGS);
      f.get(at)
        .get(se)
        .mem(I16_STORE, S_FPU_REGS + 8);
    }
  }

  /** All that has changed, to the CPU's state. */
  store(): void {
    this.#storeSlots(this.#cx.plan.written);
    this.#storeStatus();
  }

  /** Everything but the registers' values. */
  #storeStatus(): void {
    const f = this.#f;
    const { cpu, base, code64 } = this.#cx;
    f.get(cpu).get(this.#first).get(this.#top).op(0x6a).i32(7).op(0x71).mem(I32_STORE, S_FPU_TOP);
    const tags = this.#cx.take('i32');
    f.get(cpu).get(this.#empty).i32(0xff).op(0x71).tee(tags);
    f.get(tags).i32(8).op(0x74).op(0x72).get(this.#first).op(0x74).i32(8).op(0x76);
    f.i32(0xff).op(0x71).mem(I32_STORE, S_FPU_EMPTY);
    f.get(cpu).get(cpu).mem(I32_LOAD, S_FPU_STATUS).i32(~C1).op(0x71);
    f.get(this.#c1).i32(9).op(0x74).op(0x72);
    f.get(this.#inexact).i64(0).op(0x52).i32(5).op(0x74).op(0x72).mem(I32_STORE, S_FPU_STATUS);
    f.get(this.#ip).i32(NO_IP).op(0x47).if();
    f.get(cpu).get(base).get(this.#ip).op(0xac).op(0x7c);
    if (!code64) f.i64(0xffffffff).op(0x83);
    f.mem(I64_STORE, S_FPU_IP);
    f.get(cpu).mem(I32_LOAD, S_FPU_KEEPS_SELECTORS).if();
    f.get(cpu).get(cpu).mem(I32_LOAD, CS_SELECTOR).mem(I32_STORE, S_FPU_CS).end();
    f.end();
  }

  #slot(p: number): Slot {
    const slot = this.#slots[p & 7];
    if (slot === undefined) throw new Error(`codegen: slot ${p} of the x87 is not planned`);
    return slot;
  }

  /** ST(i). */
  #st(i: number): Slot {
    return this.#slot(this.#now + i);
  }

  // ---- instructions

  /** The node of that number is emitted next. */
  enter(node: number): void {
    const plan = this.#cx.plan.nodes[node];
    this.#now = plan?.top ?? 0;
    this.#checks = plan?.checks ?? new Map();
    this.#call = 0;
  }

  /** Emits a call; `start` is the instruction's offset. */
  call(inst: Inst, name: string, start: number): void {
    const effect = fpuEffect(inst);
    if (effect === undefined) throw new Error(`codegen: ${name} is not planned`);
    this.#offset = start;
    this.#check();
    if (!this.#here(inst, name)) this.#inState(inst, name, effect);
    this.#move(effect);
    this.#call++;
  }

  #check(): void {
    const check = this.#checks.get(this.#call);
    if (check === undefined) return;
    this.#f
      .get(this.#empty)
      .i32(check.mask | UNMASKED)
      .op(0x71)
      .i32(check.empty)
      .op(0x47)
      .hint(false)
      .if();
    this.#cx.giveUp();
    this.#f.end();
  }

  /** TOP and tags after an instruction. */
  #move({ writes, moves }: FpuEffect): void {
    const f = this.#f;
    const bits = (slots: readonly number[]) =>
      slots.reduce((sum, i) => sum | (1 << ((this.#now + i) & 7)), 0);
    const filled = bits(writes);
    const emptied = bits(Array.from({ length: Math.max(moves, 0) }, (_, i) => i));
    if (filled !== 0 || emptied !== 0) {
      f.get(this.#empty);
      if ((filled & ~emptied) !== 0) f.i32(~filled).op(0x71);
      if (emptied !== 0) f.i32(emptied).op(0x72);
      f.set(this.#empty);
    }
    if (moves === 0) return;
    this.#now = (this.#now + moves) & 7;
    f.i32(this.#now).set(this.#top);
  }

  /** A helper that finds its operands in the CPU's state, and leaves its results there. */
  #inState(inst: Inst, name: string, { reads, writes }: FpuEffect): void {
    const f = this.#f;
    const slots = (list: readonly number[]) => list.map((i) => (this.#now + i) & 7);
    const written = new Set(this.#cx.plan.written);
    // One that may raise leaves everything as it is then.
    if (/^x87_(st_|compare_flags)/.test(name)) this.#storeSlots(this.#cx.plan.written);
    else this.#storeSlots(slots(reads).filter((p) => written.has(p)));
    this.#storeStatus();
    this.#cx.callInState(inst, name);
    f.i64(0).set(this.#inexact).i32(NO_IP).set(this.#ip);
    this.#loadC1();
    if (name === 'x87_load_control') this.#loadTags();
    this.#loadSlots(slots(writes));
  }

  /** Emits what is done without the CPU's state; false where that is nothing. */
  #here(inst: Inst, name: string): boolean {
    const [a, b, c] = inst.args;
    const constant = (arg: Inst | undefined) => Number(arg?.attr.imm ?? 0);
    if (LOADS.test(name)) {
      if (a === undefined || !this.#emitLoad(name, a)) return false;
    } else if (name === 'x87_exchange') this.#exchange(constant(a));
    else if (name === 'x87_move') this.#copy(this.#st(0), this.#st(constant(a)));
    else if (name === 'x87_sign') this.#sign(constant(a), constant(b));
    else if (name === 'x87_st_f64' || name === 'x87_st_f32') {
      if (a === undefined) return false;
      this.#emitStore(name, a);
    } else if (name === 'x87_arith') {
      const to = constant(c) & 1 ? constant(b) : 0;
      this.#compute(constant(a), this.#st(constant(b)), this.#st(to));
    } else if (/^x87_arith_f(32|64)$/.test(name) && b !== undefined)
      this.#computeWith(constant(a), this.#cx.inLocal(b), name.endsWith('64'));
    else if (name === 'x87_sqrt') this.#root();
    else return false;
    this.#f.i32(this.#offset).set(this.#ip);
    return true;
  }

  #copy(from: Slot, to: Slot): void {
    const f = this.#f;
    if (from !== to) f.get(from.sig).set(to.sig).get(from.se).set(to.se);
    f.i32(0).set(this.#c1);
  }

  #exchange(i: number): void {
    const f = this.#f;
    const [a, b] = [this.#st(0), this.#st(i)];
    f.get(a.sig).get(b.sig).set(a.sig).set(b.sig);
    f.get(a.se).get(b.se).set(a.se).set(b.se);
    f.i32(0).set(this.#c1);
  }

  #sign(keep: number, flip: number): void {
    const f = this.#f;
    const { se } = this.#st(0);
    f.get(se);
    if (keep !== 0xffff) f.i32(keep).op(0x71);
    if (flip !== 0) f.i32(flip & SIGN).op(0x73);
    f.set(se).i32(0).set(this.#c1);
  }

  // ---- loads

  #emitLoad(name: string, operand: Inst): boolean {
    const f = this.#f;
    const to = this.#st(7);
    if (name === 'x87_load_st') {
      this.#copy(this.#st(Number(operand.attr.imm ?? 0)), to);
      return true;
    }
    if (name === 'x87_load_constant') {
      const which = Number(operand.attr.imm ?? 0);
      if (which !== 0 && which !== 6) return false;
      f.i64(which === 0 ? INTEGER : 0).set(to.sig);
      f.i32(which === 0 ? BIAS : 0).set(to.se);
    } else if (name === 'x87_load_int') this.#fromInteger(this.#cx.inLocal(operand), to);
    else this.#fromFloat(this.#cx.inLocal(operand), WIDE.test(name), to);
    f.i32(0).set(this.#c1);
    return true;
  }

  #fromInteger(value: number, to: Slot): void {
    const f = this.#f;
    const magnitude = this.#cx.take('i64');
    const zeros = this.#cx.take('i64');
    f.i64(0).get(value).op(0x7d).get(value).get(value).i64(0).op(0x53).op(0x1b).tee(magnitude);
    f.get(magnitude).op(0x79).tee(zeros).op(0x86).set(to.sig);
    f.get(value)
      .i64(48)
      .op(0x88)
      .op(0xa7)
      .i32(SIGN)
      .op(0x71)
      .i32(BIAS + 63)
      .get(zeros)
      .op(0xa7)
      .op(0x6b)
      .op(0x72);
    f.i32(0).get(value).op(0x50).op(0x45).op(0x1b).set(to.se);
  }

  #fromFloat(bits: number, wide: boolean, to: Slot): void {
    const f = this.#f.block().block();
    this.#arithmetic.widen(bits, wide, to);
    f.br(1).end().get(this.#cx.cpu).get(bits);
    f.call(this.#cx.helper(wide ? 'x87_loaded_f64' : 'x87_loaded_f32'));
    this.#takeScratch(to);
    f.end();
  }

  #takeScratch({ sig, se }: Slot): void {
    const { cpu } = this.#cx;
    this.#f.get(cpu).mem(I64_LOAD, S_SCRATCH).set(sig);
    this.#f
      .get(cpu)
      .mem(U16_LOAD, S_SCRATCH + 8)
      .set(se);
  }

  // ---- stores

  #emitStore(name: string, operand: Inst): void {
    const f = this.#f;
    const wide = WIDE.test(name);
    const { sig, se } = this.#st(0);
    const host = this.#cx.take('i32');
    this.#cx.pushHost(this.#cx.inLocal(operand), wide ? 8 : 4);
    f.set(host);
    const bits = this.#cx.take('i64');
    f.block().block();
    this.#arithmetic.narrow(this.#st(0), wide, bits);
    f.br(1).end();
    f.get(this.#cx.cpu).get(sig).get(se);
    f.call(this.#cx.helper(wide ? 'x87_narrowed_f64' : 'x87_narrowed_f32')).set(bits);
    this.#loadC1();
    f.end();
    f.get(host)
      .get(bits)
      .mem(wide ? I64_STORE : 0x3e, 0);
  }

  // ---- arithmetic

  /** ST(0) `op` b. */
  #compute(op: number, b: Slot, to: Slot): void {
    const f = this.#f;
    const a = this.#st(0);
    f.block().block();
    if (this.#arithmetic.compute(op, a, b, to)) f.br(1);
    f.end();
    this.#callComputed(op, a, b, to);
    f.end();
  }

  #callComputed(op: number, a: Slot, b: Slot, to: Slot): void {
    this.#f.get(this.#cx.cpu).i32(op).get(a.sig).get(a.se).get(b.sig).get(b.se);
    this.#f.call(this.#cx.helper('x87_computed'));
    this.#takeScratch(to);
    this.#loadC1();
  }

  /** ST(0) `op` a double or float, given by its bits. */
  #computeWith(op: number, bits: number, wide: boolean): void {
    const f = this.#f;
    const a = this.#st(0);
    const operand = { sig: this.#cx.take('i64'), se: this.#cx.take('i32') };
    f.block().block();
    this.#arithmetic.widen(bits, wide, operand);
    if (!this.#arithmetic.compute(op, a, operand, a)) this.#callComputed(op, a, operand, a);
    f.br(1).end().get(this.#cx.cpu).i32(op).get(a.sig).get(a.se).get(bits);
    f.call(this.#cx.helper(wide ? 'x87_computed_f64' : 'x87_computed_f32'));
    this.#takeScratch(a);
    this.#loadC1();
    f.end();
  }

  #root(): void {
    const a = this.#st(0);
    this.#f.get(this.#cx.cpu).get(a.sig).get(a.se).call(this.#cx.helper('x87_rooted'));
    this.#takeScratch(a);
    this.#loadC1();
  }
}
