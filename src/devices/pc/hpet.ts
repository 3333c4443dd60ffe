import type { Clock, DeviceState, IrqLine, MmioDevice, TimedDevice } from '#hw/device.ts';
import { type StateSize, StateWords } from '#hw/state.ts';
import * as r from './hpet-regs.ts';

const CONFIGURATION = 0;
const STATUS = 1;
/** The main counter when it was last started, stopped or written; two words. */
const BASE = 2;
const TIMERS = 4;

// Words of each timer.
const T_CONFIGURATION = 0;
const T_COMPARATOR = 1; // two words
const T_PERIOD = 3; // two words
/** The low half of a comparator was written with "set value": its high half may follow. */
const T_SET_HIGH = 5;
const TIMER_WORDS = 6;

/** Machine time at which the counter held `BASE`. */
const START_NS = 0;
/** When each timer next matches; Infinity when it does not. */
const DUE_NS = 1;

export const HPET_STATE: StateSize = {
  i32: TIMERS + r.HPET_TIMERS * TIMER_WORDS,
  f64: DUE_NS + r.HPET_TIMERS,
};

const NS_PER_TICK = r.HPET_PERIOD_FS / 1_000_000;
const MASK_32 = 0xffff_ffffn;

export interface HpetWires {
  /** Input of the I/O APIC, for the routes of `T_ROUTES`. */
  readonly route: (gsi: number) => IrqLine;
  /** Where timers 0 and 1 go in legacy mode: in place of the PIT and the RTC. */
  readonly irq0: IrqLine;
  readonly irq8: IrqLine;
  /** The PIT and the RTC are to be cut off from their interrupts, or joined again. */
  readonly legacyChanged: (isLegacy: boolean) => void;
}

export class Hpet implements MmioDevice, TimedDevice {
  readonly #w: StateWords;
  readonly #clock: Clock;
  readonly #wires: HpetWires;

  constructor(state: DeviceState, clock: Clock, wires: HpetWires) {
    this.#w = new StateWords(state, HPET_STATE);
    this.#clock = clock;
    this.#wires = wires;
  }

  reset(): void {
    for (let n = 0; n < r.HPET_TIMERS; n++) {
      if (this.#w.get(STATUS) & (1 << n)) this.#line(n).set(false);
      this.#w.setTime(DUE_NS + n, Number.POSITIVE_INFINITY);
    }
    this.#w.clear(0, HPET_STATE.i32);
    for (let n = 0; n < r.HPET_TIMERS; n++)
      this.#set64(this.#at(n, T_COMPARATOR), (1n << 64n) - 1n);
    this.#wires.legacyChanged(false);
  }

  /** Aligned words of 32 bits are read; bytes and words of 16 are taken out of them. */
  readMmio(offset: number, size: number): number {
    const value = this.#read(offset & ~3);
    return Math.floor(value / 2 ** (8 * (offset & 3))) % 2 ** (8 * size);
  }

  /** The specification allows 32 and 64 bits only (2.3.2). */
  writeMmio(offset: number, size: number, value: number): void {
    if (size === 4 && (offset & 3) === 0) this.#write(offset, value >>> 0);
  }

  /** Whole nanoseconds, so that the instant of a match and the counter's value at it agree exactly. */
  #nowNs(): number {
    return Math.floor(this.#clock.nowNs());
  }

  #at(timer: number, word: number): number {
    return TIMERS + timer * TIMER_WORDS + word;
  }

  #get64(word: number): bigint {
    return (BigInt(this.#w.get(word + 1)) << 32n) | BigInt(this.#w.get(word));
  }

  #set64(word: number, value: bigint): void {
    this.#w.set(word, Number(value & MASK_32));
    this.#w.set(word + 1, Number((value >> 32n) & MASK_32));
  }

  get #isEnabled(): boolean {
    return (this.#w.get(CONFIGURATION) & r.CONF_ENABLE) !== 0;
  }

  get #isLegacy(): boolean {
    return (this.#w.get(CONFIGURATION) & r.CONF_LEGACY) !== 0;
  }

