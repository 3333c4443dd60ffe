import type { ValueType } from '#ir/opcodes.ts';
import type { FunctionBody } from './wasm.ts';

/** Locals of a function, handed out by type and given back when a handler ends, so that handlers share them. */
export class LocalPool {
  readonly #f: FunctionBody;
  readonly #all: Record<ValueType, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
  /** How many of them are taken. */
  readonly #used: Record<ValueType, number> = { i32: 0, i64: 0, f32: 0, f64: 0, v128: 0 };

  constructor(f: FunctionBody) {
    this.#f = f;
  }

  take(type: ValueType): number {
    const all = this.#all[type];
    const used = this.#used[type]++;
    const local = all[used] ?? this.#f.local(type);
    all[used] = local;
    return local;
  }

  releaseAll(): void {
    const used = this.#used;
    used.i32 = used.i64 = used.f32 = used.f64 = used.v128 = 0;
  }
}
