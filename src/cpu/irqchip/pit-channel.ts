// One counter of an 8254. Source: Intel 8254 data sheet (order 231164).

import type { DeviceState } from '#hw/device.ts';
import { type StateSize, StateWords } from '#hw/state.ts';

export const PIT_HZ = 1_193_182;
const NS_PER_TICK = 1_000_000_000 / PIT_HZ;

// Modes; 6 and 7 are 2 and 3.
const MODE_TERMINAL_COUNT = 0;
const MODE_ONE_SHOT = 1;
const MODE_RATE = 2;
const MODE_SQUARE = 3;
const MODE_STROBE = 4;
const MODE_TRIGGERED_STROBE = 5;

// Access modes, bits 5:4 of the control word.
const ACCESS_LOW = 1;
const ACCESS_HIGH = 2;
const ACCESS_BOTH = 3;

const STATUS_OUT = 1 << 7;
const STATUS_NULL_COUNT = 1 << 6;

/** Bits 5:0 of the last control word: access, mode, BCD. */
const CONTROL = 0;
/** The count register as written; 0 stands for the largest count. */
const COUNT = 1;
const GATE = 2;
/** Whether the counting element counts; if not, `FROZEN_TICKS` have passed. */
const RUNNING = 3;
/** A count was written, and in the modes that wait for one, a trigger has come. */
const LOADED = 4;
const LATCHED_BYTES = 5;
const LATCHED_COUNT = 6;
const STATUS_LATCHED = 7;
const LATCHED_STATUS = 8;
const READ_HIGH_NEXT = 9;
const WRITE_HIGH_NEXT = 10;
const WRITTEN_LOW = 11;
const NULL_COUNT = 12;

const START_NS = 0;
const FROZEN_TICKS = 1;
/** Rising edges of OUT up to this tick of the present count are done. */
const DONE_TICK = 2;

export const CHANNEL_STATE: StateSize = { i32: 13, f64: 3 };

function fromBcd(value: number): number {
  return (value >> 12) * 1000 + ((value >> 8) & 15) * 100 + ((value >> 4) & 15) * 10 + (value & 15);
}

function toBcd(value: number): number {
  const digit = (unit: number) => Math.floor(value / unit) % 10;
  return (digit(1000) << 12) | (digit(100) << 8) | (digit(10) << 4) | digit(1);
}

export class PitChannel {
  readonly #w: StateWords;

  constructor(state: DeviceState) {
    this.#w = new StateWords(state, CHANNEL_STATE);
  }

  /** The chip has no reset input; this is the state in which a PC's firmware finds it. */
  reset(gate: boolean): void {
    this.#w.clear(0, CHANNEL_STATE.i32);
    this.#w.set(CONTROL, (ACCESS_BOTH << 4) | (MODE_SQUARE << 1));
    this.#w.setFlag(GATE, gate);
    this.#w.setFlag(NULL_COUNT, true);
    this.#w.setTime(FROZEN_TICKS, 0);
    this.#w.setTime(DONE_TICK, 0);
  }

  get #mode(): number {
    const mode = (this.#w.get(CONTROL) >> 1) & 7;
    return mode > 5 ? mode - 4 : mode;
  }

  get #isBcd(): boolean {
    return (this.#w.get(CONTROL) & 1) !== 0;
  }

  get #access(): number {
    return (this.#w.get(CONTROL) >> 4) & 3;
  }