  #read(offset: number): number {
    switch (offset) {
      case r.CAPABILITIES:
        return r.CAPABILITIES_VALUE;
      case r.CAPABILITIES_HIGH:
        return r.HPET_PERIOD_FS;
      case r.CONFIGURATION:
        return this.#w.get(CONFIGURATION);
      case r.INTERRUPT_STATUS:
        return this.#w.get(STATUS);
      case r.COUNTER:
        return Number(this.#counter(this.#nowNs()) & MASK_32);
      case r.COUNTER_HIGH:
        return Number(this.#counter(this.#nowNs()) >> 32n);
      default:
        return this.#readTimer(offset - r.TIMERS);
    }
  }

  #readTimer(offset: number): number {
    const n = Math.floor(offset / r.TIMER_STRIDE);
    if (n < 0 || n >= r.HPET_TIMERS) return 0;
    switch (offset % r.TIMER_STRIDE) {
      case r.TIMER_CONFIGURATION:
        return this.#w.get(this.#at(n, T_CONFIGURATION)) | r.T_READ_ONLY;
      case r.TIMER_ROUTES:
        return r.T_ROUTES;
      case r.TIMER_COMPARATOR:
        return this.#w.get(this.#at(n, T_COMPARATOR));
      case r.TIMER_COMPARATOR_HIGH:
        return this.#w.get(this.#at(n, T_COMPARATOR + 1));
      default:
        return 0; // no FSB delivery
    }
  }

