import type { Inst } from '#ir/block.ts';
import {
  REGION_BOUNDARY,
  REGION_COLD,
  REGION_DONE,
  S_ATTENTION,
  S_BUDGET,
  S_FLAGS_AUX,
  S_FLAGS_RES,
  S_MXCSR,
  S_RIP,
} from '#ir/state.ts';
import { analyse, type ControlFlow } from './control-flow.ts';
import { planFpu } from './fpu-plan.ts';
import { HotEmitter } from './hot-emitter.ts';
import { CARRY, type FlagForm, RAW } from './hot-flags.ts';
import { declareLocals, type HotLocals } from './hot-locals.ts';
import { HotState } from './hot-state.ts';
import { KeptPages } from './kept-pages.ts';
import { mayGiveUp } from './may-give-up.ts';
import type { Region, RegionEdge, RegionNode } from './region.ts';
import { RegionBudget } from './region-budget.ts';
import { type FlagNeed, flagForms, flagNeeds } from './region-flags.ts';
import { computesFloats, helpersOf } from './region-helpers.ts';
import { chain, checkPages, checkTargets, countGivenUp, GAVE_UP } from './region-links.ts';
import type { RegionMark, RegionObserver } from './region-observer.ts';
import { type TargetTable, targetTable } from './target-table.ts';
import { FunctionBody } from './wasm.ts';

const I32_LOAD = 0x28;
const I64_LOAD = 0x29;
const I32_STORE = 0x36;
const I64_STORE = 0x37;
/** MXCSR bits 12:7: all exceptions masked. */
const MXCSR_MASKS = 0x1f80;
const OFFSET_BITS = 16;

/** What the table of regions holds: `cpu` → REGION_…. */
export const REGION_TYPE = { params: ['i32'], result: 'i32' } as const;

interface RegionPlace {
  /** Index of the type of a region's function. */
  readonly type: number;
  /** Of the global that holds its place in the table of regions. */
  readonly slot: number;
  /** Address of the state of the vCPU that it is for, when it is for one alone. */
  readonly cpu?: number;
}

/**
 * Makes the function of a region, cpu → REGION_…. Control flow is structured after Ramsey, "Beyond Relooper" (2022):
 * a node's code holds the code of the nodes that it dominates; what several edges lead to stands behind a block.
 */
export class RegionBuilder {
  readonly #f = new FunctionBody(REGION_TYPE.params, REGION_TYPE.result);
  readonly #region: Region;
  readonly #flow: ControlFlow;
  readonly #forms: readonly FlagForm[];
  readonly #needs: readonly FlagNeed[];
  readonly #locals: HotLocals;
  readonly #budget: RegionBudget;
  readonly #state: HotState;
  readonly #emitter: HotEmitter;
  readonly #ripOut: number;
  readonly #code: number;
  readonly #type: number;
  readonly #slot: number;
  /** Labels (depths) of the loops and of the blocks behind which nodes stand, by node; of the common exit. */
  readonly #loops = new Map<number, number>();
  readonly #blocks = new Map<number, number>();
  #exit = 0;
  /** Label of the code that leaves the instructions of a run to the interpreter, while such a run is open. */
  #run: { leave: number; done: number; form: FlagForm } | undefined;
  #node = 0;
  readonly #observer: RegionObserver | undefined;
  #insn = 0;

  constructor(
    region: Region,
    { type, slot, cpu }: RegionPlace,
    helper: (name: string) => number,
    observer?: RegionObserver,
  ) {
    const f = this.#f;
    if (cpu !== undefined) f.know(0, cpu);
    this.#observer = observer;
    this.#region = region;
    this.#type = type;
    this.#slot = slot;
    this.#flow = analyse(region);
    this.#forms = flagForms(region, this.#flow);
    this.#needs = flagNeeds(region);
    this.#locals = declareLocals(f);
    this.#budget = new RegionBudget(f, this.#locals.budget);
    this.#ripOut = f.local('i64', 'rip_out');
    this.#code = f.local('i32', 'code');
    this.#state = new HotState(f, 0, region);
    const pages = new KeptPages({ f, cpu: 0, flow: this.#flow }, region);
    this.#emitter = new HotEmitter({
      f,
      pages,
      fpu: planFpu(region),
      locals: this.#locals,
      budget: this.#budget,
      state: this.#state,
      code64: region.code64,
      helper,
      giveUp: () => this.#giveUp(),
      terminate: (inst) => this.#terminate(inst),
    });
    this.#mark('entry');
    this.#prologue(helper);
    pages.forget();
    f.block();
    this.#exit = f.depth;
    this.#prepareFlags(0);
    this.#tree(0, this.#formAt(0));
    this.#mark('exit');
    f.end();
    this.#epilogue(helper);
  }

