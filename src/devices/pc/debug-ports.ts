// Ports that only virtual machines have: debug exit and Bochs's port 0xe9; and the POST code port.
import type { DeviceState, PortDevice } from '#hw/device.ts';
import { type StateSize, StateWords } from '#hw/state.ts';

/** Port 0xf4: a write ends the machine. */
export class DebugExit implements PortDevice {
  readonly #exit: (value: number) => void;

  constructor(exit: (value: number) => void) {
    this.#exit = exit;
  }

  reset(): void {}

  readPort(_offset: number, size: number): number {
    return 2 ** (8 * size) - 1;
  }

  writePort(_offset: number, _size: number, value: number): void {
    this.#exit(value);
  }
}

/** What a read gives: how a guest finds out that somebody listens. */
const E9_PRESENT = 0xe9;

/** Port 0xe9: each byte written is a character of the guest's log. */
export class E9Port implements PortDevice {
  readonly #output: (byte: number) => void;

  constructor(output: (byte: number) => void) {
    this.#output = output;
  }

  reset(): void {}

  readPort(_offset: number, _size: number): number {
    return E9_PRESENT;
  }

  writePort(_offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) this.#output((value >>> (8 * i)) & 0xff);
  }
}

export const POST_STATE: StateSize = { i32: 1, f64: 0 };

/** Port 0x80: a latch that firmware writes its progress to, and drivers anything to, for the delay. */
export class PostPort implements PortDevice {
  readonly #w: StateWords;

  constructor(state: DeviceState) {
    this.#w = new StateWords(state, POST_STATE);
  }

  reset(): void {
    this.#w.set(0, 0);
  }

  readPort(_offset: number, size: number): number {
    return this.#w.get(0) + (2 ** (8 * size) - 0x100); // the neighbours are empty
  }

  writePort(_offset: number, _size: number, value: number): void {
    this.#w.set(0, value & 0xff);
  }
}
