// Coprocessor error logic. Source: Intel 82371SB (PIIX3) data sheet, 2.5.7, "coprocessor error register".
import type { DeviceState, IrqLine, PortDevice } from '#hw/device.ts';
import { type StateSize, StateWords } from '#hw/state.ts';

export const NUMERIC_ERROR_STATE: StateSize = { i32: 1, f64: 0 };
const ACTIVE = 0;

export interface NumericErrorWires {
  /** IRQ 13. */
  readonly irq: IrqLine;
  /** IGNNE#: the processor goes on until its next exception. */
  readonly ignore: () => void;
}

/** Port 0xf0: FERR# becomes IRQ 13, which a write, of whatever value, ends. */
export class NumericError implements PortDevice {
  readonly #w: StateWords;
  readonly #wires: NumericErrorWires;

  constructor(state: DeviceState, wires: NumericErrorWires) {
    this.#w = new StateWords(state, NUMERIC_ERROR_STATE);
    this.#wires = wires;
  }

  reset(): void {
    this.#w.setFlag(ACTIVE, false);
    this.#wires.irq.set(false);
  }

  /** The processor asserts FERR#. */
  raise(): void {
    this.#w.setFlag(ACTIVE, true);
    this.#wires.irq.set(true);
  }

  readPort(): number {
    return 0xff; // write only
  }

  writePort(): void {
    if (!this.#w.flag(ACTIVE)) return;
    this.#w.setFlag(ACTIVE, false);
    this.#wires.irq.set(false);
    this.#wires.ignore();
  }
}
