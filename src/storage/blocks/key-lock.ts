/** Runs what is under one key one after the other. */
export class KeyLock {
  readonly #tails = new Map<number, Promise<unknown>>();

  async run<T>(key: number, action: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const mine = before.then(action, action);
    this.#tails.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.#tails.get(key) === mine) this.#tails.delete(key);
    }
  }
}
