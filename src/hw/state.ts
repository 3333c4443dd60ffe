import type { DeviceState } from './device.ts';

/** How many words of each kind a device keeps in its `DeviceState`. */
export interface StateSize {
  readonly i32: number;
  readonly f64: number;
}

/** State over private memory, for a device that one thread alone uses. */
export function newDeviceState(size: StateSize): DeviceState {
  return { i32: new Int32Array(size.i32), f64: new Float64Array(size.f64) };
}

/** Cuts the states of several devices, one after the other, out of a larger one. */
export class StateCarver {
  readonly #from: DeviceState;
  #i32 = 0;
  #f64 = 0;

  constructor(from: DeviceState) {
    this.#from = from;
  }

  take(size: StateSize): DeviceState {
    const i32 = this.#from.i32.subarray(this.#i32, this.#i32 + size.i32);
    const f64 = this.#from.f64.subarray(this.#f64, this.#f64 + size.f64);
    this.#i32 += size.i32;
    this.#f64 += size.f64;
    return { i32, f64 };
  }
}

/** Checked access to a `DeviceState` by word number. Reads see what other threads wrote under the machine's lock. */
export class StateWords {
  readonly #i32: Int32Array;
  readonly #f64: Float64Array;

  /** @throws {RangeError} when `state` is smaller than `size`. */
  constructor(state: DeviceState, size: StateSize) {
    if (state.i32.length < size.i32 || state.f64.length < size.f64)
      throw new RangeError(`device state needs ${size.i32} i32 and ${size.f64} f64 words`);
    this.#i32 = state.i32;
    this.#f64 = state.f64;
  }

  /** As unsigned 32 bits. */
  get(index: number): number {
    return (this.#i32[index] ?? 0) >>> 0;
  }

  /** Keeps the low 32 bits. */
  set(index: number, value: number): void {
    this.#i32[index] = value;
  }

  flag(index: number): boolean {
    return this.#i32[index] !== 0;
  }

  setFlag(index: number, value: boolean): void {
    this.#i32[index] = value ? 1 : 0;
  }

  time(index: number): number {
    return this.#f64[index] ?? 0;
  }

  setTime(index: number, value: number): void {
    this.#f64[index] = value;
  }

  /** Zeroes the words `from` to `to`, `to` excluded. */
  clear(from: number, to: number): void {
    this.#i32.fill(0, from, to);
  }

  /** Sets bits in a word that several threads change without the lock. */
  atomicOr(index: number, bits: number): void {
    Atomics.or(this.#i32, index, bits);
  }

  /** Clears bits in such a word; returns what it held before. */
  atomicClear(index: number, bits: number): number {
    return Atomics.and(this.#i32, index, ~bits) >>> 0;
  }

  atomicGet(index: number): number {
    return Atomics.load(this.#i32, index) >>> 0;
  }

  /** The number of the highest bit that is set in `count` such words from `first` on; -1: none is. */
  highestBit(first: number, count: number): number {
    for (let word = count - 1; word >= 0; word--) {
      const bits = Atomics.load(this.#i32, first + word);
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
    }
    return -1;
  }
}
