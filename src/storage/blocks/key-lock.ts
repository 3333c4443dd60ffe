/** Runs what shares a key one after the other. */
export class KeyLock {
  readonly #tails = new Map<number, Promise<unknown>>();

  isTaken(key: number): boolean {
    return this.#tails.has(key);
  }

  /** All keys are taken at once: two that share some never wait for each other. */
  async run<T>(keys: readonly number[], action: () => Promise<T>): Promise<T> {
    const before = keys.flatMap((key) => this.#tails.get(key) ?? []);
    const mine = before.length === 0 ? action() : Promise.allSettled(before).then(action);
    for (const key of keys) this.#tails.set(key, mine);
    try {
      return await mine;
    } finally {
      for (const key of keys) if (this.#tails.get(key) === mine) this.#tails.delete(key);
    }
  }
}
