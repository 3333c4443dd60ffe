import type { FunctionBody } from './wasm.ts';

const I32_ADD = 0x6a;

/**
 * Counts the instructions of a region off its budget: where ways meet and where it is left, and not block by block, since
 * V8 would keep what is left at each block for the exits that may never be taken.
 */
export class RegionBudget {
  /** Instructions that are done and not yet subtracted from the local. */
  #spent = 0;
  readonly #f: FunctionBody;
  readonly #local: number;

  constructor(f: FunctionBody, local: number) {
    this.#f = f;
    this.#local = local;
  }

  spend(insns: number): void {
    this.#spent += insns;
  }

  /** Ways meet here that have all settled. */
  meet(): void {
    this.#spent = 0;
  }

  /** What is known now; the answer makes it known again. */
  remember(): () => void {
    const spent = this.#spent;
    return () => {
      this.#spent = spent;
    };
  }

  /** Pushes what is left, with so many instructions that have not been done. */
  push(undone = 0): void {
    this.#f.get(this.#local);
    if (undone !== this.#spent) this.#f.i32(undone - this.#spent).op(I32_ADD);
  }

  /** Brings the local up to date on the way out; a number of instructions that were not done is pushed by `pushUndone`. */
  leave(pushUndone?: () => void): void {
    if (this.#spent === 0 && pushUndone === undefined) return;
    this.push();
    if (pushUndone !== undefined) {
      pushUndone();
      this.#f.op(I32_ADD);
    }
    this.#f.set(this.#local);
  }

  /** Brings the local up to date, and goes on. */
  settle(): void {
    this.leave();
    this.#spent = 0;
  }
}
