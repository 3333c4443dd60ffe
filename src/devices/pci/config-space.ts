// Configuration mechanism #1. Source: PCI Local Bus Specification 3.0, 3.2.2.3.2.
import type { DeviceState, IrqLine, PortDevice } from '#hw/device.ts';
import { type StateSize, StateWords } from '#hw/state.ts';
import type { PciFunction } from './pci-function.ts';
import * as r from './pci-regs.ts';

/** From 0xcf8. */
export const PCI_CONFIG_PORTS = 8;
const ADDRESS = 0;
const DATA = 4;
/** Port 0xcf9, which lies inside the address register and is seen by byte accesses. */
const RESET_CONTROL = 1;

const ENABLE = 0x8000_0000;
const ADDRESS_WRITABLE = 0x80ff_fffc;

const PINS = 4;
const SLOTS = 32;
const FUNCTIONS = 8;

const S_ADDRESS = 0;
/** Levels of INTx#, a bit for each slot and pin. */
const S_INTX = 1;

export const PCI_HOST_STATE: StateSize = {
  i32: S_INTX + (SLOTS * PINS) / 32,
  f64: 0,
};

export interface PciHostWires {
  /** The reset control register, to which byte accesses at 0xcf9 go. */
  readonly resetControl: PortDevice;
  /** The GSI of `pin` (1 to 4) in `slot`; the firmware tables say the same. */
  readonly gsiOf: (slot: number, pin: number) => number;
  readonly line: (gsi: number) => IrqLine;
}

/** Bus 0 and the ports at 0xcf8 by which its functions are configured. */
export class PciHost implements PortDevice {
  readonly #w: StateWords;
  readonly #wires: PciHostWires;
  readonly #functions = new Map<number, PciFunction>();

  constructor(state: DeviceState, wires: PciHostWires) {
    this.#w = new StateWords(state, PCI_HOST_STATE);
    this.#wires = wires;
  }

  /** @throws {RangeError} when the place is taken or does not exist. */
  add(slot: number, fn: PciFunction, functionNumber = 0): void {
    const key = slot * FUNCTIONS + functionNumber;
    if (slot >= SLOTS || functionNumber >= FUNCTIONS || this.#functions.has(key))
      throw new RangeError(`PCI slot ${slot}.${functionNumber} is not free`);
    this.#functions.set(key, fn);
  }

  /** The slot is empty: reads of it find nobody. */
  remove(slot: number): void {
    for (let n = 0; n < FUNCTIONS; n++) this.#functions.delete(slot * FUNCTIONS + n);
  }

  /** The functions too: RST# reaches the whole bus. */
  reset(): void {
    this.#w.clear(0, PCI_HOST_STATE.i32);
    for (const fn of this.#functions.values()) fn.reset();
    this.#wires.resetControl.reset();
  }

  readPort(offset: number, size: number): number {
    if (offset >= DATA) return this.#readData(offset - DATA, size);
    if (offset === ADDRESS && size === 4) return this.#w.get(S_ADDRESS);
    if (offset === RESET_CONTROL && size === 1) return this.#wires.resetControl.readPort(0, 1);
    return 2 ** (8 * size) - 1; // only words of 32 bits are the bridge's
  }

  writePort(offset: number, size: number, value: number): void {
    if (offset >= DATA) this.#writeData(offset - DATA, size, value);
    else if (offset === ADDRESS && size === 4) this.#w.set(S_ADDRESS, value & ADDRESS_WRITABLE);
    else if (offset === RESET_CONTROL && size === 1)
      this.#wires.resetControl.writePort(0, 1, value);
  }

  #readData(byte: number, size: number): number {
    const fn = this.#selected();
    if (!fn) return 2 ** (8 * size) - 1;
    const offset = (this.#w.get(S_ADDRESS) & 0xfc) + byte;
    const value = fn.read(offset, size);
    const header = r.HEADER_TYPE - offset;
    if (header < 0 || header >= size || !this.#isMultifunction()) return value;
    return (value | (r.HEADER_MULTIFUNCTION << (8 * header))) >>> 0;
  }

  #writeData(byte: number, size: number, value: number): void {
    this.#selected()?.write((this.#w.get(S_ADDRESS) & 0xfc) + byte, size, value);
  }

  /** The function that the address register names, if it is there. */
  #selected(): PciFunction | undefined {
    const address = this.#w.get(S_ADDRESS);
    const bus = (address >>> 16) & 0xff;
    if ((address & ENABLE) === 0 || bus !== 0) return undefined;
    return this.#functions.get((address >>> 8) & 0xff);
  }

  #isMultifunction(): boolean {
    const first = (this.#w.get(S_ADDRESS) >>> 8) & 0xff & ~(FUNCTIONS - 1);
    for (let n = 1; n < FUNCTIONS; n++) if (this.#functions.has(first + n)) return true;
    return false;
  }

  /** INTx# of a slot: several may share a GSI, which is asserted while any of them is. */
  intx(slot: number, pin: number): IrqLine {
    return { set: (asserted) => this.#setIntx(slot, pin, asserted) };
  }

  #setIntx(slot: number, pin: number, asserted: boolean): void {
    const bit = slot * PINS + pin - 1;
    const word = S_INTX + (bit >> 5);
    const mask = 1 << (bit & 31);
    this.#w.set(word, asserted ? this.#w.get(word) | mask : this.#w.get(word) & ~mask);
    const gsi = this.#wires.gsiOf(slot, pin);
    this.#wires.line(gsi).set(asserted || this.#isGsiAsserted(gsi));
  }

  #isGsiAsserted(gsi: number): boolean {
    for (let bit = 0; bit < SLOTS * PINS; bit++) {
      if (!(this.#w.get(S_INTX + (bit >> 5)) & (1 << (bit & 31)))) continue;
      if (this.#wires.gsiOf(Math.floor(bit / PINS), (bit % PINS) + 1) === gsi) return true;
    }
    return false;
  }
}
