import { readBytes, writeBytes } from '#hw/bytes.ts';
import type { Clock, DeviceState, IrqLine, PortDevice, TimedDevice } from '#hw/device.ts';
import { type StateSize, StateWords } from '#hw/state.ts';
import * as r from './rtc-regs.ts';

const CMOS = 0;
const INDEX = r.CMOS_BYTES;
const POWERED = INDEX + 1;
const IRQ_DISCONNECTED = INDEX + 2;

/** The guest's time of day at machine time 0, in milliseconds since 1970. */
const EPOCH_MS = 0;
/** Flags are set for all that happened up to this machine time. */
const SYNCED_NS = 1;

export const RTC_STATE: StateSize = { i32: INDEX + 3, f64: 2 };
export const RTC_PORTS = 2;

const NS_PER_SECOND = 1_000_000_000;
const DAY_SECONDS = 86_400;

/** Ports 0x70 (index; its bit 7, which masks NMI, is not kept) and 0x71 (data). It holds UTC. */
export class Rtc implements PortDevice, TimedDevice {
  readonly #w: StateWords;
  readonly #clock: Clock;
  readonly #irq: IrqLine;

  constructor(state: DeviceState, clock: Clock, irq: IrqLine) {
    this.#w = new StateWords(state, RTC_STATE);
    this.#clock = clock;
    this.#irq = irq;
  }

  /** Time and memory live on a battery; RESET# clears interrupts only. The first call puts the battery in. */
  reset(): void {
    if (!this.#w.flag(POWERED)) this.#powerOn();
    this.#w.set(INDEX, 0);
    this.#w.setFlag(IRQ_DISCONNECTED, false);
    this.#w.set(r.REG_B, this.#b & ~r.C_FLAGS);
    this.#w.set(r.REG_C, 0);
    this.#updateIrq();
  }

  #powerOn(): void {
    const nowNs = this.#clock.nowNs();
    this.#w.setFlag(POWERED, true);
    this.#w.setTime(EPOCH_MS, this.#clock.wallMs() - nowNs / 1e6);
    this.#w.setTime(SYNCED_NS, nowNs);
    this.#w.set(r.REG_A, r.A_DIVIDER_RUN | 6); // 6: 1,024 Hz, as PC firmware sets it
    this.#w.set(r.REG_B, r.B_24H);
  }

  /** For the board: bytes that firmware would leave in CMOS, such as memory sizes. */
  setCmos(index: number, value: number): void {
    this.#w.set(CMOS + (index % r.CMOS_BYTES), value & 0xff);
  }

  /** False while an HPET in legacy mode drives IRQ 8. */
  setIrqConnected(connected: boolean): void {
    this.#w.setFlag(IRQ_DISCONNECTED, !connected);
    this.#updateIrq();
  }

  readPort(offset: number, size: number): number {
    return readBytes(offset, size, (at) => (at === 1 ? this.#read() : 0xff));
  }

  writePort(offset: number, size: number, value: number): void {
    writeBytes(offset, size, value, (at, byte) => {
      if (at === 0) this.#w.set(INDEX, byte % r.CMOS_BYTES);
      else if (at === 1) this.#write(this.#w.get(INDEX), byte);
    });
  }

  get #b(): number {
    return this.#w.get(r.REG_B);
  }

  #read(): number {
    const index = this.#w.get(INDEX);
    switch (index) {
      case r.REG_A:
        return this.#w.get(r.REG_A) | (this.#isUpdating() ? r.A_UPDATING : 0);
      case r.REG_C:
        return this.#takeFlags();
      case r.REG_D:
        return r.D_VALID;
      default:
        if (isTime(index) && this.#isRunning) this.#fillTime();
        return this.#w.get(CMOS + index);
    }
  }

  #write(index: number, byte: number): void {
    this.#sync(this.#clock.nowNs());
    if (index === r.REG_A) this.#writeControl(r.REG_A, byte & ~r.A_UPDATING);
    else if (index === r.REG_B) this.#writeControl(r.REG_B, byte);
    else if (index === r.REG_C || index === r.REG_D)
      return; // read only
    else if (isTime(index) && this.#isRunning) {
      this.#fillTime();
      this.#w.set(CMOS + index, byte);
      this.#takeTime();
    } else this.#w.set(CMOS + index, byte);
    this.#updateIrq();
  }

  /** Stopped, the time bytes are plain memory; started again, the clock goes on from what they hold. */
  #writeControl(register: number, byte: number): void {
    const wasRunning = this.#isRunning;
    if (wasRunning) this.#fillTime();
    this.#w.set(register, byte);
    if (register === r.REG_B && byte & r.B_SET) this.#w.set(r.REG_B, byte & ~r.B_UPDATE);
    if (!wasRunning && this.#isRunning) this.#takeTime();
  }

  // ---- Time of day.

  get #isRunning(): boolean {
    return !(this.#b & r.B_SET) && (this.#w.get(r.REG_A) & r.A_DIVIDER) === r.A_DIVIDER_RUN;
  }

