import { askedOnce, type Block, type Inst } from '#ir/block.ts';
import type { ValueType } from '#ir/opcodes.ts';
import type { LocalPool } from './local-pool.ts';
import type { FunctionBody } from './wasm.ts';

// Where a value is, if not in the local of that number.
const DROPPED = -1;
const INLINE = -2;
/** An effect without a result. */
const NOWHERE = -3;
/** In a local that has yet to be taken. */
const KEPT = -4;

/** Where each value of a block is to be: DROPPED, INLINE, NOWHERE or KEPT. */
type PlanOf = (block: Block) => readonly number[];

/** `usesOf`: the values that must be there when one is emitted. */
export function plannedBy(usesOf: (inst: Inst) => readonly Inst[]): PlanOf {
  return askedOnce(({ insts }) => plan(insts, usesOf));
}

const USUAL_PLAN = plannedBy(({ args }) => args);

/** Decides for each value: dropped, computed where it is used, or kept in a local. Walks backwards. */
function plan(insts: readonly Inst[], usesOf: (inst: Inst) => readonly Inst[]): readonly number[] {
  const places = insts.map(() => DROPPED);
  const counts = insts.map(() => 0);
  /** Where the last use is emitted. */
  const usedAt = insts.map(() => 0);
  const effectsUpTo: number[] = [];
  let effects = 0;
  for (const { op } of insts) {
    effectsUpTo.push(effects);
    if (op.effect === true) effects++;
  }
  for (let i = insts.length - 1; i >= 0; i--) {
    const inst = insts[i];
    if (inst === undefined) continue;
    const count = counts[i] ?? 0;
    const at = usedAt[i] ?? i;
    const still = count === 0 || effectsUpTo[at] === effectsUpTo[i];
    const place = choose(inst, count, still);
    places[i] = place;
    if (place === DROPPED) continue;
    const emittedAt = place === INLINE ? at : i;
    for (const arg of usesOf(inst)) {
      if (counts[arg.index] === 0) usedAt[arg.index] = emittedAt;
      counts[arg.index] = (counts[arg.index] ?? 0) + 1;
    }
  }
  return places;
}

/** `still`: no effect lies between the value and where it is used. */
function choose({ op }: Inst, uses: number, still: boolean): number {
  const { family, effect, reads, result } = op;
  if (effect !== true) {
    if (uses === 0) return DROPPED;
    if (family === 'const' && result !== 'v128') return INLINE;
    if (uses === 1 && (reads !== true || still)) return INLINE;
  }
  return result === 'void' ? NOWHERE : KEPT;
}

/** Emits straight-line IR: where values are kept, pure ops, constants. The tiers add what reaches guest state. */
export abstract class BlockEmitter {
  protected readonly f: FunctionBody;
  protected readonly pool: LocalPool;
  readonly #planOf: PlanOf;
  /** By the position of the value in its block. */
  #places: number[] = [];

  constructor(f: FunctionBody, pool: LocalPool, planOf: PlanOf = USUAL_PLAN) {
    this.f = f;
    this.pool = pool;
    this.#planOf = planOf;
  }

  /** Emits an op that is not pure: registers, memory, flags, calls, terminators. */
  protected abstract special(inst: Inst): void;

  emit(block: Block): void {
    const places = this.#planOf(block).slice();
    this.#places = places;
    this.prepare(block.insts);
    for (const inst of block.insts) {
      const place = places[inst.index];
      if (place === DROPPED || place === INLINE) continue;
      this.#compute(inst);
      if (place !== KEPT) continue;
      const local = this.pool.take(inst.op.result as ValueType);
      this.f.set(local);
      places[inst.index] = local;
    }
  }

  /** Called when it is known where each value will be. */
  protected prepare(_insts: readonly Inst[]): void {}

  /** The values of a block that nothing is emitted for. */
  droppedOf(block: Block): Inst[] {
    const plan = this.#planOf(block);
    return block.insts.filter((inst) => plan[inst.index] === DROPPED);
  }

  protected isDropped(inst: Inst): boolean {
    return this.#places[inst.index] === DROPPED;
  }

  /** Pushes the value of `inst`. */
  protected push(inst: Inst): void {
    const place = this.#places[inst.index] ?? INLINE;
    if (place >= 0) this.f.get(place);
    else this.#compute(inst);
  }

  /** Whether a value is computed where it is used. */
  protected isInline(inst: Inst): boolean {
    return this.#places[inst.index] === INLINE;
  }

  protected pushArgs(inst: Inst): void {
    for (const arg of inst.args) this.push(arg);
  }

  readonly #pushArg = (arg: Inst): void => this.push(arg);

  #compute(inst: Inst): void {
    if (!this.computePure(inst, this.#pushArg)) this.special(inst);
  }

  /** Emits a pure op or a constant, its arguments pushed by `push`; false for any other. */
  protected computePure(inst: Inst, push: (arg: Inst) => void): boolean {
    const { op, args } = inst;
    switch (op.family) {
      case 'pure':
        for (const arg of args) push(arg);
        this.#pure(inst, op.wasm ?? 0);
        return true;
      case 'const':
        this.#const(inst);
        return true;
      case 'select': {
        // It takes the condition last. v128 needs no typed one: it is a number type for `select` as the others are.
        const [condition, a, b] = args as [Inst, Inst, Inst];
        push(a);
        push(b);
        push(condition);
        this.f.op(0x1b);
        return true;
      }
      default:
        return false;
    }
  }

  #pure(inst: Inst, code: number): void {
    this.f.op(code);
    if (inst.attr.bytes !== undefined) this.f.code.raw(inst.attr.bytes);
    else if (inst.op.takesLane) {
      this.f.code.byte(Number(inst.attr.imm ?? 0));
    }
  }

  #const(inst: Inst): void {
    const value = inst.attr.imm ?? 0;
    switch (inst.op.result) {
      case 'i32':
        this.f.i32(Number(value));
        break;
      case 'i64':
        this.f.i64(value);
        break;
      case 'f32':
      case 'f64': {
        const wide = inst.op.result === 'f64';
        const bytes = new Uint8Array(wide ? 8 : 4);
        const view = new DataView(bytes.buffer);
        if (wide) view.setFloat64(0, Number(value), true);
        else view.setFloat32(0, Number(value), true);
        this.f.op(wide ? 0x44 : 0x43).code.raw(bytes);
        break;
      }
      default:
        this.f.op(0xfd0c).code.raw(inst.attr.bytes ?? new Uint8Array(16));
    }
  }

  /** The local that holds a value, computed now if it is to be used only here. */
  protected inLocal(inst: Inst): number {
    const place = this.#places[inst.index] ?? INLINE;
    if (place >= 0) return place;
    const local = this.pool.take(inst.op.result as ValueType);
    this.push(inst);
    this.f.set(local);
    return local;
  }
}
