import type { Block, Inst } from '#ir/block.ts';
import type { ValueType } from '#ir/opcodes.ts';
import type { LocalPool } from './local-pool.ts';
import type { FunctionBody } from './wasm.ts';

type Place = { at: 'inline' } | { at: 'local'; local: number } | { at: 'dropped' };

/** Emits straight-line IR: where values are kept, pure ops, constants. The tiers add what reaches guest state. */
export abstract class BlockEmitter {
  protected readonly f: FunctionBody;
  protected readonly pool: LocalPool;
  readonly #places = new Map<Inst, Place>();

  constructor(f: FunctionBody, pool: LocalPool) {
    this.f = f;
    this.pool = pool;
  }

  /** Emits an op that is not pure: registers, memory, flags, calls, terminators. */
  protected abstract special(inst: Inst): void;

  emit(block: Block): void {
    this.#place(block.insts);
    this.prepare(block.insts);
    for (const inst of block.insts) {
      const place = this.#places.get(inst);
      if (place === undefined || place.at === 'inline' || place.at === 'dropped') continue;
      this.#compute(inst);
      if (inst.op.result !== 'void') this.f.set(place.local);
    }
  }

  /** The values that must be there when `inst` is emitted. */
  protected usesOf(inst: Inst): readonly Inst[] {
    return inst.args;
  }

  /** Called when it is known where each value will be. */
  protected prepare(_insts: readonly Inst[]): void {}

  protected isDropped(inst: Inst): boolean {
    return this.#places.get(inst)?.at === 'dropped';
  }

  /** Decides for each value: dropped, computed where it is used, or kept in a local. Walks backwards. */
  #place(insts: readonly Inst[]): void {
    const uses = new Map<Inst, { count: number; at: number }>();
    const effectsUpTo: number[] = [];
    let effects = 0;
    insts.forEach((inst, i) => {
      effectsUpTo[i] = effects;
      if (inst.op.effect === true) effects++;
    });
    for (let i = insts.length - 1; i >= 0; i--) {
      const inst = insts[i];
      if (inst === undefined) continue;
      const use = uses.get(inst);
      const still = use === undefined || effectsUpTo[use.at] === effectsUpTo[i];
      const place = this.#choose(inst, use?.count ?? 0, still);
      this.#places.set(inst, place);
      if (place.at === 'dropped') continue;
      const emittedAt = place.at === 'inline' ? (use?.at ?? i) : i;
      for (const arg of this.usesOf(inst)) {
        const known = uses.get(arg);
        uses.set(arg, { count: (known?.count ?? 0) + 1, at: known?.at ?? emittedAt });
      }
    }
  }

  /** `still`: no effect lies between the value and where it is used. */
  #choose(inst: Inst, uses: number, still: boolean): Place {
    const { name, effect, reads, result } = inst.op;
    if (effect !== true) {
      if (uses === 0) return { at: 'dropped' };
      const constant = name.endsWith('.const') && result !== 'v128';
      if (constant || (uses === 1 && (reads !== true || still))) return { at: 'inline' };
    }
    return { at: 'local', local: result === 'void' ? -1 : this.pool.take(result) };
  }

  /** Pushes the value of `inst`. */
  protected push(inst: Inst): void {
    const place = this.#places.get(inst);
    if (place?.at === 'local') this.f.get(place.local);
    else this.#compute(inst);
  }

  protected pushArgs(inst: Inst): void {
    for (const arg of inst.args) this.push(arg);
  }

  #compute(inst: Inst): void {
    if (!this.computePure(inst, (arg) => this.push(arg))) this.special(inst);
  }

  /** Emits a pure op or a constant, its arguments pushed by `push`; false for any other. */
  protected computePure(inst: Inst, push: (arg: Inst) => void): boolean {
    const { op } = inst;
    if (op.wasm !== undefined) {
      for (const arg of inst.args) push(arg);
      this.#pure(inst, op.wasm);
    } else if (op.name.endsWith('.const')) this.#const(inst);
    else if (op.name.endsWith('.select')) {
      // A select takes the condition last. v128 needs no typed one: it is a number type for `select` as the others are.
      for (const arg of [...inst.args.slice(1), ...inst.args.slice(0, 1)]) push(arg);
      this.f.op(0x1b);
    } else return false;
    return true;
  }

  #pure(inst: Inst, code: number): void {
    this.f.op(code);
    if (inst.attr.bytes !== undefined) this.f.code.raw(inst.attr.bytes);
    else if (inst.op.name.endsWith('_lane') || inst.op.name.includes('extract_lane')) {
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
    const place = this.#places.get(inst);
    if (place?.at === 'local') return place.local;
    const local = this.pool.take(inst.op.result as ValueType);
    this.push(inst);
    this.f.set(local);
    return local;
  }
}
