import type { Inst } from '#ir/block.ts';
import type { ValueType } from '#ir/opcodes.ts';
import {
  S_ATTENTION,
  S_BUDGET,
  S_FLAGS_AUX,
  S_FLAGS_RES,
  S_FPU_STATUS,
  S_KILLS,
  S_REC,
  S_RIP,
} from '#ir/state.ts';
import type { AddressGroups } from './address-groups.ts';
import { BlockEmitter, plannedBy } from './block-emitter.ts';
import { pushIsUncanonical } from './cold-emitter.ts';
import { leavesOf, readsFlags } from './flag-leaves.ts';
import { type FpuPlan, fpuEffect } from './fpu-plan.ts';
import { emitDivision } from './hot-divide.ts';
import { depthOf, type FlagValues, HotFlags } from './hot-flags.ts';
import { HotFloat, isFloatHelper } from './hot-float.ts';
import { HotFpu } from './hot-fpu.ts';
import { accessesPorts, bytesWritten, helperKind, keepsRegisters } from './hot-helpers.ts';
import { emitCli, emitSti } from './hot-interrupts.ts';
import type { HotLocals } from './hot-locals.ts';
import { HotMemory } from './hot-memory.ts';
import { hasShortWay } from './hot-scalar.ts';
import type { HotState } from './hot-state.ts';
import type { KeptPages } from './kept-pages.ts';
import { LocalPool } from './local-pool.ts';
import type { RegionInsn, RegionNode } from './region.ts';
import type { RegionBudget } from './region-budget.ts';
import { ReturnAddresses } from './return-addresses.ts';
import { bitsOf } from './value-bits.ts';
import type { FunctionBody } from './wasm.ts';

const I32_LOAD = 0x28;
const I64_LOAD = 0x29;
const I32_STORE = 0x36;
const I64_STORE = 0x37;
const LOADS: Readonly<Record<string, number>> = {
  8: 0x2d,
  16: 0x2f,
  32: 0x28,
  64: 0x29,
  v: 0xfd00,
};
const STORES: Readonly<Record<string, number>> = {
  8: 0x3a,
  16: 0x3b,
  32: 0x36,
  64: 0x37,
  v: 0xfd0b,
};
const WIDTHS: Readonly<Record<string, number>> = { 8: 1, 16: 2, 32: 4, 64: 8, v: 16 };
/** Places of an operation's operands and result among the arguments of a flags op. */
const OPERANDS = { a: 0, b: 1, result: 2 } as const;
/** Flags that are computed from flags before them are so at most this often. */
const DEEPEST_FLAGS = 2;
/** Status word: an exception that is not masked waits (ES). */
const FPU_EXCEPTION = 0x80;

/** Flags that nobody reads are not computed: of their values only the leaves are, while they can be. */
const PLAN = plannedBy((inst) => (inst.op.name === 'set_flags_raw' ? leavesOf(inst) : inst.args));

/** What surrounds the instructions of a region. */
export interface HotContext {
  readonly f: FunctionBody;
  readonly locals: HotLocals;
  readonly state: HotState;
  readonly pages: KeptPages;
  readonly budget: RegionBudget;
  /** Undefined where the x87 stays in the CPU's state. */
  readonly fpu: FpuPlan | undefined;
  readonly code64: boolean;
  readonly helper: (name: string) => number;
  /** Emits the jump to the code that gives the running instruction, named by `where`, to the interpreter. */
  readonly giveUp: () => void;
  /** Emits the terminator: operands are still to be pushed. */
  readonly terminate: (inst: Inst) => void;
}

/** Emits the instructions of a region one by one. */
export class HotEmitter extends BlockEmitter {
  readonly flags: HotFlags;
  readonly groups: AddressGroups;
  readonly float: HotFloat;
  readonly fpu: HotFpu | undefined;
  readonly #memory: HotMemory;
  readonly #cx: HotContext;
  /** Locals that hold what the flags in the form `values` are computed from, by the form's depth. */
  readonly #kept: readonly LocalPool[];
  readonly #written = new Map<Inst, number>();
  readonly #returns = new ReturnAddresses();
  /** The load of the instruction whose value is a known return address, and that, from the region's entry. */
  #returned: { readonly load: Inst; readonly next: number } | undefined;
  #where = 0;
  #insn: RegionInsn | undefined;
  #mayKill = false;
  #mayAskAttention = false;

