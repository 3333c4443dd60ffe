const PAGE_BITS = 1 << 16;

/** A set of numbers that takes room only where it has members. */
export class SparseBits {
  readonly #pages = new Map<number, Uint8Array>();

  /** Adds `index`; false when it was there already. */
  add(index: number): boolean {
    const key = Math.floor(index / PAGE_BITS);
    let page = this.#pages.get(key);
    if (page === undefined) {
      page = new Uint8Array(PAGE_BITS / 8);
      this.#pages.set(key, page);
    }
    const byte = (index % PAGE_BITS) >>> 3;
    const bit = 1 << (index & 7);
    const old = page[byte] ?? 0;
    page[byte] = old | bit;
    return (old & bit) === 0;
  }

  has(index: number): boolean {
    const page = this.#pages.get(Math.floor(index / PAGE_BITS));
    return ((page?.[(index % PAGE_BITS) >>> 3] ?? 0) & (1 << (index & 7))) !== 0;
  }
}
