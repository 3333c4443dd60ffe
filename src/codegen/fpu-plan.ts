import { askedOnce, type Inst } from '#ir/block.ts';
import { S_FPU_REGS } from '#ir/state.ts';
import { successors } from './control-flow.ts';
import type { Region, RegionNode } from './region.ts';

// The x87's register stack in a region: where TOP is known of each instruction, relative to the entry, a register of the
// stack is always the same slot, which is a local. Slot 0 is ST(0) at the entry.

const SLOTS = 8;

/** What a helper does to the stack, while all exceptions are masked and no register is empty or full that must not be. */
export interface FpuEffect {
  /** Registers that it reads, none of which may be empty. */
  readonly reads: readonly number[];
  readonly writes: readonly number[];
  /** By how much TOP moves: -1 after a push. */
  readonly moves: number;
}

const BINARY_TO_0: FpuEffect = { reads: [0, 1], writes: [0], moves: 0 };
const UNARY: FpuEffect = { reads: [0], writes: [0], moves: 0 };
const PUSH: FpuEffect = { reads: [], writes: [7], moves: -1 };
const NONE: FpuEffect = { reads: [], writes: [], moves: 0 };

/** By helper: its effect, of its arguments that are constants (others are NaN). */
const EFFECTS: Readonly<Record<string, (...args: number[]) => FpuEffect>> = {
  x87_load_f64: () => PUSH,
  x87_load_f32: () => PUSH,
  x87_load_int: () => PUSH,
  x87_load_f80: () => PUSH,
  x87_load_constant: () => PUSH,
  x87_load_st: (i = NaN) => ({ reads: [i], writes: [7], moves: -1 }),
  x87_exchange: (i = NaN) => ({ reads: [0, i], writes: [0, i], moves: 0 }),
  x87_move: (i = NaN, pops = 0) => ({ reads: [0], writes: [i], moves: pops }),
  x87_sign: () => UNARY,
  x87_arith: (_, i = NaN, mode = 0) => ({
    reads: [0, i],
    writes: [mode & 1 ? i : 0],
    moves: mode >> 1,
  }),
  x87_arith_f64: () => UNARY,
  x87_arith_f32: () => UNARY,
  x87_arith_int: () => UNARY,
  x87_sqrt: () => UNARY,
  x87_st_f64: (_, pops = 0) => ({ reads: [0], writes: [], moves: pops }),
  x87_st_f32: (_, pops = 0) => ({ reads: [0], writes: [], moves: pops }),
  x87_st_f80: () => ({ reads: [0], writes: [], moves: 1 }),
  x87_st_int: (_, _bits, mode = 0) => ({ reads: [0], writes: [], moves: mode & 1 }),
  x87_compare: (i = NaN, _, pops = 0) => ({ reads: [0, i], writes: [], moves: pops }),
  x87_compare_flags: (i = NaN, _, pops = 0) => ({ reads: [0, i], writes: [], moves: pops }),
  x87_compare_f64: (_, pops = 0) => ({ reads: [0], writes: [], moves: pops }),
  x87_compare_f32: (_, pops = 0) => ({ reads: [0], writes: [], moves: pops }),
  x87_compare_int: (_, pops = 0) => ({ reads: [0], writes: [], moves: pops }),
  x87_test: () => ({ reads: [0], writes: [], moves: 0 }),
  x87_round: () => UNARY,
  x87_exponential: () => UNARY,
  x87_scale: () => BINARY_TO_0,
  x87_remainder: () => BINARY_TO_0,
  x87_binary: () => ({ reads: [0, 1], writes: [1], moves: 1 }),
  x87_status: () => NONE,
  x87_wait: () => NONE,
  x87_nop: () => NONE,
  x87_load_control: () => NONE,
};

/** Helpers that touch the x87, known or not. */
const TOUCHING = /^(x87_|mmx_|f(n?init|nclex|rstor|nsave|ldenv|nstenv|xsave|xrstor)|x(save|rstor))/;

export function fpuEffect({ op, attr, args }: Inst): FpuEffect | undefined {
  if (op.family !== 'call') return undefined;
  const constants = args.map((a) => (a.op.family === 'const' ? Number(a.attr.imm ?? 0) : NaN));
  return EFFECTS[attr.helper ?? '']?.(...constants);
}

function touches({ op, attr }: Inst): boolean {
  if (op.family === 'call') return TOUCHING.test(attr.helper ?? '');
  const { slot } = attr;
  return (
    slot !== undefined &&
    'fixed' in slot &&
    slot.fixed >= S_FPU_REGS &&
    slot.fixed < S_FPU_REGS + 16 * SLOTS
  );
}

/** What must be so of the tags before some instructions: of the slots in `mask`, those in `empty` are empty. */
export interface TagCheck {
  readonly mask: number;
  readonly empty: number;
}

/** What a node does, in the order of its calls of helpers that touch the x87. */
interface NodePlan {
  /** TOP at its beginning, as a slot. */
  readonly top: number;
  /** By the number of the call. */
  readonly checks: ReadonlyMap<number, TagCheck>;
}