  #guestSeconds(nowNs: number): number {
    return Math.floor((this.#w.time(EPOCH_MS) + nowNs / 1e6) / 1000);
  }

  /** Nanoseconds until the guest's second changes. */
  #toNextSecondNs(nowNs: number): number {
    const ms = this.#w.time(EPOCH_MS) + nowNs / 1e6;
    return ((this.#guestSeconds(nowNs) + 1) * 1000 - ms) * 1e6;
  }

  #isUpdating(): boolean {
    return this.#isRunning && this.#toNextSecondNs(this.#clock.nowNs()) <= r.UPDATE_NS;
  }

  #fillTime(): void {
    const now = new Date(this.#guestSeconds(this.#clock.nowNs()) * 1000);
    const year = now.getUTCFullYear();
    const put = (register: number, value: number) => this.#w.set(register, this.#encode(value));
    put(r.SECONDS, now.getUTCSeconds());
    put(r.MINUTES, now.getUTCMinutes());
    this.#w.set(r.HOURS, this.#encodeHour(now.getUTCHours()));
    put(r.WEEKDAY, now.getUTCDay() + 1);
    put(r.DAY, now.getUTCDate());
    put(r.MONTH, now.getUTCMonth() + 1);
    put(r.YEAR, year % 100);
    put(r.CENTURY, Math.floor(year / 100));
  }

  #takeTime(): void {
    const get = (register: number) => this.#decode(this.#w.get(register));
    const year = get(r.CENTURY) * 100 + get(r.YEAR);
    const hour = this.#decodeHour(this.#w.get(r.HOURS));
    const ms = Date.UTC(year, get(r.MONTH) - 1, get(r.DAY), hour, get(r.MINUTES), get(r.SECONDS));
    const nowNs = this.#clock.nowNs();
    this.#w.setTime(EPOCH_MS, ms - nowNs / 1e6);
    this.#w.setTime(SYNCED_NS, nowNs);
  }

  #encode(value: number): number {
    return this.#b & r.B_BINARY ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }

  #decode(byte: number): number {
    return this.#b & r.B_BINARY ? byte : (byte >> 4) * 10 + (byte & 15);
  }

  #encodeHour(hour: number): number {
    if (this.#b & r.B_24H) return this.#encode(hour);
    return this.#encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? r.HOUR_PM : 0);
  }

  #decodeHour(byte: number): number {
    if (this.#b & r.B_24H) return this.#decode(byte);
    return (this.#decode(byte & ~r.HOUR_PM) % 12) + (byte & r.HOUR_PM ? 12 : 0);
  }

  // ---- Flags and interrupts.

  #periodNs(): number {
    const rate = this.#w.get(r.REG_A) & r.A_RATE;
    const divider = this.#w.get(r.REG_A) & r.A_DIVIDER;
    if (rate === 0 || divider !== r.A_DIVIDER_RUN) return Number.POSITIVE_INFINITY;
    // Rates 1 and 2 are those of 8 and 9 with this crystal (table 5).
    const shift = rate <= 2 ? rate + 6 : rate - 1;
    return (2 ** shift * NS_PER_SECOND) / r.CRYSTAL_HZ;
  }

  /** Sets the flags of what happened between the last call and `nowNs`. */
  #sync(nowNs: number): void {
    const thenNs = this.#w.time(SYNCED_NS);
    const periodNs = this.#periodNs();
    let flags = this.#w.get(r.REG_C);
    if (Math.floor(nowNs / periodNs) > Math.floor(thenNs / periodNs)) flags |= r.B_PERIODIC;
    if (this.#isRunning) {
      const from = this.#guestSeconds(thenNs);
      const to = this.#guestSeconds(nowNs);
      if (to > from) flags |= r.B_UPDATE;
      if (this.#alarmFellIn(from, to)) flags |= r.B_ALARM;
    }
    this.#w.setTime(SYNCED_NS, nowNs);
    this.#w.set(r.REG_C, flags);
  }

  /** Whether a second after `from`, up to `to`, is one the alarm bytes name. */
  #alarmFellIn(from: number, to: number): boolean {
    for (let second = Math.max(from, to - DAY_SECONDS) + 1; second <= to; second++)
      if (this.#isAlarm(second % DAY_SECONDS)) return true;
    return false;
  }

  #isAlarm(secondOfDay: number): boolean {
    const matches = (register: number, value: number) => {
      const byte = this.#w.get(register);
      return (byte & r.ALARM_ANY) === r.ALARM_ANY || byte === value;
    };
    return (
      matches(r.SECONDS_ALARM, this.#encode(secondOfDay % 60)) &&
      matches(r.MINUTES_ALARM, this.#encode(Math.floor(secondOfDay / 60) % 60)) &&
      matches(r.HOURS_ALARM, this.#encodeHour(Math.floor(secondOfDay / 3600)))
    );
  }

  /** Reading C tells the flags and clears them. */
  #takeFlags(): number {
    this.#sync(this.#clock.nowNs());
    const flags = this.#w.get(r.REG_C);
    const irq = flags & this.#b & r.C_FLAGS ? r.C_IRQ : 0;
    this.#w.set(r.REG_C, 0);
    this.#updateIrq();
    return flags | irq;
  }

  #updateIrq(): void {
    const active = this.#w.get(r.REG_C) & this.#b & r.C_FLAGS;
    this.#irq.set(active !== 0 && !this.#w.flag(IRQ_DISCONNECTED));
  }

  nextDeadlineNs(): number {
    // A flag that is already up, or that nobody hears, need not be timed.
    const wanted = this.#b & ~this.#w.get(r.REG_C) & r.C_FLAGS;
    const thenNs = this.#w.time(SYNCED_NS);
    let next = Number.POSITIVE_INFINITY;
    if (wanted & r.B_PERIODIC) {
      const periodNs = this.#periodNs();
      if (periodNs < next) next = (Math.floor(thenNs / periodNs) + 1) * periodNs;
    }
    if (wanted & (r.B_UPDATE | r.B_ALARM) && this.#isRunning)
      next = Math.min(next, thenNs + this.#toNextSecondNs(thenNs));
    return Math.ceil(next) + 1; // past the instant, whichever way it was rounded
  }

  advance(nowNs: number): void {
    this.#sync(nowNs);
    this.#updateIrq();
  }
}

function isTime(index: number): boolean {
  if (index === r.CENTURY) return true;
  const isAlarm = index <= r.HOURS_ALARM && (index & 1) === 1;
  return index <= r.YEAR && !isAlarm;
}
