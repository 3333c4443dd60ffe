import type { MmioPlan } from '#devices/pci/mmio-plan.ts';
import type { MmioBus } from '#hw/bus.ts';
import type { IrqLine, MmioDevice } from '#hw/device.ts';
import type { CardRegisters } from './pci-cards.ts';

/** Behind the I/O APIC and before the HPET, where no BAR can be placed. */
const FIRST_PADDR = 0xfec2_0000;
const SPACING = 0x1000;
/** The I/O APIC's inputs that PCI does not use. */
const FIRST_GSI = 20;
const GSIS = 4;
/** The BAR in whose place their registers are. */
const REGISTERS = 0;

/** A device has a slot's number that no PCI card has. */
export interface PlacedMmio {
  readonly slot: number;
  readonly plan: MmioPlan;
}

/** Where a device lies; its number is a slot's that no PCI card has. */
export interface MmioPlace {
  readonly paddr: number;
  readonly gsi: number;
}

export function mmioPlace(number: number): MmioPlace {
  return { paddr: FIRST_PADDR + number * SPACING, gsi: FIRST_GSI + (number % GSIS) };
}

export interface MmioCardsWires {
  readonly mmio: MmioBus;
  readonly registers: CardRegisters;
  readonly line: (gsi: number) => IrqLine;
}

/** Devices at addresses of the board's whose registers are on the device thread. */
export class MmioCards {
  readonly #numbers: readonly number[];
  readonly #line: (gsi: number) => IrqLine;
  #lines = 0;

  constructor(cards: readonly PlacedMmio[], { mmio, registers, line }: MmioCardsWires) {
    this.#numbers = cards.map(({ slot }) => slot);
    this.#line = line;
    for (const card of cards) {
      const { name, mmioBytes } = card.plan;
      mmio.map(mmioPlace(card.slot).paddr, mmioBytes, far(card, registers), name);
    }
  }

  /** The interrupts as the devices drive them now, a bit a number: several may share a line. */
  setLines(lines: number): void {
    const changed = this.#lines ^ lines;
    this.#lines = lines;
    for (const number of this.#numbers) {
      if (!(changed & (1 << number))) continue;
      const { gsi } = mmioPlace(number);
      const sharing = this.#numbers.filter((other) => mmioPlace(other).gsi === gsi);
      this.#line(gsi).set(sharing.some((other) => (lines & (1 << other)) !== 0));
    }
  }
}

function far({ slot, plan }: PlacedMmio, registers: CardRegisters): MmioDevice {
  return {
    reset: () => {},
    readMmio: (offset, size) => registers.read(slot, REGISTERS, offset, size),
    writeMmio: (offset, size, value) => {
      registers.write(slot, REGISTERS, offset, size, value);
      if (offset === plan.awaited) registers.read(slot, REGISTERS, offset, 4);
    },
  };
}