  get #isPeriodic(): boolean {
    return this.#mode === MODE_RATE || this.#mode === MODE_SQUARE;
  }

  get #isTriggered(): boolean {
    return this.#mode === MODE_ONE_SHOT || this.#mode === MODE_TRIGGERED_STROBE;
  }

  /** The initial count in ticks. */
  get #period(): number {
    const count = this.#w.get(COUNT);
    if (this.#isBcd) return count === 0 ? 10_000 : fromBcd(count);
    return count === 0 ? 0x1_0000 : count;
  }

  #ticks(nowNs: number): number {
    if (!this.#w.flag(RUNNING)) return this.#w.time(FROZEN_TICKS);
    return Math.floor((nowNs - this.#w.time(START_NS)) / NS_PER_TICK);
  }

  // ---- Output and count.

  out(nowNs: number): boolean {
    // Before the first count: low in mode 0, high in the others.
    if (!this.#w.flag(LOADED)) return this.#mode !== MODE_TERMINAL_COUNT;
    const ticks = this.#ticks(nowNs);
    const period = this.#period;
    switch (this.#mode) {
      case MODE_TERMINAL_COUNT:
      case MODE_ONE_SHOT:
        return ticks >= period;
      case MODE_RATE:
        return !this.#w.flag(GATE) || ticks % period !== period - 1;
      case MODE_SQUARE:
        return !this.#w.flag(GATE) || ticks % period < Math.ceil(period / 2);
      default:
        return ticks !== period;
    }
  }

  #count(nowNs: number): number {
    if (!this.#w.flag(LOADED)) return this.#w.get(COUNT);
    const period = this.#period;
    const wrap = this.#isBcd ? 10_000 : 0x1_0000;
    const value = (((period - this.#passed(nowNs, period)) % wrap) + wrap) % wrap;
    return this.#isBcd ? toBcd(value) : value;
  }

  /** How far the counting element is below the initial count. */
  #passed(nowNs: number, period: number): number {
    const ticks = this.#ticks(nowNs);
    if (this.#mode === MODE_RATE) return ticks % period;
    if (this.#mode !== MODE_SQUARE) return ticks;
    // By two each tick, twice in a period; an odd count loses its one at loading.
    const half = Math.ceil(period / 2);
    const inPeriod = ticks % period;
    return (period & 1) + 2 * (inPeriod < half ? inPeriod : inPeriod - half);
  }

  // ---- Rising edges of OUT, for the channel that interrupts.

  /** The first tick after `after` at which OUT rises; Infinity when it does not. */
  #nextRise(after: number): number {
    const period = this.#period;
    if (!this.#w.flag(RUNNING) || !this.#w.flag(LOADED)) return Number.POSITIVE_INFINITY;
    if (this.#isPeriodic) return (Math.floor(after / period) + 1) * period;
    const isStrobe = this.#mode === MODE_STROBE || this.#mode === MODE_TRIGGERED_STROBE;
    const rise = isStrobe ? period + 1 : period;
    return rise > after ? rise : Number.POSITIVE_INFINITY;
  }

  nextRiseNs(): number {
    const tick = this.#nextRise(this.#w.time(DONE_TICK));
    return this.#w.time(START_NS) + tick * NS_PER_TICK;
  }

  /** Whether OUT has risen, once or more, up to `nowNs` since the last call. */
  takeRise(nowNs: number): boolean {
    if (nowNs < this.nextRiseNs()) return false;
    const due = this.#nextRise(this.#w.time(DONE_TICK));
    // A tick computed from the very instant it is due may round to the one before.
    let done = Math.max(due, this.#ticks(nowNs));
    if (this.#isPeriodic) done -= done % this.#period;
    this.#w.setTime(DONE_TICK, done);
    return true;
  }

  // ---- Gate.

  setGate(high: boolean, nowNs: number): void {
    if (high === this.#w.flag(GATE)) return;
    const counts = !this.#isTriggered;
    if (!high && counts) this.#freeze(nowNs);
    this.#w.setFlag(GATE, high);
    if (!high || this.#w.flag(NULL_COUNT)) return;
    // A rising gate reloads, but in modes 0 and 4 counting goes on where it stopped.
    if (this.#isTriggered || this.#isPeriodic) this.#start(nowNs, 0);
    else if (this.#w.flag(LOADED)) this.#start(nowNs, this.#w.time(FROZEN_TICKS));
  }

  #freeze(nowNs: number): void {
    this.#w.setTime(FROZEN_TICKS, this.#ticks(nowNs));
    this.#w.setFlag(RUNNING, false);
  }

  #start(nowNs: number, ticks: number): void {
    this.#w.setTime(START_NS, nowNs - ticks * NS_PER_TICK);
    this.#w.setTime(DONE_TICK, ticks);
    this.#w.setFlag(LOADED, true);
    this.#w.setFlag(RUNNING, true);
  }

  // ---- Programming.

  /** A control word for this channel, bits 5:0; access bits 0 are the counter latch command. */
  control(word: number, nowNs: number): void {
    if (word >> 4 === 0) {
      this.latchCount(nowNs);
      return;
    }
    this.#w.set(CONTROL, word);
    this.#w.set(LATCHED_BYTES, 0);
    for (const flag of [RUNNING, LOADED, STATUS_LATCHED, READ_HIGH_NEXT, WRITE_HIGH_NEXT])
      this.#w.setFlag(flag, false);
    this.#w.setTime(FROZEN_TICKS, 0);
    this.#w.setFlag(NULL_COUNT, true);
  }

  /** A second latch before the first was read is ignored. */
  latchCount(nowNs: number): void {
    if (this.#w.get(LATCHED_BYTES) !== 0) return;
    this.#w.set(LATCHED_COUNT, this.#count(nowNs));
    this.#w.set(LATCHED_BYTES, this.#access === ACCESS_BOTH ? 2 : 1);
  }

  latchStatus(nowNs: number): void {
    if (this.#w.flag(STATUS_LATCHED)) return;
    const out = this.out(nowNs) ? STATUS_OUT : 0;
    const nullCount = this.#w.flag(NULL_COUNT) ? STATUS_NULL_COUNT : 0;
    this.#w.set(LATCHED_STATUS, out | nullCount | this.#w.get(CONTROL));
    this.#w.setFlag(STATUS_LATCHED, true);
  }

  read(nowNs: number): number {
    if (this.#w.flag(STATUS_LATCHED)) {
      this.#w.setFlag(STATUS_LATCHED, false);
      return this.#w.get(LATCHED_STATUS);
    }
    const latched = this.#w.get(LATCHED_BYTES);
    const count = latched > 0 ? this.#w.get(LATCHED_COUNT) : this.#count(nowNs);
    if (latched > 0) this.#w.set(LATCHED_BYTES, latched - 1);
    let isHigh = this.#access === ACCESS_HIGH;
    if (this.#access === ACCESS_BOTH) {
      isHigh = this.#w.flag(READ_HIGH_NEXT);
      this.#w.setFlag(READ_HIGH_NEXT, !isHigh);
    }
    return (isHigh ? count >> 8 : count) & 0xff;
  }

  write(value: number, nowNs: number): void {
    if (this.#access === ACCESS_LOW) this.#load(value, nowNs);
    else if (this.#access === ACCESS_HIGH) this.#load(value << 8, nowNs);
    else if (this.#w.flag(WRITE_HIGH_NEXT)) {
      this.#w.setFlag(WRITE_HIGH_NEXT, false);
      this.#load((value << 8) | this.#w.get(WRITTEN_LOW), nowNs);
    } else {
      this.#w.set(WRITTEN_LOW, value);
      this.#w.setFlag(WRITE_HIGH_NEXT, true);
      // In mode 0 the first byte stops counting, and OUT goes low.
      if (this.#mode === MODE_TERMINAL_COUNT) {
        this.#w.setFlag(RUNNING, false);
        this.#w.setFlag(LOADED, false);
      }
    }
  }

  /** A running periodic or triggered count goes over at once, not at its end: no driver depends on the difference. */
  #load(count: number, nowNs: number): void {
    this.#w.set(COUNT, count);
    this.#w.setFlag(NULL_COUNT, false);
    if (this.#isTriggered) return;
    this.#start(nowNs, 0);
    if (!this.#w.flag(GATE)) this.#freeze(nowNs);
  }
}