  constructor(cx: HotContext) {
    super(cx.f, new LocalPool(cx.f), PLAN);
    this.#cx = cx;
    this.#kept = Array.from({ length: DEEPEST_FLAGS }, () => new LocalPool(cx.f));
    this.groups = cx.pages.groups;
    const { f, locals, helper } = cx;
    const giveUp = () => this.#giveUp();
    this.#memory = new HotMemory({ f, locals, helper, giveUp, pool: this.pool }, cx.pages);
    this.float = new HotFloat(cx.f, cx.locals, this.pool, helper);
    this.fpu = cx.fpu && this.#makeFpu(cx.fpu);
    this.flags = new HotFlags(cx.f, cx.locals, (inst, form) => this.#pushKept(inst, form));
  }

  #makeFpu(plan: FpuPlan): HotFpu {
    const { f, locals, code64, helper } = this.#cx;
    return new HotFpu({
      f,
      plan,
      code64,
      helper,
      cpu: locals.cpu,
      base: locals.base,
      take: (type) => this.pool.take(type),
      giveUp: () => this.#giveUp(),
      inLocal: (inst) => this.inLocal(inst),
      callInState: (inst, name) =>
        helperKind(name) === 'fpu' ? this.#callFpu(inst, name) : this.#callWhole(inst, name),
      pushHost: (address, width) => {
        this.#returns.forget();
        this.#memory.pushHost(address, width, true);
      },
    });
  }

  /** Begins the node of that number. */
  enter(n: number, node: RegionNode): void {
    this.#cx.pages.enter(n);
    this.groups.enter(node);
    this.fpu?.enter(n);
  }

  /** `where`: offset of the instruction from its node, and the number of those not done above bit 16. */
  emitInsn(insn: RegionInsn, where: number): void {
    this.#insn = insn;
    this.#where = where;
    this.#mayKill = false;
    this.#mayAskAttention = false;
    this.#written.clear();
    this.#returned = undefined;
    this.float.facts.enter(insn.ir, isFloatHelper);
    this.emit(insn.ir);
    this.pool.releaseAll();
  }

  /** True when a helper of the last instruction may have changed translated code. */
  get mayKill(): boolean {
    return this.#mayKill;
  }