  get body(): FunctionBody {
    return this.#f;
  }

  #mark(part: RegionMark['part']): void {
    const node = this.#node;
    this.#observer?.marks.push({ at: this.#f.code.length, part, node, insn: this.#insn });
  }

  // ---- entry and exit

  #prologue(helper: (name: string) => number): void {
    const f = this.#f;
    const { base, budget, res, aux } = this.#locals;
    const first = this.#region.nodes[0];
    f.get(0).mem(I32_LOAD, S_BUDGET).tee(budget);
    f.i32(first?.insns.length ?? 0).op(0x48);
    f.get(0)
      .mem(I32_LOAD, S_ATTENTION)
      .op(0x72)
      .hint(false)
      .if()
      .i32(REGION_BOUNDARY)
      .op(0x0f)
      .end();
    f.get(0).mem(I64_LOAD, S_RIP).set(base);
    checkTargets(f, this.#region, base);
    checkPages(f, this.#region.pages, this.#locals, { slot: this.#slot, helper });
    if (computesFloats(this.#region)) {
      f.get(0).mem(I32_LOAD, S_MXCSR).i32(MXCSR_MASKS).op(0x71).i32(MXCSR_MASKS).op(0x47);
      f.hint(false).if().i32(REGION_COLD).op(0x0f).end();
    }
    this.#emitter.float.begin(helpersOf(this.#region));
    f.get(0).mem(I64_LOAD, S_FLAGS_RES).set(res);
    f.get(0).mem(I64_LOAD, S_FLAGS_AUX).set(aux);
    this.#state.load();
    this.#emitter.fpu?.load();
  }

  #epilogue(helper: (name: string) => number): void {
    const f = this.#f;
    const { res, aux, budget, where } = this.#locals;
    this.#state.store();
    this.#emitter.fpu?.store();
    f.get(0).get(res).mem(I64_STORE, S_FLAGS_RES);
    f.get(0).get(aux).mem(I64_STORE, S_FLAGS_AUX);
    f.get(0).get(budget).mem(I32_STORE, S_BUDGET);
    f.get(0).get(this.#ripOut).mem(I64_STORE, S_RIP);
    chain(f, { code: this.#code, rip: this.#ripOut, where, type: this.#type });
    if (!this.#region.servesMisses) countGivenUp(f, this.#code, { slot: this.#slot, helper });
    f.get(this.#code);
  }

  /** Leaves the region; the RIP has been pushed. `pushUndone`: see `RegionBudget.leave`. */
  #leave(code: number, pushUndone?: () => void): void {
    this.#f.set(this.#ripOut);
    this.#emitter.flags.settle();
    this.#budget.leave(pushUndone);
    this.#f.i32(code).set(this.#code).branch(this.#exit);
  }

  // ---- instructions that the interpreter is to do

  /**
   * Instructions with the flags in the same form share the code that leaves them to the interpreter: it stands behind
   * them, in a block that is open around them.
   */
  #openRun(): void {
    const f = this.#f.block();
    const done = f.depth;
    this.#run = { done, leave: f.block().depth, form: this.#emitter.flags.form };
  }

  #closeRun(): void {
    if (this.#run === undefined) return;
    const f = this.#f;
    const { where } = this.#locals;
    const { flags } = this.#emitter;
    const now = flags.form;
    flags.form = this.#run.form;
    f.branch(this.#run.done).end();
    this.#mark('to-interpreter');
    this.#run = undefined;
    this.#emitter.pushRip(this.#region.nodes[this.#node]?.offset ?? 0);
    f.get(where).i32(0xffff).op(0x71).op(0xad).op(0x7c);
    if (!this.#region.code64) f.i64(0xffffffff).op(0x83);
    const code = this.#region.servesMisses ? REGION_COLD : GAVE_UP;
    this.#leave(code, () => f.get(where).i32(OFFSET_BITS).op(0x76));
    flags.form = now;
    f.end();
    this.#mark('insn');
  }

  #giveUp(): void {
    if (this.#run === undefined) throw new Error('codegen: no run is open');
    this.#f.branch(this.#run.leave);
  }

  // ---- nodes

  /** Emits a node, in which the flags are found in the given form, and all that it dominates. */
  #tree(n: number, form: FlagForm): void {
    const f = this.#f;
    const merges = (this.#flow.children[n] ?? []).filter((child) => this.#flow.isMerge[child]);
    const isLoop = this.#flow.isLoop[n] === true;
    if (isLoop) {
      this.#emitter.forget(n);
      this.#loops.set(n, f.loop().depth);
    }
    // The first in order is the innermost, so that those before can jump to those behind.
    for (const child of merges.toReversed()) this.#blocks.set(child, f.block().depth);
    this.#nodeCode(n, form);
    for (const child of merges) {
      f.end();
      this.#blocks.delete(child);
      this.#emitter.forget(child);
      this.#budget.meet();
      this.#tree(child, this.#formAt(child));
    }
    if (isLoop) f.end();
    this.#loops.delete(n);
  }

  /** The form of the flags in which all edges that meet at a node leave them. */
  #formAt(n: number): FlagForm {
    const need = this.#needs[n];
    if (need === 'carry') return CARRY;
    return need === 'nothing' ? RAW : (this.#forms[n] ?? RAW);
  }

  /** Computes what a node needs of the flags. What is more stays as it is, for those who leave before they are there. */
  #prepareFlags(to: number): void {
    const { flags } = this.#emitter;
    const need = this.#needs[to];
    if (need === 'carry') flags.saveCarry();
    else if (need !== 'nothing') flags.become(this.#formAt(to));
  }

  #nodeCode(n: number, form: FlagForm): void {
    const node = this.#region.nodes[n];
    if (node === undefined) return;
    this.#node = n;
    this.#insn = 0;
    this.#mark('node');
    this.#emitter.flags.form = form;
    this.#emitter.enter(n, node);
    const count = node.insns.length;
    this.#budget.spend(count);
    let ended = false;
    node.insns.forEach((insn, i) => {
      // Those before leave with the flags as they were: nothing is given up behind an instruction's first change.
      if (this.#run?.form !== this.#emitter.flags.form) this.#closeRun();
      if (this.#run === undefined && mayGiveUp(insn.ir)) this.#openRun();
      this.#insn = i;
      this.#mark('insn');
      this.#emitter.emitInsn(insn, (insn.start - node.offset) | ((count - i) << OFFSET_BITS));
      for (const inst of this.#observer === undefined ? [] : this.#emitter.droppedOf(insn.ir))
        this.#observer?.dropped.add(inst);
      ended = insn.ir.terminator !== undefined;
      if (!ended && this.#emitter.mayKill) this.#checkKills(insn.next, count - 1 - i);
    });
    if (!ended) this.#end(node);
  }

  #end(node: RegionNode): void {
    this.#closeRun();
    if (node.leavesCold) {
      this.#emitter.pushRip(node.next.offset);
      this.#leave(REGION_COLD);
    } else {
      this.#follow(node.next);
    }
  }

  /** After a helper that may have changed code: on only if it has not. `undone`: instructions counted and not run. */
  #checkKills(next: number, undone: number): void {
    const f = this.#f;
    const { flags } = this.#emitter;
    this.#closeRun();
    this.#emitter.pushMustLeave();
    f.hint(false).if();
    const { form } = flags;
    this.#emitter.pushRip(next);
    this.#leave(REGION_DONE, () => f.i32(undone));
    flags.form = form;
    f.end();
  }

  // ---- control

  #terminate(inst: Inst): void {
    const node = this.#region.nodes[this.#node];
    const operand = inst.args[0];
    if (node === undefined) return;
    const { flags } = this.#emitter;
    switch (inst.op.name) {
      case 'jump':
        this.#closeRun();
        this.#follow(node.taken ?? node.next);
        break;
      case 'branch':
        if (operand !== undefined) this.#emitter.pushValue(operand);
        this.#branch(node);
        break;
      case 'goto':
        if (operand !== undefined) this.#goto(node, operand);
        break;
      default:
        throw new Error(`codegen: ${inst.op.name} in a region`);
    }
    flags.form = RAW;
  }

  /** The condition is on the stack. */
  #branch(node: RegionNode): void {
    const f = this.#f;
    const { flags } = this.#emitter;
    if (this.#run !== undefined) {
      const { where } = this.#locals;
      f.set(where);
      this.#closeRun();
      f.get(where);
    }
    const { form } = flags;
    const n = this.#node;
    const recall = this.#emitter.remember();
    f.if();
    this.#follow(node.taken ?? node.next);
    f.end();
    this.#node = n;
    flags.form = form;
    recall();
    this.#follow(node.next);
  }

  #goto(node: RegionNode, to: Inst): void {
    const f = this.#f;
    const { flags } = this.#emitter;
    const { target } = this.#locals;
    const known = this.#emitter.knownTarget(to);
    if (known !== undefined) {
      this.#closeRun();
      const edge = node.predicted.find(({ offset }) => offset === known);
      this.#follow(edge ?? { offset: known, node: undefined });
      return;
    }
    this.#emitter.pushValue(to);
    f.set(target);
    this.#closeRun();
    const edges = node.predicted;
    if (this.#emitter.mayKill && edges.length > 0) {
      const { form } = flags;
      this.#emitter.pushMustLeave();
      f.hint(false).if().get(target);
      this.#leave(REGION_DONE);
      flags.form = form;
      f.end();
    }
    const table = targetTable(edges, node.calls);
    if (table !== undefined) this.#switch(edges, table);
    else {
      this.#alike(edges, (edge) => {
        this.#pushIsTarget(edge);
        (edges.length < 3 ? f.hint(true) : f).if();
        this.#follow(edge);
        f.end();
      });
    }
    f.get(target);
    this.#leave(REGION_DONE);
  }

  /** Emits each of several ways from here, with what is known now. */
  #alike(edges: readonly RegionEdge[], emit: (edge: RegionEdge) => void): void {
    const { flags } = this.#emitter;
    const n = this.#node;
    const { form } = flags;
    const recall = this.#emitter.remember();
    for (const edge of edges) {
      emit(edge);
      this.#node = n;
      flags.form = form;
      recall();
    }
  }

  /** Pushes 1 when the target is that of the edge. */
  #pushIsTarget({ offset }: RegionEdge): void {
    const f = this.#f;
    const { target, base } = this.#locals;
    if (this.#region.code64) f.get(target).get(base).i64(offset).op(0x7c).op(0x51);
    else f.get(target).op(0xa7).get(base).op(0xa7).i32(offset).op(0x6a).op(0x46);
  }

  /** Goes along the edge of the target by a table; on when it is none of them. */
  #switch(edges: readonly RegionEdge[], { first, shift, indexes }: TargetTable): void {
    const f = this.#f.block();
    const other = f.depth;
    const labels = edges.map(() => f.block().depth).reverse();
    // The sum comes first, since the target is there last.
    f.get(this.#locals.target).get(this.#locals.base);
    if (first !== 0) f.i64(first).op(0x7c);
    f.op(0x7d);
    if (this.#region.code64) {
      const distance = f.local('i64');
      f.tee(distance)
        .i64(0x7fffffff)
        .op(0x56)
        .brIf(f.depth - other)
        .get(distance);
    }
    f.op(0xa7);
    if (shift > 0) f.i32(shift).op(0x78);
    f.brTable(
      indexes.map((i) => labels[i ?? -1] ?? other),
      other,
    );
    this.#alike(edges, (edge) => {
      f.end();
      this.#follow(edge);
    });
    f.end();
  }

  /** Goes along an edge: the end of what the current node does. */
  #follow(edge: RegionEdge): void {
    const f = this.#f;
    const { flags } = this.#emitter;
    const to = edge.node;
    if (to === undefined || !this.#flow.isKept(this.#node, to)) {
      this.#emitter.pushRip(edge.offset);
      this.#leave(REGION_DONE);
      return;
    }
    // What follows here alone takes the flags as they are.
    const isAlone = this.#flow.isMerge[to] !== true && this.#flow.isLoop[to] !== true;
    if (!isAlone) {
      this.#prepareFlags(to);
      this.#budget.settle();
    }
    const loop = this.#loops.get(to);
    if (
      loop !== undefined &&
      (this.#flow.position[to] ?? 0) <= (this.#flow.position[this.#node] ?? 0)
    ) {
      this.#again(edge, to, loop);
      return;
    }
    const block = this.#blocks.get(to);
    if (block !== undefined) f.branch(block);
    else this.#inner(to, isAlone ? flags.form : this.#formAt(to));
  }

  /** A node within the code of the current one. */
  #inner(to: number, form: FlagForm): void {
    const [n, insn] = [this.#node, this.#insn];
    this.#tree(to, form);
    [this.#node, this.#insn] = [n, insn];
    this.#mark('insn');
  }

  /**
   * Another round of a loop; leaves when the budget is spent or something wants attention. Two branches that are never
   * taken cost less than the value of a comparison.
   */
  #again(edge: RegionEdge, to: number, loop: number): void {
    const f = this.#f;
    f.get(this.#locals.budget)
      .i32(this.#region.nodes[to]?.insns.length ?? 0)
      .op(0x4e);
    f.hint(true).if().get(0).mem(I32_LOAD, S_ATTENTION).op(0x45);
    f.hint(true)
      .brIf(f.depth - loop)
      .end();
    this.#emitter.pushRip(edge.offset);
    this.#leave(REGION_BOUNDARY);
  }
}
