import type { ValueType } from '#ir/opcodes.ts';
import type { FunctionBody } from './wasm.ts';

/** Locals of a function, handed out by type and given back when a handler ends, so that handlers share them. */
export class LocalPool {
  readonly #f: FunctionBody;
  readonly #all = new Map<ValueType, number[]>();
  readonly #used = new Map<ValueType, number>();

  constructor(f: FunctionBody) {
    this.#f = f;
  }

  take(type: ValueType): number {
    const all = this.#all.get(type) ?? [];
    this.#all.set(type, all);
    const used = this.#used.get(type) ?? 0;
    this.#used.set(type, used + 1);
    const local = all[used] ?? this.#f.local(type);
    all[used] = local;
    return local;
  }

  releaseAll(): void {
    this.#used.clear();
  }
}