  /** After a helper that `mayKill`: pushes 0 where the region may go on. */
  pushMustLeave(): void {
    const { cpu, kills } = this.#cx.locals;
    this.f.get(cpu).mem(I32_LOAD, S_KILLS).get(kills).op(0x47);
    if (this.#mayAskAttention) this.f.get(cpu).mem(I32_LOAD, S_ATTENTION).op(0x72);
  }

  /** Control may come from elsewhere to a node. */
  forget(node: number): void {
    this.#cx.state.forget();
    this.groups.reset(this.#cx.pages.knownAt(node));
    this.#returns.forget();
    this.float.facts.reset();
  }

  /** What is known here of values; the answer makes it known again, on another way from here. */
  remember(): () => void {
    const groups = this.groups.save();
    const facts = this.float.facts.save();
    const recallState = this.#cx.state.remember();
    const recallReturns = this.#returns.remember();
    const recallBudget = this.#cx.budget.remember();
    return () => {
      recallState();
      recallReturns();
      recallBudget();
      this.groups.restore(groups);
      this.float.facts.restore(facts);
    };
  }

  pushValue(inst: Inst): void {
    this.push(inst);
  }

  /** Where a jump to an address goes, from the region's entry: known of a return whose call was seen. */
  knownTarget(target: Inst): number | undefined {
    const inner = target.op.name === 'i64.extend_i32_u' ? target.args[0] : target;
    return this.#returned?.load === inner ? this.#returned?.next : undefined;
  }

  protected override special(inst: Inst): void {
    const { op } = inst;
    switch (op.family) {
      case 'get':
        this.#cx.state.get(fixedSlot(inst), op.width);
        break;
      case 'set':
        this.#set(inst);
        break;
      case 'load':
      case 'loadw':
        this.#load(inst);
        break;
      case 'store':
        this.#store(inst);
        break;
      case 'call':
        this.#call(inst);
        break;
      default:
        if (op.terminator === true) this.#cx.terminate(inst);
        else if (op.name.startsWith('fresh'))
          this.f.i32(Number(inst.attr.imm) | 0).mem(LOADS[op.width] ?? I32_LOAD, 0);
        else this.#flagsAndRip(inst, op.name);
    }
  }

  #set(inst: Inst): void {
    const { state } = this.#cx;
    const slot = fixedSlot(inst);
    const value = inst.args[0];
    const low = value?.op.name === 'i64.extend_i32_u' ? value.args[0] : undefined;
    if (value !== undefined && low !== undefined && state.isNarrow(slot) && this.isInline(value))
      state.set(slot, '32', () => this.push(low));
    else {
      const fits = value !== undefined && bitsOf(value) <= Number(inst.op.width);
      state.set(slot, inst.op.width, () => this.pushArgs(inst), fits);
    }
  }

  #flagsAndRip(inst: Inst, name: string): void {
    const { f } = this;
    const { args } = inst;
    switch (name) {
      case 'flags32':
      case 'flags64':
        this.flags.record(inst.attr.kind ?? 'logic', inst.attr.size ?? 4, (which) => {
          const value = args[OPERANDS[which]];
          if (value !== undefined) this.push(value);
        });
        break;
      case 'cond':
        this.flags.pushCondition(inst.attr.cc ?? 0);
        break;
      case 'get_flags_res':
        this.flags.pushRes();
        break;
      case 'get_flags_aux':
        this.flags.pushAux();
        break;
      case 'set_flags_raw':
        this.#keep(inst);
        break;
      case 'next_rip':
        this.pushRip(this.#insn?.next ?? 0);
        break;
      case 'this_rip':
        this.pushRip(this.#insn?.start ?? 0);
        break;
      case 'raise_if':
        this.pushArgs(inst);
        f.hint(false).if();
        this.#giveUp();
        f.end();
        break;
      case 'check_goto':
        if (args[0] !== undefined && this.knownTarget(args[0]) !== undefined) break;
        this.pushArgs(inst);
        pushIsUncanonical(f);
        f.hint(false).if();
        this.#giveUp();
        f.end();
        break;
      default:
        throw new Error(`codegen: no rule for ${name} in a region`);
    }
  }

  /** Pushes the RIP at an offset from the region's entry. */
  pushRip(offset: number): void {
    const { f } = this;
    f.get(this.#cx.locals.base);
    if (offset !== 0) f.i64(offset).op(0x7c);
    if (!this.#cx.code64) f.i64(0xffffffff).op(0x83);
  }

  #giveUp(): void {
    this.f.i32(this.#where).set(this.#cx.locals.where);
    this.#cx.giveUp();
  }

  // ---- flags not yet computed

  /**
   * Keeps the leaves of the flags' values in locals of their own. The old flags stay what they are where the values are
   * computed from them (shifts by CL, rotates): mostly nobody reads either.
   */
  #keep(inst: Inst): void {
    const { flags } = this;
    const [res, aux] = inst.args as [Inst, Inst];
    const needsOld = readsFlags(inst);
    if (needsOld && depthOf(flags.form) >= DEEPEST_FLAGS) flags.settle();
    const before = needsOld ? flags.form : undefined;
    const found = leavesOf(inst);
    // The old leaves may be among what they come from.
    for (const leaf of found) this.push(leaf);
    const pool = this.#kept[depthOf(before)] as LocalPool;
    pool.releaseAll();
    const leaves = new Map<Inst, number>();
    for (const leaf of found) leaves.set(leaf, pool.take(leaf.op.result as ValueType));
    for (const local of [...leaves.values()].reverse()) this.f.set(local);
    flags.form = { at: 'values', res, aux, leaves, before };
  }

  #pushKept(inst: Inst, form: FlagValues): void {
    const local = form.leaves.get(inst);
    if (local !== undefined) this.f.get(local);
    else if (inst.op.name === 'get_flags_res') this.flags.pushRes(form.before);
    else if (inst.op.name === 'get_flags_aux') this.flags.pushAux(form.before);
    else this.computePure(inst, (arg) => this.#pushKept(arg, form));
  }

  // ---- helpers

  #call(inst: Inst): void {
    const name = inst.attr.helper ?? '';
    const { fpu } = this;
    if (fpu !== undefined && fpuEffect(inst) !== undefined) {
      fpu.call(inst, name, this.#insn?.start ?? 0);
      return;
    }
    switch (helperKind(name)) {
      case 'pure':
        if (isFloatHelper(name) || hasShortWay(name)) {
          const args = inst.args.map((arg) => this.inLocal(arg));
          this.float.call(inst, name, args);
          break;
        }
        this.f.get(this.#cx.locals.cpu);
        this.pushArgs(inst);
        this.f.call(this.#cx.helper(name));
        break;
      case 'division':
        emitDivision(name, this.inLocal(inst.args[0] as Inst), {
          f: this.f,
          state: this.#cx.state,
          take: (type) => this.pool.take(type),
          giveUp: () => this.#giveUp(),
        });
        break;
      case 'interrupts':
        (name === 'cli' ? emitCli : emitSti)({
          f: this.f,
          cpu: this.#cx.locals.cpu,
          giveUp: () => this.#giveUp(),
          pushNext: () => this.pushRip(this.#insn?.next ?? 0),
        });
        break;
      case 'aligned':
        this.pushArgs(inst);
        this.f.op(0xa7).i32(15).op(0x71).hint(false).if();
        this.#giveUp();
        this.f.end();
        break;
      case 'fpu':
        this.#callFpu(inst, name);
        break;
      default:
        fpu?.store();
        this.#callWhole(inst, name);
    }
  }

  /** With an exception that waits the instruction is the interpreter's; else registers may stay where they are. */
  #callFpu(inst: Inst, name: string): void {
    const { f } = this;
    const { cpu } = this.#cx.locals;
    f.get(cpu).mem(I32_LOAD, S_FPU_STATUS).i32(FPU_EXCEPTION).op(0x71).hint(false).if();
    this.#giveUp();
    f.end();
    this.#storeRip();
    f.get(cpu).i32(0).mem(I32_STORE, S_REC);
    f.get(cpu);
    this.pushArgs(inst);
    f.call(this.#cx.helper(name));
  }

  /** Makes RIP exact: the x87 remembers it, and faults push it. */
  #storeRip(): void {
    this.f.get(this.#cx.locals.cpu);
    this.pushRip(this.#insn?.start ?? 0);
    this.f.mem(I64_STORE, S_RIP);
  }

  /** All state is in memory during the call, which may raise; then it is read back where it may have changed. */
  #callWhole(inst: Inst, name: string): void {
    const { f } = this;
    const { locals, state, helper } = this.#cx;
    const args = inst.args.map((arg) => this.inLocal(arg));
    // Faults of its access are the interpreter's, which knows the segment.
    const written = bytesWritten(name);
    if (written > 0) {
      this.#memory.pushHost(args[0] ?? 0, written, true);
      f.op(0x1a);
    }
    this.flags.settle();
    const { cpu } = locals;
    state.store();
    f.get(cpu).get(locals.res).mem(I64_STORE, S_FLAGS_RES);
    f.get(cpu).get(locals.aux).mem(I64_STORE, S_FLAGS_AUX);
    this.#storeRip();
    f.get(cpu).i32(0).mem(I32_STORE, S_REC);
    f.get(cpu);
    this.#cx.budget.push(this.#where >> 16);
    f.mem(I32_STORE, S_BUDGET);
    f.get(cpu).mem(I32_LOAD, S_KILLS).set(locals.kills);
    f.get(cpu);
    for (const arg of args) f.get(arg);
    f.call(helper(name));
    const { result } = inst.op;
    const kept = result === 'void' ? undefined : this.pool.take(result);
    if (kept !== undefined) f.set(kept);
    // It may have changed what addresses mean.
    this.groups.checks.clear();
    this.#returns.forget();
    this.#cx.pages.forget();
    if (!keepsRegisters(name)) {
      state.load();
      f.get(cpu).mem(I64_LOAD, S_FLAGS_RES).set(locals.res);
      f.get(cpu).mem(I64_LOAD, S_FLAGS_AUX).set(locals.aux);
    }
    if (kept !== undefined) f.get(kept);
    this.#mayKill = true;
    this.#mayAskAttention ||= accessesPorts(name);
  }

  // ---- memory

  #load(inst: Inst): void {
    const forWrite = inst.op.family === 'loadw';
    const key = inst.op.width;
    const operand = inst.args[0] as Inst;
    const start = this.#insn?.start ?? 0;
    const width = WIDTHS[key] ?? 4;
    const next = this.#returns.loaded(this.groups.accessOf(start, inst), width);
    if (next !== undefined && !forWrite) {
      this.#returned = { load: inst, next };
      this.pushRip(next);
      if (inst.op.result === 'i32') this.f.op(0xa7);
      return;
    }
    const address = this.inLocal(operand);
    this.#memory.pushHostOf(start, inst, address, width);
    if (forWrite) {
      const host = this.pool.take('i32');
      this.f.tee(host);
      this.#written.set(operand, host);
    }
    this.f.mem(LOADS[key] ?? I32_LOAD, 0);
  }

  #store(inst: Inst): void {
    const key = inst.op.width;
    const operand = inst.args[0] as Inst;
    const known = this.#written.get(operand);
    const address = this.inLocal(operand);
    const value = this.inLocal(inst.args[1] as Inst);
    const start = this.#insn?.start ?? 0;
    const width = WIDTHS[key] ?? 4;
    if (known === undefined) this.#memory.pushHostOf(start, inst, address, width);
    else this.f.get(known);
    this.f.get(value).mem(STORES[key] ?? I32_STORE, 0);
    this.#returns.stored(this.#insn, inst.args[1], {
      access: this.groups.accessOf(start, inst),
      width,
    });
  }
}

function fixedSlot(inst: Inst): number {
  const { slot } = inst.attr;
  if (slot === undefined || !('fixed' in slot))
    throw new Error('codegen: a slot of a record in a region');
  return slot.fixed;
}
