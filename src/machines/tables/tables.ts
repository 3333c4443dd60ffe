import type { Placement } from '../boot/plan-types.ts';
import type { MmioPlace } from '../mmio-cards.ts';
import { facs, fadt, hpet, madt, rsdp, xsdt } from './acpi.ts';
import { dsdt } from './dsdt.ts';
import { type Machine, smbiosEntry, smbiosTable } from './smbios.ts';

/** From here to 1 MiB the memory map says that memory is reserved. */
const ACPI = 0xe0000;
const SMBIOS = 0xf0000;
const ALIGNMENT = 64; // the FACS asks for most
const SMBIOS_ALIGNMENT = 16;

export interface Tables {
  readonly writes: readonly Placement[];
  readonly rsdpPaddr: number;
}

/** What firmware would tell an operating system about the machine, and virtio devices that cannot be probed. */
export function buildTables(machine: Machine, virtio: readonly MmioPlace[] = []): Tables {
  const acpi = new Area(ACPI, ALIGNMENT);
  const facsPaddr = acpi.place(facs());
  const dsdtPaddr = acpi.place(dsdt(virtio));
  const list = [fadt(facsPaddr, dsdtPaddr), madt(machine.cpus), hpet()].map((t) => acpi.place(t));
  const rsdpPaddr = acpi.place(rsdp(acpi.place(xsdt(list))));
  const smbios = new Area(SMBIOS, SMBIOS_ALIGNMENT);
  const table = smbiosTable(machine);
  const tablePaddr = smbios.place(table);
  smbios.place(smbiosEntry(tablePaddr, table.length));
  return { rsdpPaddr, writes: [...acpi.writes, ...smbios.writes] };
}

/** Places one thing behind the other. */
class Area {
  readonly writes: Placement[] = [];
  readonly #alignment: number;
  #next: number;

  constructor(paddr: number, alignment: number) {
    this.#next = paddr;
    this.#alignment = alignment;
  }

  place(bytes: Uint8Array): number {
    const paddr = this.#next;
    this.writes.push({ paddr, bytes });
    this.#next = Math.ceil((paddr + bytes.length) / this.#alignment) * this.#alignment;
    return paddr;
  }
}
