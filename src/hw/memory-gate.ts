/** A vCPU compares what was written to memory; above it, in twos, devices that use memory. */
const COMPARING = 1;
const DEVICE = 2;

/**
 * Keeps devices out of the guest's memory while lockstep mode undoes and compares writes, and lockstep mode from it while
 * they are there. A word that the two threads share, 0 at first.
 */
export class MemoryGate {
  readonly #words: Int32Array;
  readonly #index: number;

  constructor(words: Int32Array, index: number) {
    this.#words = words;
    this.#index = index;
  }

  /**
   * The device thread is going to use memory, once nothing is being compared: that takes microseconds. `isAwaited`: the
   * vCPU waits for this thread, which then must not wait for the vCPU.
   */
  enter(isAwaited: () => boolean): void {
    Atomics.add(this.#words, this.#index, DEVICE);
    while ((Atomics.load(this.#words, this.#index) & COMPARING) !== 0 && !isAwaited());
  }

  leave(): void {
    Atomics.sub(this.#words, this.#index, DEVICE);
  }

  /** False while devices use memory: nothing can be compared then. */
  hold(): boolean {
    return Atomics.compareExchange(this.#words, this.#index, 0, COMPARING) === 0;
  }

  release(): void {
    Atomics.and(this.#words, this.#index, ~COMPARING);
  }
}