  #write(offset: number, value: number): void {
    switch (offset) {
      case r.CONFIGURATION:
        this.#configure(value & (r.CONF_ENABLE | r.CONF_LEGACY));
        break;
      case r.INTERRUPT_STATUS:
        for (let n = 0; n < r.HPET_TIMERS; n++) if (value & (1 << n)) this.#clearStatus(n);
        break;
      case r.COUNTER:
      case r.COUNTER_HIGH:
        this.#writeCounter(offset === r.COUNTER_HIGH, value);
        break;
      default:
        this.#writeTimer(offset - r.TIMERS, value);
    }
  }

  // ---- Main counter.

  #counter(nowNs: number): bigint {
    const base = this.#get64(BASE);
    if (!this.#isEnabled) return base;
    const ticks = Math.floor((nowNs - this.#w.time(START_NS)) / NS_PER_TICK);
    return BigInt.asUintN(64, base + BigInt(ticks));
  }

  #configure(value: number): void {
    const nowNs = this.#nowNs();
    const changed = value ^ this.#w.get(CONFIGURATION);
    if (changed & r.CONF_ENABLE) {
      this.#set64(BASE, this.#counter(nowNs));
      this.#w.setTime(START_NS, nowNs);
    }
    if (changed & r.CONF_LEGACY) for (let n = 0; n < r.HPET_TIMERS; n++) this.#clearStatus(n);
    this.#w.set(CONFIGURATION, value);
    if (changed & r.CONF_LEGACY) this.#wires.legacyChanged(this.#isLegacy);
    for (let n = 0; n < r.HPET_TIMERS; n++) this.#schedule(n, nowNs);
  }

  #writeCounter(isHigh: boolean, value: number): void {
    const nowNs = this.#nowNs();
    this.#set64(BASE, this.#counter(nowNs));
    this.#w.set(isHigh ? BASE + 1 : BASE, value);
    this.#w.setTime(START_NS, nowNs);
    for (let n = 0; n < r.HPET_TIMERS; n++) this.#schedule(n, nowNs);
  }

  // ---- Timers.

  #writeTimer(offset: number, value: number): void {
    const n = Math.floor(offset / r.TIMER_STRIDE);
    if (n < 0 || n >= r.HPET_TIMERS) return;
    switch (offset % r.TIMER_STRIDE) {
      case r.TIMER_CONFIGURATION:
        this.#configureTimer(n, value);
        break;
      case r.TIMER_COMPARATOR:
        this.#writeComparator(n, false, value);
        break;
      case r.TIMER_COMPARATOR_HIGH:
        this.#writeComparator(n, true, value);
        break;
      default: // capabilities and FSB are read only
    }
    this.#schedule(n, this.#nowNs());
  }

  #configureTimer(n: number, value: number): void {
    const word = this.#at(n, T_CONFIGURATION);
    const before = this.#w.get(word);
    const after = value & r.T_WRITABLE;
    const rewired = (before ^ after) & (r.T_LEVEL | r.T_ENABLE | r.T_ROUTE);
    if (rewired) this.#clearStatus(n);
    this.#w.set(word, after);
    this.#w.setFlag(this.#at(n, T_SET_HIGH), false);
    if (after & r.T_32BIT) {
      this.#w.set(this.#at(n, T_COMPARATOR + 1), 0);
      this.#w.set(this.#at(n, T_PERIOD + 1), 0);
    }
  }

  /** A periodic timer takes its period, and the comparator itself only under "set value" (2.3.9.2.2). */
  #writeComparator(n: number, isHigh: boolean, value: number): void {
    const configuration = this.#w.get(this.#at(n, T_CONFIGURATION));
    if (isHigh && configuration & r.T_32BIT) return;
    const half = isHigh ? 1 : 0;
    const isSetHigh = isHigh && this.#w.flag(this.#at(n, T_SET_HIGH));
    const isSet = (configuration & r.T_SET_VALUE) !== 0;
    if (!(configuration & r.T_PERIODIC) || isSet || isSetHigh)
      this.#w.set(this.#at(n, T_COMPARATOR + half), value);
    if (configuration & r.T_PERIODIC) this.#w.set(this.#at(n, T_PERIOD + half), value);
    this.#w.set(this.#at(n, T_CONFIGURATION), configuration & ~r.T_SET_VALUE);
    this.#w.setFlag(this.#at(n, T_SET_HIGH), isSet && !isHigh);
  }

  #bits(n: number): 32 | 64 {
    return this.#w.get(this.#at(n, T_CONFIGURATION)) & r.T_32BIT ? 32 : 64;
  }

  /** The match is on equality alone: a comparator that the counter has passed waits for it to come round. */
  #schedule(n: number, nowNs: number): void {
    let due = Number.POSITIVE_INFINITY;
    if (this.#isEnabled && this.#w.get(this.#at(n, T_CONFIGURATION)) & r.T_ENABLE) {
      const counter = this.#counter(nowNs);
      const wait = BigInt.asUintN(this.#bits(n), this.#get64(this.#at(n, T_COMPARATOR)) - counter);
      const elapsed = Math.floor((nowNs - this.#w.time(START_NS)) / NS_PER_TICK);
      const ticks = wait === 0n ? 2 ** this.#bits(n) : Number(wait);
      due = this.#w.time(START_NS) + (elapsed + ticks) * NS_PER_TICK;
    }
    this.#w.setTime(DUE_NS + n, due);
  }

  nextDeadlineNs(): number {
    let next = Number.POSITIVE_INFINITY;
    for (let n = 0; n < r.HPET_TIMERS; n++) next = Math.min(next, this.#w.time(DUE_NS + n));
    return next;
  }

  advance(nowNs: number): void {
    for (let n = 0; n < r.HPET_TIMERS; n++) {
      if (this.#w.time(DUE_NS + n) > nowNs) continue;
      this.#match(n, Math.floor(nowNs));
      this.#schedule(n, Math.floor(nowNs));
    }
  }

  /** Periods that were missed count once. */
  #match(n: number, nowNs: number): void {
    const configuration = this.#w.get(this.#at(n, T_CONFIGURATION));
    const period = this.#get64(this.#at(n, T_PERIOD));
    if (configuration & r.T_PERIODIC && period !== 0n) {
      const word = this.#at(n, T_COMPARATOR);
      const comparator = this.#get64(word);
      const late = BigInt.asUintN(this.#bits(n), this.#counter(nowNs) - comparator);
      const next = comparator + (late / period + 1n) * period;
      this.#set64(word, BigInt.asUintN(this.#bits(n), next));
    }
    const line = this.#line(n);
    line.set(true);
    if (configuration & r.T_LEVEL) this.#w.set(STATUS, this.#w.get(STATUS) | (1 << n));
    else line.set(false);
  }

  #clearStatus(n: number): void {
    const status = this.#w.get(STATUS);
    if (!(status & (1 << n))) return;
    this.#w.set(STATUS, status & ~(1 << n));
    this.#line(n).set(false);
  }

  #line(n: number): IrqLine {
    if (this.#isLegacy && n === 0) return this.#wires.irq0;
    if (this.#isLegacy && n === 1) return this.#wires.irq8;
    const configuration = this.#w.get(this.#at(n, T_CONFIGURATION));
    const route = (configuration & r.T_ROUTE) >> r.T_ROUTE_SHIFT;
    return this.#wires.route(route);
  }
}
