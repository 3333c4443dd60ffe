import type { CheckResult } from '../image.ts';

const MAX_MESSAGES = 2000;

/** Collects what a check finds. */
export class CheckReport {
  readonly #messages: string[] = [];
  #corruptions = 0;
  #leaks = 0;
  #corruptionsFixed = 0;
  #leaksFixed = 0;

  get hasCorruption(): boolean {
    return this.#corruptions > this.#corruptionsFixed;
  }

  corruption(message: string): void {
    this.#corruptions++;
    this.#say(message);
  }

  leak(message: string, count = 1): void {
    this.#leaks += count;
    this.#say(message);
  }

  fixedCorruption(): void {
    this.#corruptionsFixed++;
  }

  fixedLeaks(count: number): void {
    this.#leaksFixed += count;
  }

  result(counts: {
    readonly imageEndBytes: number;
    readonly totalClusters: number;
    readonly allocatedClusters: number;
    readonly fragmentedClusters?: number;
    readonly compressedClusters?: number;
  }): CheckResult {
    return {
      corruptions: this.#corruptions - this.#corruptionsFixed,
      leaks: this.#leaks - this.#leaksFixed,
      corruptionsFixed: this.#corruptionsFixed,
      leaksFixed: this.#leaksFixed,
      checkErrors: 0,
      messages: this.#messages,
      fragmentedClusters: 0,
      compressedClusters: 0,
      ...counts,
    };
  }

  #say(message: string): void {
    if (this.#messages.length < MAX_MESSAGES) this.#messages.push(message);
  }
}
