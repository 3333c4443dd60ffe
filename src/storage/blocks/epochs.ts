/** The requests that began between two calls of `after`. */
export interface Epoch {
  active: number;
  readonly waiting: (() => void)[];
}

/**
 * Tells when all requests that were under way have ended: what they looked up before a change (a cluster's place, say)
 * they may use until then.
 */
export class Epochs {
  #current: Epoch = { active: 0, waiting: [] };
  readonly #older: Epoch[] = [];

  enter(): Epoch {
    this.#current.active++;
    return this.#current;
  }

  leave(epoch: Epoch): void {
    if (--epoch.active === 0) this.#advance();
  }

  /** Calls `then` when all requests that have entered by now have left. */
  after(then: () => void): void {
    this.#current.waiting.push(then);
    this.#older.push(this.#current);
    this.#current = { active: 0, waiting: [] };
    this.#advance();
  }

  #advance(): void {
    while (this.#older[0]?.active === 0)
      for (const then of this.#older.shift()?.waiting ?? []) then();
  }
}
