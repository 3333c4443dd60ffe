// ACPI fixed hardware: PM1a event and control blocks, the PM timer and the GPE0 block. Source: ACPI 6.4, 4.8.3, 4.8.4.1.
import type { Clock, DeviceState, IrqLine, PortDevice, TimedDevice } from '#hw/device.ts';
import { type StateSize, StateWords } from '#hw/state.ts';

/** Offsets within the block of ports, which the FADT names apart. */
export const PM1_STATUS = 0;
export const PM1_ENABLE = 2;
export const PM1_CONTROL = 4;
export const PM_TIMER = 8;
/** Status, then enable, two bytes each. */
export const GPE0 = 12;
export const PM_PORTS = 16;
const GPE0_ENABLE = GPE0 + 2;
/** Cards have come, or are to go: \_GPE._E01 of machines/tables/hotplug.ts. */
export const GPE_PCI_HOTPLUG = 1 << 1;

const PM_TIMER_HZ = 3_579_545;

const STATUS_TIMER = 1 << 0;
const STATUS_POWER_BUTTON = 1 << 8;
/** Timer, global lock, power button, sleep button, RTC. */
const ENABLE_WRITABLE = 0x0721;
/** The same and bus master, PCIe wake, wake: each cleared by writing a one. */
const STATUS_CLEARABLE = 0xcf31;

const CONTROL_SCI_ENABLED = 1 << 0;
const CONTROL_SLEEP_TYPE_SHIFT = 10;
const CONTROL_SLEEP = 1 << 13; // write only
const CONTROL_WRITABLE = 0x1c02; // SLP_TYP, BM_RLD

const STATUS = 0;
const ENABLE = 1;
const CONTROL = 2;
const GPE_STATUS = 3;
const GPE_ENABLE = 4;
/** Times that the timer's top bit has changed and was told. */
const CARRIES = 0;

export const PM_STATE: StateSize = { i32: 5, f64: 1 };

const CARRY_TICKS = 2 ** 31;
const NS_PER_TICK = 1_000_000_000 / PM_TIMER_HZ;

export interface PmWires {
  /** The SCI, level-triggered. */
  readonly sci: IrqLine;
  /** The value of SLP_TYP that the DSDT's \_S5 gives. */
  readonly softOffType: number;
  readonly powerOff: () => void;
}

export class PowerManagement implements PortDevice, TimedDevice {
  readonly #w: StateWords;
  readonly #clock: Clock;
  readonly #wires: PmWires;

  constructor(state: DeviceState, clock: Clock, wires: PmWires) {
    this.#w = new StateWords(state, PM_STATE);
    this.#clock = clock;
    this.#wires = wires;
  }

  reset(): void {
    this.#w.clear(0, PM_STATE.i32);
    this.#w.setTime(CARRIES, this.#carries(this.#clock.nowNs()));
    this.#updateSci();
  }

  /** What the host asks a guest that should shut itself down. */
  pressPowerButton(): void {
    this.#raise(STATUS_POWER_BUTTON);
  }

  /** General-purpose events, a bit each. */
  raiseGpe(bits: number): void {
    this.#w.set(GPE_STATUS, this.#w.get(GPE_STATUS) | bits);
    this.#updateSci();
  }

  readPort(offset: number, size: number): number {
    if (offset >= GPE0)
      return part(
        this.#w.get(GPE_STATUS) + this.#w.get(GPE_ENABLE) * 0x1_0000,
        offset - GPE0,
        size,
      );
    if (offset >= PM_TIMER) return part(this.#ticks(), offset - PM_TIMER, size);
    if (offset < PM1_CONTROL) {
      this.advance(this.#clock.nowNs());
      return part(this.#w.get(STATUS) + this.#w.get(ENABLE) * 0x1_0000, offset, size);
    }
    // There is no SMI command to leave legacy mode with: ACPI is always on.
    return part(this.#w.get(CONTROL) | CONTROL_SCI_ENABLED, offset - PM1_CONTROL, size);
  }

  writePort(offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) this.#writeByte(offset + i, (value >>> (8 * i)) & 0xff);
    this.#updateSci();
  }

  #writeByte(offset: number, byte: number): void {
    const shift = (offset & 1) * 8;
    const bits = byte << shift;
    const kept = 0xff00 >> shift;
    if (offset >= GPE0_ENABLE) this.#w.set(GPE_ENABLE, (this.#w.get(GPE_ENABLE) & kept) | bits);
    else if (offset >= GPE0) this.#w.set(GPE_STATUS, this.#w.get(GPE_STATUS) & ~bits);
    else if (offset < PM1_ENABLE)
      this.#w.set(STATUS, this.#w.get(STATUS) & ~(bits & STATUS_CLEARABLE));
    else if (offset < PM1_CONTROL)
      this.#w.set(ENABLE, (this.#w.get(ENABLE) & kept) | (bits & ENABLE_WRITABLE));
    else if (offset < PM1_CONTROL + 2) {
      this.#w.set(CONTROL, (this.#w.get(CONTROL) & kept) | (bits & CONTROL_WRITABLE));
      const sleepType = (this.#w.get(CONTROL) >> CONTROL_SLEEP_TYPE_SHIFT) & 7;
      if (bits & CONTROL_SLEEP && sleepType === this.#wires.softOffType) this.#wires.powerOff();
    }
  }

  #raise(bits: number): void {
    this.#w.set(STATUS, this.#w.get(STATUS) | bits);
    this.#updateSci();
  }

  #updateSci(): void {
    const active = this.#w.get(STATUS) & this.#w.get(ENABLE) & ENABLE_WRITABLE;
    const events = this.#w.get(GPE_STATUS) & this.#w.get(GPE_ENABLE);
    this.#wires.sci.set(active !== 0 || events !== 0);
  }

  #ticks(): number {
    return Math.floor(this.#clock.nowNs() / NS_PER_TICK) % 2 ** 32;
  }

  #carries(nowNs: number): number {
    return Math.floor(nowNs / NS_PER_TICK / CARRY_TICKS);
  }

  nextDeadlineNs(): number {
    const isWanted = (this.#w.get(ENABLE) & ~this.#w.get(STATUS) & STATUS_TIMER) !== 0;
    if (!isWanted) return Number.POSITIVE_INFINITY;
    return Math.ceil((this.#w.time(CARRIES) + 1) * CARRY_TICKS * NS_PER_TICK) + 1;
  }

  advance(nowNs: number): void {
    const carries = this.#carries(nowNs);
    if (carries === this.#w.time(CARRIES)) return;
    this.#w.setTime(CARRIES, carries);
    this.#raise(STATUS_TIMER);
  }
}

/** `size` bytes of a 32-bit register, from byte `offset`. */
function part(value: number, offset: number, size: number): number {
  return Math.floor(value / 2 ** (8 * offset)) % 2 ** (8 * size);
}
