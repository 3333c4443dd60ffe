// The local APIC's timer. Source: Intel SDM vol. 3A, 11.5.4.
import type { Clock } from '#hw/device.ts';
import type { StateWords } from '#hw/state.ts';
import {
  LVT_MASKED,
  LVT_TIMER_MODE_SHIFT,
  REG_LVT_TIMER,
  REG_TIMER_DIVIDE,
  REG_TIMER_INITIAL,
  TIMER_NEXT_NS,
  TIMER_ONE_SHOT,
  TIMER_PERIODIC,
  TIMER_START_NS,
  TIMER_TSC_DEADLINE,
  TSC_DEADLINE_HIGH,
  TSC_DEADLINE_LOW,
} from './lapic-regs.ts';

/** Input clock of the timer before its divider, in Hz. CPUID leaves 0x15 and 0x40000010 must agree with it. */
export const LAPIC_TIMER_HZ = 1_000_000_000;
const NS_PER_CYCLE = 1_000_000_000 / LAPIC_TIMER_HZ;

/** The machine time at which a vCPU's time-stamp counter reaches `tsc`; it may lie in the past. */
export type TscToNs = (tsc: bigint) => number;

export class LapicTimer {
  readonly #w: StateWords;
  readonly #clock: Clock;
  readonly #tscToNs: TscToNs;

  constructor(words: StateWords, clock: Clock, tscToNs: TscToNs) {
    this.#w = words;
    this.#clock = clock;
    this.#tscToNs = tscToNs;
  }

  reset(): void {
    this.#w.setTime(TIMER_START_NS, 0);
    this.#w.setTime(TIMER_NEXT_NS, Number.POSITIVE_INFINITY);
    this.#storeDeadline(0n);
  }

  get mode(): number {
    return (this.#w.get(REG_LVT_TIMER) >> LVT_TIMER_MODE_SHIFT) & 3;
  }

  get nextNs(): number {
    return this.#w.time(TIMER_NEXT_NS);
  }

  get tscDeadline(): bigint {
    return (BigInt(this.#w.get(TSC_DEADLINE_HIGH)) << 32n) | BigInt(this.#w.get(TSC_DEADLINE_LOW));
  }

  /** A write outside TSC-deadline mode is ignored (11.5.4.1). */
  setTscDeadline(tsc: bigint): void {
    if (this.mode !== TIMER_TSC_DEADLINE) return;
    this.#storeDeadline(tsc);
    this.schedule();
  }

  /** Zero stops the timer. */
  setInitialCount(count: number): void {
    if (this.mode === TIMER_TSC_DEADLINE) return;
    this.#w.set(REG_TIMER_INITIAL, count);
    const nowNs = this.#nowNs();
    this.#w.setTime(TIMER_START_NS, nowNs);
    // Of the same time: a short count may be over when the clock is read again.
    this.schedule(nowNs);
  }

  setDivide(value: number): void {
    const before = this.currentCount();
    this.#w.set(REG_TIMER_DIVIDE, value);
    // The count goes on from where it is, at the new speed.
    const done = this.#w.get(REG_TIMER_INITIAL) - before;
    const nowNs = this.#nowNs();
    this.#w.setTime(TIMER_START_NS, nowNs - done * this.#nsPerTick());
    this.schedule(nowNs);
  }

  /** The LVT entry has changed from `before`. A change from or to TSC-deadline mode disarms the timer. */
  lvtChanged(before: number): void {
    const oldMode = (before >> LVT_TIMER_MODE_SHIFT) & 3;
    if (
      oldMode !== this.mode &&
      (oldMode === TIMER_TSC_DEADLINE || this.mode === TIMER_TSC_DEADLINE)
    ) {
      this.#storeDeadline(0n);
      this.#w.set(REG_TIMER_INITIAL, 0);
    }
    this.schedule();
  }

  currentCount(): number {
    const initial = this.#w.get(REG_TIMER_INITIAL);
    if (initial === 0 || this.mode === TIMER_TSC_DEADLINE) return 0;
    const elapsedNs = this.#nowNs() - this.#w.time(TIMER_START_NS);
    const ticks = Math.floor(elapsedNs / this.#nsPerTick());
    if (this.mode === TIMER_PERIODIC) return initial - (ticks % initial);
    return Math.max(0, initial - ticks);
  }

  /** Moves the timer to `nowNs`; whether it has fired. Periods that were missed count once. */
  expire(nowNs: number): boolean {
    if (nowNs < this.nextNs) return false;
    this.#storeDeadline(0n);
    if (this.mode === TIMER_PERIODIC) this.#schedulePeriod(nowNs);
    else this.#w.setTime(TIMER_NEXT_NS, Number.POSITIVE_INFINITY);
    return true;
  }

  /** Whole nanoseconds, so that the instant a count ends and the count at it agree exactly. */
  #nowNs(): number {
    return Math.floor(this.#clock.nowNs());
  }

  #nsPerTick(): number {
    const bits = this.#w.get(REG_TIMER_DIVIDE);
    const value = (bits & 3) | ((bits & 8) >> 1);
    return NS_PER_CYCLE * (value === 7 ? 1 : 2 << value);
  }

  /** Also when the time-stamp counter was set or adjusted. */
  schedule(nowNs = this.#clock.nowNs()): void {
    const isMasked = (this.#w.get(REG_LVT_TIMER) & LVT_MASKED) !== 0;
    const initial = this.#w.get(REG_TIMER_INITIAL);
    let next = Number.POSITIVE_INFINITY;
    if (this.mode === TIMER_TSC_DEADLINE) {
      const tsc = this.tscDeadline;
      if (tsc !== 0n) next = this.#tscToNs(tsc);
    } else if (initial !== 0 && !isMasked) {
      if (this.mode === TIMER_PERIODIC) {
        this.#schedulePeriod(nowNs);
        return;
      }
      const endNs = this.#w.time(TIMER_START_NS) + initial * this.#nsPerTick();
      // One that ran out while masked is over; one that is due has still to fire.
      const isDue = this.nextNs <= nowNs;
      if (this.mode === TIMER_ONE_SHOT && (endNs > nowNs || isDue)) next = endNs;
    }
    this.#w.setTime(TIMER_NEXT_NS, next);
  }

  #schedulePeriod(nowNs: number): void {
    const periodNs = this.#w.get(REG_TIMER_INITIAL) * this.#nsPerTick();
    const startNs = this.#w.time(TIMER_START_NS);
    const periods = Math.floor((nowNs - startNs) / periodNs) + 1;
    this.#w.setTime(TIMER_NEXT_NS, startNs + periods * periodNs);
  }

  #storeDeadline(tsc: bigint): void {
    this.#w.set(TSC_DEADLINE_LOW, Number(tsc & 0xffff_ffffn));
    this.#w.set(TSC_DEADLINE_HIGH, Number(tsc >> 32n));
  }
}
