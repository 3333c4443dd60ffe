// The memory map. Types as in the ACPI specification 6.5, table 15.4.
export const E820_RAM = 1;
const E820_RESERVED = 2;

export interface MemoryRange {
  readonly paddr: number;
  readonly bytes: number;
  readonly type: number;
}

/** The last KiB below 640 KiB is the extended BIOS data area; tables lie from 0xe0000 to 1 MiB. */
const EBDA = 0x9fc00;
const VIDEO = 0xa0000;
const TABLES = 0xe0000;
const HIGH = 0x100000;

/** RAM of a machine with `memoryBytes` below the hole of the devices. */
export function memoryMap(memoryBytes: number): MemoryRange[] {
  const low = [
    { paddr: 0, bytes: Math.min(EBDA, memoryBytes), type: E820_RAM },
    { paddr: EBDA, bytes: VIDEO - EBDA, type: E820_RESERVED },
    { paddr: TABLES, bytes: HIGH - TABLES, type: E820_RESERVED },
  ];
  if (memoryBytes <= HIGH) return low;
  return [...low, { paddr: HIGH, bytes: memoryBytes - HIGH, type: E820_RAM }];
}