export interface FpuPlan {
  readonly nodes: readonly (NodePlan | undefined)[];
  /** Slots that are read or written, and those written. */
  readonly used: readonly number[];
  readonly written: readonly number[];
}

/** Undefined where a region does not touch the x87, or in ways that leave TOP or tags to the moment. */
export function planFpu(region: Region): FpuPlan | undefined {
  const calls = region.nodes.map(callsOf);
  if (calls.every((list) => list?.length === 0) || calls.includes(undefined)) return undefined;
  const tops = topsOf(region, calls as FpuEffect[][]);
  if (tops === undefined) return undefined;
  const used = new Set<number>();
  const written = new Set<number>();
  const nodes: (NodePlan | undefined)[] = [];
  for (const [n, node] of region.nodes.entries()) {
    const top = tops[n];
    const checks = top === undefined ? undefined : checksOf(node, top, { used, written });
    if (top !== undefined && checks === undefined) return undefined;
    nodes.push(top === undefined || checks === undefined ? undefined : { top, checks });
  }
  return { nodes, used: [...used], written: [...written] };
}

/** Undefined when one of them is not known. */
function callsOf(node: RegionNode): FpuEffect[] | undefined {
  const effects: FpuEffect[] = [];
  for (const { ir } of node.insns) {
    const found = effectsIn(ir);
    if (found === 'unknown') return undefined;
    for (const effect of found) effects.push(effect);
  }
  return effects;
}

/** What an instruction does to the stack, call by call. */
const effectsIn = askedOnce(({ insts }): readonly FpuEffect[] | 'unknown' => {
  const effects: FpuEffect[] = [];
  for (const inst of insts) {
    if (!touches(inst)) continue;
    const effect = fpuEffect(inst);
    if (effect === undefined || [...effect.reads, ...effect.writes].some(Number.isNaN))
      return 'unknown';
    effects.push(effect);
  }
  return effects;
});

/** TOP at each node that is reached from the entry; undefined when ways disagree. */
function topsOf(region: Region, calls: readonly FpuEffect[][]): number[] | undefined {
  const tops: number[] = [0];
  const waiting = [0];
  for (let n = waiting.pop(); n !== undefined; n = waiting.pop()) {
    const node = region.nodes[n];
    if (node === undefined) continue;
    const moves = (calls[n] ?? []).reduce((sum, effect) => sum + effect.moves, 0);
    const after = ((tops[n] ?? 0) + moves) & 7;
    for (const to of successors(node)) {
      if (tops[to] === undefined) {
        tops[to] = after;
        waiting.push(to);
      } else if (tops[to] !== after) return undefined;
    }
  }
  return tops;
}

/** Undefined when the code contradicts itself. */
function checksOf(
  node: RegionNode,
  start: number,
  slots: { readonly used: Set<number>; readonly written: Set<number> },
): ReadonlyMap<number, TagCheck> | undefined {
  const tags = new Tags(start);
  const calls = node.insns.flatMap(({ ir }) => ir.insts).filter((inst) => touches(inst));
  for (const [n, inst] of calls.entries()) {
    const effect = fpuEffect(inst);
    if (effect === undefined) return undefined;
    if (n === 0 || calls[n - 1]?.attr.helper === 'x87_load_control') tags.beginAt(n);
    for (const i of [...effect.reads, ...effect.writes]) slots.used.add(tags.slot(i));
    for (const i of effect.writes) slots.written.add(tags.slot(i));
    if (!tags.follow(effect)) return undefined;
  }
  return tags.checks;
}

/** The tags of a node, as far as its instructions tell. */
class Tags {
  readonly checks = new Map<number, { mask: number; empty: number }>();
  readonly #isEmpty = new Map<number, boolean>();
  #top: number;
  #check = { mask: 0, empty: 0 };

  constructor(top: number) {
    this.#top = top;
  }

  slot(i: number): number {
    return (this.#top + i) & 7;
  }

  /** What is wanted from here on is checked before that call. */
  beginAt(call: number): void {
    this.#check = { mask: 0, empty: 0 };
    this.checks.set(call, this.#check);
  }

  /** False when the instruction finds a register empty or full that must not be. */
  follow({ reads, writes, moves }: FpuEffect): boolean {
    const popped = Array.from({ length: Math.max(moves, 0) }, (_, i) => i);
    const fits = reads.every((i) => this.#wants(i, false)) && (moves >= 0 || this.#wants(7, true));
    for (const i of writes) this.#isEmpty.set(this.slot(i), false);
    if (!fits || !popped.every((i) => this.#wants(i, false))) return false;
    for (const i of popped) this.#isEmpty.set(this.slot(i), true);
    this.#top = this.slot(moves);
    return true;
  }

  #wants(i: number, empty: boolean): boolean {
    const slot = this.slot(i);
    const known = this.#isEmpty.get(slot);
    if (known !== undefined) return known === empty;
    this.#isEmpty.set(slot, empty);
    this.#check.mask |= 1 << slot;
    if (empty) this.#check.empty |= 1 << slot;
    return true;
  }
}
