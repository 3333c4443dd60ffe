// What tells the guest's ACPI methods of cards that come and go. The registers are ours: machines/tables/hotplug.ts has the
// methods that know them (ACPI 6.4, 6.3.3: _EJ0; 5.6.6: notifications).
import type { DeviceState, PortDevice } from '#hw/device.ts';
import { type StateSize, StateWords } from '#hw/state.ts';

/** Words of 32 bits, a bit a slot. */
export const HOTPLUG_ARRIVED = 0; // writing a one clears it; bit 0: a card has gone unasked, look at all slots
export const HOTPLUG_LEAVING = 4; // and here
export const HOTPLUG_EJECT = 8; // writing a one switches the slot off; reads as 0
export const HOTPLUG_PORTS = 12;

const ARRIVED = 0;
const LEAVING = 1;
export const HOTPLUG_STATE: StateSize = { i32: 2, f64: 0 };

export interface HotplugWires {
  /** Raises the event whose method reads the registers. */
  readonly notify: () => void;
  /** The guest has given up what is in the slot. */
  readonly eject: (slot: number) => void;
}

export class PciHotplug implements PortDevice {
  readonly #w: StateWords;
  readonly #wires: HotplugWires;

  constructor(state: DeviceState, wires: HotplugWires) {
    this.#w = new StateWords(state, HOTPLUG_STATE);
    this.#wires = wires;
  }

  reset(): void {
    this.#w.clear(0, HOTPLUG_STATE.i32);
  }

  /** There is a new card in the slot. */
  arrived(slot: number): void {
    this.#w.set(ARRIVED, this.#w.get(ARRIVED) | (1 << slot));
    this.#wires.notify();
  }

  /** The guest is to give the slot's card up. */
  leave(slot: number): void {
    this.#w.set(LEAVING, this.#w.get(LEAVING) | (1 << slot));
    this.#wires.notify();
  }

  /** The slot is empty, and nothing is to be told of it; when nobody had `asked` the guest, it is to look. */
  left(slot: number, asked: boolean): void {
    for (const word of [ARRIVED, LEAVING]) this.#w.set(word, this.#w.get(word) & ~(1 << slot));
    if (!asked) this.arrived(0);
  }

  readPort(offset: number, size: number): number {
    if (size !== 4) return 0;
    if (offset === HOTPLUG_ARRIVED) return this.#w.get(ARRIVED);
    return offset === HOTPLUG_LEAVING ? this.#w.get(LEAVING) : 0;
  }

  writePort(offset: number, size: number, value: number): void {
    if (size !== 4) return;
    if (offset === HOTPLUG_ARRIVED) this.#w.set(ARRIVED, this.#w.get(ARRIVED) & ~value);
    else if (offset === HOTPLUG_LEAVING) this.#w.set(LEAVING, this.#w.get(LEAVING) & ~value);
    else if (offset === HOTPLUG_EJECT)
      for (let slot = 0; slot < 32; slot++) if (value & (1 << slot)) this.#wires.eject(slot);
  }
}
