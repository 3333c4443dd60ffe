// MSI-X. Source: PCI Local Bus Specification 3.0, 6.8.2.
import type { DeviceState, MmioDevice } from '#hw/device.ts';
import { type StateSize, StateWords } from '#hw/state.ts';
import type { MsixPlace } from './pci-card.ts';
import type { PciCapability, PciFunction } from './pci-function.ts';

export const CAP_MSIX = 0x11;
const CONTROL = 2; // from the capability's ID
const CONTROL_MASK_ALL = 1 << 14;
const CONTROL_ENABLE = 1 << 15;

const ENTRY_WORDS = 4;
const ENTRY_ADDRESS = 0;
const ENTRY_DATA = 2;
const ENTRY_CONTROL = 3;
const ENTRY_MASKED = 1;

/** The BAR: the table, then from here the pending bits. */
const PENDING = 0x800;
export const MSIX_BAR_BYTES = 0x1000;
const MSIX_MOST_VECTORS = PENDING / (ENTRY_WORDS * 4);
const PENDING_WORD = MSIX_MOST_VECTORS * ENTRY_WORDS;

export const MSIX_STATE: StateSize = { i32: PENDING_WORD + MSIX_MOST_VECTORS / 32, f64: 0 };

/** A capability for a table that begins at offset 0 of its BAR. */
export function msixCapability({ bar, vectors }: MsixPlace): PciCapability {
  const bytes = new Uint8Array(10);
  const writable = new Uint8Array(10);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, vectors - 1, true);
  view.setUint32(2, bar, true);
  view.setUint32(6, PENDING | bar, true);
  writable[1] = (CONTROL_ENABLE | CONTROL_MASK_ALL) >> 8;
  return { id: CAP_MSIX, bytes, writable };
}

export interface MsixWires {
  /** The function, at whose `capability` (an offset in configuration space) the control register is. */
  readonly fn: PciFunction;
  readonly capability: number;
  readonly vectors: number;
  readonly send: (address: number, data: number) => void;
}

/**
 * The table and the pending bits, one object on each side over one state. The device's side only raises; the vCPU's does
 * the rest. A message that is masked on one side while the other unmasks is sent once: whoever clears its pending bit.
 */
export class Msix implements MmioDevice {
  readonly #w: StateWords;
  readonly #wires: MsixWires;

  constructor(state: DeviceState, wires: MsixWires) {
    this.#w = new StateWords(state, MSIX_STATE);
    this.#wires = wires;
  }

  reset(): void {
    this.#w.clear(0, MSIX_STATE.i32);
    for (let vector = 0; vector < this.#wires.vectors; vector++)
      this.#w.set(vector * ENTRY_WORDS + ENTRY_CONTROL, ENTRY_MASKED);
  }

  get isEnabled(): boolean {
    return (this.#control() & CONTROL_ENABLE) !== 0;
  }

  raise(vector: number): void {
    if (vector < 0 || vector >= this.#wires.vectors || !this.isEnabled) return;
    if (!this.#isMasked(vector)) {
      this.#send(vector);
      return;
    }
    this.#w.atomicOr(PENDING_WORD + (vector >> 5), 1 << (vector & 31));
    this.#sendPending(vector);
  }

  /** The control register was written. */
  controlChanged(): void {
    for (let vector = 0; vector < this.#wires.vectors; vector++) this.#sendPending(vector);
  }

  /** Software reads words of 4 or 8 bytes (6.8.2). */
  readMmio(offset: number, size: number): number {
    if (size !== 4 || offset % 4 !== 0) return 0;
    const word = offset >> 2;
    if (offset < this.#wires.vectors * ENTRY_WORDS * 4) return this.#w.get(word);
    const pending = (offset - PENDING) >> 2;
    const isPending = pending >= 0 && pending < MSIX_MOST_VECTORS / 32;
    return isPending ? this.#w.atomicGet(PENDING_WORD + pending) : 0;
  }

  writeMmio(offset: number, size: number, value: number): void {
    if (size !== 4 || offset % 4 !== 0 || offset >= this.#wires.vectors * ENTRY_WORDS * 4) return;
    const word = offset >> 2;
    const isControl = word % ENTRY_WORDS === ENTRY_CONTROL;
    this.#w.set(word, isControl ? value & ENTRY_MASKED : value);
    if (isControl) this.#sendPending(Math.floor(word / ENTRY_WORDS));
  }

  #control(): number {
    return this.#wires.fn.read(this.#wires.capability + CONTROL, 2);
  }

  #isMasked(vector: number): boolean {
    if (this.#control() & CONTROL_MASK_ALL) return true;
    return (this.#w.atomicGet(vector * ENTRY_WORDS + ENTRY_CONTROL) & ENTRY_MASKED) !== 0;
  }

  #sendPending(vector: number): void {
    const bit = 1 << (vector & 31);
    const word = PENDING_WORD + (vector >> 5);
    if ((this.#w.atomicGet(word) & bit) === 0 || !this.isEnabled || this.#isMasked(vector)) return;
    if (this.#w.atomicClear(word, bit) & bit) this.#send(vector);
  }

  /** The upper half of the address is 0 for every interrupt message of a PC (SDM vol. 3A, 11.11.1). */
  #send(vector: number): void {
    const entry = vector * ENTRY_WORDS;
    if (this.#w.get(entry + ENTRY_ADDRESS + 1) !== 0) return;
    this.#wires.send(this.#w.get(entry + ENTRY_ADDRESS), this.#w.get(entry + ENTRY_DATA));
  }
}
