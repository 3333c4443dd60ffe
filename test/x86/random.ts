/** A small generator of reproducible randomness (splitmix64): a seed on the command line replays a failure. */
export class Random {
  #state: bigint;

  constructor(seed: number) {
    this.#state = BigInt(seed);
  }

  u64(): bigint {
    this.#state = BigInt.asUintN(64, this.#state + 0x9e3779b97f4a7c15n);
    let z = this.#state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  }

  below(limit: number): number {
    return Number(this.u64() % BigInt(limit));
  }

  pick<T>(list: readonly T[]): T {
    const item = list[this.below(list.length)];
    if (item === undefined) throw new Error('random: nothing to pick from');
    return item;
  }

  /** An integer as programs have them: often small, often near a power of two, often repeated bytes, else anything. */
  value(): bigint {
    switch (this.below(6)) {
      case 0:
        return BigInt.asUintN(64, BigInt(this.below(64)) - 32n);
      case 1:
        return BigInt.asUintN(64, (1n << BigInt(this.below(65))) - BigInt(this.below(3)));
      case 2:
        return this.pick([
          0n,
          0x8080808080808080n,
          0x7f7f7f7f7f7f7f7fn,
          0xffffffffn,
          0x80000000n,
          0xffffn,
          0x8000n,
        ]);
      default:
        return this.u64();
    }
  }
}
