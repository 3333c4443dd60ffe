// Reset control register, and system control port A. Source: Intel 82371SB (PIIX3) data sheet, 2.5.5 and 2.5.6.
import type { DeviceState, PortDevice } from '#hw/device.ts';
import { type StateSize, StateWords } from '#hw/state.ts';

export const RESET_CONTROL_STATE: StateSize = { i32: 1, f64: 0 };
const RESET_CPU = 1 << 2;
/** Bit 1 chooses a hard reset over INIT; both restart this machine. */
const RESET_WRITABLE = RESET_CPU | (1 << 1);

/** Port 0xcf9: a change of bit 2 from 0 to 1 resets. */
export class ResetControl implements PortDevice {
  readonly #w: StateWords;
  readonly #reset: () => void;

  constructor(state: DeviceState, reset: () => void) {
    this.#w = new StateWords(state, RESET_CONTROL_STATE);
    this.#reset = reset;
  }

  reset(): void {
    this.#w.set(0, 0);
  }

  readPort(_offset: number, _size: number): number {
    return this.#w.get(0);
  }

  writePort(_offset: number, _size: number, value: number): void {
    const before = this.#w.get(0);
    this.#w.set(0, value & RESET_WRITABLE);
    if (value & ~before & RESET_CPU) this.#reset();
  }
}

export const SYSTEM_CONTROL_STATE: StateSize = { i32: 1, f64: 0 };
const CONTROL_FAST_INIT = 1 << 0;
const CONTROL_A20 = 1 << 1;

export interface SystemControlWires {
  readonly reset: () => void;
  readonly setA20: (enabled: boolean) => void;
}

/** Port 0x92: fast reset and fast A20. */
export class SystemControl implements PortDevice {
  readonly #w: StateWords;
  readonly #wires: SystemControlWires;

  constructor(state: DeviceState, wires: SystemControlWires) {
    this.#w = new StateWords(state, SYSTEM_CONTROL_STATE);
    this.#wires = wires;
  }

  /** The chip starts with A20 masked, the processor's reset vector notwithstanding; PC firmware opens it first. */
  reset(): void {
    this.#w.set(0, CONTROL_A20);
    this.#wires.setA20(true);
  }

  readPort(_offset: number, _size: number): number {
    return this.#w.get(0);
  }

  writePort(_offset: number, _size: number, value: number): void {
    const before = this.#w.get(0);
    this.#w.set(0, value & (CONTROL_A20 | CONTROL_FAST_INIT));
    if ((value ^ before) & CONTROL_A20) this.#wires.setA20((value & CONTROL_A20) !== 0);
    if (value & ~before & CONTROL_FAST_INIT) this.#wires.reset();
  }
}
