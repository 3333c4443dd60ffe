import type { PciHost } from '#devices/pci/config-space.ts';
import { CAP_MSIX, Msix } from '#devices/pci/msix.ts';
import type { PciCardPlan } from '#devices/pci/pci-card.ts';
import { PciFunction } from '#devices/pci/pci-function.ts';
import type { MmioBus, PortBus } from '#hw/bus.ts';
import type { DeviceState, IrqLine, MmioDevice, PortDevice } from '#hw/device.ts';

/** A card in a slot, and the state of its function that both threads share. */
export interface PciSlot {
  readonly slot: number;
  readonly plan: PciCardPlan;
  readonly state: { readonly config: DeviceState; readonly msix: DeviceState };
}

/** How the cards' registers, which are on the device thread, are reached. */
export interface CardRegisters {
  read(slot: number, bar: number, offset: number, size: number): number;
  write(slot: number, bar: number, offset: number, size: number, value: number): void;
}

export interface PciCardsWires {
  readonly host: PciHost;
  readonly ports: PortBus;
  readonly mmio: MmioBus;
  readonly registers: CardRegisters;
  readonly sendMsi: (address: number, data: number) => void;
}

/** Where firmware, had there been one, would have put the BARs; the window in machines/tables/dsdt.ts has room for all. */
const FIRST_PADDR = 0xe000_0000;
const FIRST_PORT = 0xc000;
const BARS = 0x10; // PCI Local Bus Specification 3.0, 6.2.5

type BarDevice = PortDevice & MmioDevice;

/** The function of a card, and the control of its MSI-X where it has that: one on each thread, over one state. */
export function makeFunction(
  { plan, state }: PciSlot,
  send: (address: number, data: number) => void,
  events: ConstructorParameters<typeof PciFunction>[2] = {},
): { fn: PciFunction; msix: Msix | undefined } {
  const fn = new PciFunction(state.config, plan.description, events);
  const index = plan.description.capabilities?.findIndex(({ id }) => id === CAP_MSIX) ?? -1;
  const capability = fn.capabilityOffsets[index];
  if (plan.msix === undefined || capability === undefined) return { fn, msix: undefined };
  const { vectors } = plan.msix;
  return { fn, msix: new Msix(state.msix, { fn, capability, vectors, send }) };
}

/** A card as the vCPU's side sees it: configuration, MSI-X and INTx# here, registers far away. */
class CardSide {
  readonly #slot: PciSlot;
  readonly #wires: PciCardsWires;
  readonly #fn: PciFunction;
  readonly #msix: Msix | undefined;
  readonly #bars = new Map<number, BarDevice>();
  readonly #intx: IrqLine | undefined;
  #asserted = false;

  constructor(slot: PciSlot, wires: PciCardsWires) {
    const { description } = slot.plan;
    this.#slot = slot;
    this.#wires = wires;
    const { fn, msix } = makeFunction(slot, wires.sendMsi, {
      barMoved: (bar, address) => this.#moved(bar, address),
      commandWritten: () => this.setIntx(this.#asserted),
      configWritten: () => this.#msix?.controlChanged(),
    });
    this.#fn = fn;
    this.#msix = msix;
    const pin = description.interruptPin ?? 0;
    if (pin > 0) this.#intx = wires.host.intx(slot.slot, pin);
    for (const bar of description.bars?.keys() ?? []) this.#bars.set(bar, this.#device(bar));
    wires.host.add(slot.slot, fn);
  }

  reset(): void {
    this.#msix?.reset();
  }

  /** As the slot gets power: nothing that an earlier card left there stays. */
  powerOn(): void {
    this.#fn.reset();
    this.#msix?.reset();
  }

  /** The slot loses power: its BARs decode nowhere, and its pin is silent. */
  powerOff(): void {
    this.setIntx(false);
    this.#fn.reset();
    this.#wires.host.remove(this.#slot.slot);
  }

  /** Gives the BARs addresses from `next` on; the driver enables them. */
  assign(next: { paddr: number; port: number }): void {
    for (const [bar, { kind, sizeBytes }] of this.#slot.plan.description.bars ?? []) {
      const space = kind === 'io' ? 'port' : 'paddr';
      const base = Math.ceil(next[space] / sizeBytes) * sizeBytes;
      this.#fn.write(BARS + 4 * bar, 4, base);
      next[space] = base + sizeBytes;
    }
  }

  setIntx(asserted: boolean): void {
    this.#asserted = asserted;
    this.#intx?.set(this.#fn.setInterruptStatus(asserted));
  }

  #device(bar: number): BarDevice {
    const { slot, plan } = this.#slot;
    const msix = this.#msix;
    if (msix !== undefined && plan.msix?.bar === bar) {
      return {
        reset: () => {},
        readPort: () => 0,
        writePort: () => {},
        readMmio: (offset, size) => msix.readMmio(offset, size),
        writeMmio: (offset, size, value) => msix.writeMmio(offset, size, value),
      };
    }
    const { registers } = this.#wires;
    const read = (offset: number, size: number) => registers.read(slot, bar, offset, size);
    const write = (offset: number, size: number, value: number) =>
      registers.write(slot, bar, offset, size, value);
    return { reset: () => {}, readPort: read, writePort: write, readMmio: read, writeMmio: write };
  }

  #moved(bar: number, address: number | undefined): void {
    const device = this.#bars.get(bar);
    const info = this.#slot.plan.description.bars?.get(bar);
    if (device === undefined || info === undefined) return;
    const bus = info.kind === 'io' ? this.#wires.ports : this.#wires.mmio;
    bus.unmap(device);
    if (address !== undefined) bus.map(address, info.sizeBytes, device, this.#slot.plan.name);
  }
}

/** All cards of the board. */
export class PciCards {
  readonly #cards = new Map<number, CardSide>();
  readonly #wires: PciCardsWires;
  #lines = 0;

  constructor(slots: readonly PciSlot[], wires: PciCardsWires) {
    this.#wires = wires;
    for (const slot of slots) this.#cards.set(slot.slot, new CardSide(slot, wires));
  }

  reset(): void {
    for (const card of this.#cards.values()) card.reset();
  }

  /** What firmware does, for kernels that start without it. */
  assign(): void {
    const next = { paddr: FIRST_PADDR, port: FIRST_PORT };
    for (const card of this.#cards.values()) card.assign(next);
  }

  /** A card comes while the machine runs. Its BARs are the guest's to place. */
  plug(slot: PciSlot): void {
    const card = new CardSide(slot, this.#wires);
    card.powerOn();
    this.#cards.set(slot.slot, card);
  }

  /** Switches a slot off; false when there is nothing in it. */
  unplug(slot: number): boolean {
    const card = this.#cards.get(slot);
    card?.powerOff();
    return this.#cards.delete(slot);
  }

  /** INTx# of the cards as they drive it now, a bit a slot. */
  setLines(lines: number): void {
    const changed = this.#lines ^ lines;
    if (changed === 0) return;
    this.#lines = lines;
    for (const [slot, card] of this.#cards)
      if (changed & (1 << slot)) card.setIntx((lines & (1 << slot)) !== 0);
  }
}
