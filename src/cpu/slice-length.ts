/** Time between two looks at the clock, which is kept by giving each slice as many instructions as fit. */
const SLICE_NS = 150_000;
/** More instructions than any block has. */
export const LEAST_SLICE = 1000;
const MOST_SLICE = 1_000_000;

/** How many instructions run until the next look at time and interrupts. */
export class SliceLength {
  insns = LEAST_SLICE;
  #began = 0;

  /** Makes the next slice longer or shorter by what the one that ends now took, when that was not cut short. */
  fit(nowNs: number, left: number): void {
    const took = nowNs - this.#began;
    this.#began = nowNs;
    if (this.wasCutShort(left)) return;
    // Code may become a thousand times slower at once; a pause of the host is not to cost more than a few short slices.
    const fitting = this.insns * Math.min(2, Math.max(1 / 16, SLICE_NS / took));
    this.insns = Math.round(Math.min(MOST_SLICE, Math.max(LEAST_SLICE, fitting)));
  }

  /** `left`: of the slice's instructions; below zero when a region went over it, which looks once a round of its loop. */
  wasCutShort(left: number): boolean {
    return left > this.insns / 8;
  }
}
