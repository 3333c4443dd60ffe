// Requests and service of a local APIC: IRR, ISR, TMR and the priorities. Source: Intel SDM vol. 3A, 11.6.2.4, 11.8.
import type { StateWords } from '#hw/state.ts';
import { REG_IRR, REG_ISR, REG_TMR, REG_TPR } from './lapic-regs.ts';

/** A bit for each vector. */
const VECTOR_WORDS = 8;

export class LapicQueue {
  readonly #w: StateWords;

  constructor(words: StateWords) {
    this.#w = words;
  }

  /** From any thread. */
  request(vector: number, isLevel: boolean): void {
    const bit = 1 << (vector & 31);
    const word = vector >> 5;
    if (isLevel) this.#w.atomicOr(REG_TMR + word, bit);
    else this.#w.atomicClear(REG_TMR + word, bit);
    this.#w.atomicOr(REG_IRR + word, bit);
  }

  /** The highest request, deliverable or not; -1 when there is none. */
  highestRequest(): number {
    return this.#highest(REG_IRR);
  }

  /** The highest request that the processor priority lets through, or -1. */
  deliverable(): number {
    const vector = this.#highest(REG_IRR);
    return vector >= 0 && vector >> 4 > this.processorPriority() >> 4 ? vector : -1;
  }

  accept(vector: number): void {
    const bit = 1 << (vector & 31);
    this.#w.atomicClear(REG_IRR + (vector >> 5), bit);
    this.#w.atomicOr(REG_ISR + (vector >> 5), bit);
  }

  /** Ends the highest interrupt in service: its vector, or -1. */
  end(): number {
    const vector = this.#highest(REG_ISR);
    if (vector >= 0) this.#w.atomicClear(REG_ISR + (vector >> 5), 1 << (vector & 31));
    return vector;
  }

  isLevel(vector: number): boolean {
    return (this.#w.atomicGet(REG_TMR + (vector >> 5)) & (1 << (vector & 31))) !== 0;
  }

  processorPriority(): number {
    const tpr = this.#w.get(REG_TPR);
    const inService = Math.max(0, this.#highest(REG_ISR));
    return tpr >> 4 >= inService >> 4 ? tpr : inService & 0xf0;
  }

  /** Lowest-priority delivery goes to the APIC with the least of these. */
  arbitrationPriority(): number {
    const tpr = this.#w.get(REG_TPR);
    const service = Math.max(0, this.#highest(REG_ISR)) >> 4;
    const request = Math.max(0, this.#highest(REG_IRR)) >> 4;
    const task = tpr >> 4;
    if (task >= request && task > service) return tpr;
    return Math.max(task & service, request) << 4;
  }

  #highest(first: number): number {
    return this.#w.highestBit(first, VECTOR_WORDS);
  }
}
