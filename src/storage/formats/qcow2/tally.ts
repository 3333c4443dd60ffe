const CHUNK = 1 << 14;

/** References counted for each cluster of a file; takes memory for those alone that have some. */
export class Tally {
  readonly #chunks = new Map<number, Uint32Array>();
  /** One more than the highest cluster counted. */
  end = 0;

  get(cluster: number): number {
    return this.#chunks.get(Math.floor(cluster / CHUNK))?.[cluster % CHUNK] ?? 0;
  }

  add(cluster: number, count: number): void {
    const index = Math.floor(cluster / CHUNK);
    let chunk = this.#chunks.get(index);
    if (chunk === undefined) {
      chunk = new Uint32Array(CHUNK);
      this.#chunks.set(index, chunk);
    }
    chunk[cluster % CHUNK] = (chunk[cluster % CHUNK] ?? 0) + count;
    this.end = Math.max(this.end, cluster + 1);
  }

  /** Calls `each` with the clusters that have references, in order. */
  each(each: (cluster: number, count: number) => void): void {
    for (const index of [...this.#chunks.keys()].sort((a, b) => a - b))
      this.#chunks.get(index)?.forEach((count, at) => {
        if (count > 0) each(index * CHUNK + at, count);
      });
  }
}
