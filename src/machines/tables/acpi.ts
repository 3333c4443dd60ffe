import { AcpiTable, checksum, OEM } from './acpi-table.ts';

// ACPI tables. Source: ACPI specification 6.5, chapter 5; IA-PC HPET specification 1.0a, 3.2.4. Addresses are those of
// machines/pc.ts.

const LAPIC = 0xfee0_0000;
const IOAPIC = 0xfec0_0000;
const HPET = 0xfed0_0000;
const PM_PORT = 0x600;
const SCI = 9;
const RESET_PORT = 0xcf9;
const RESET_VALUE = 6;

/** 5.2.9. Revision 5; the board has an 8042 and a CMOS clock, no VGA is promised. */
export function fadt(facs: number, dsdt: number): Uint8Array {
  const LEGACY_DEVICES = 1;
  const HAS_8042 = 2;
  const WBINVD = 1;
  const PROC_C1 = 1 << 2;
  const SLP_BUTTON_NONE = 1 << 5;
  const RESET_SUPPORTED = 1 << 10;
  const TIMER_32 = 1 << 8;
  const table = new AcpiTable('FACP', 5)
    .u32(facs)
    .u32(dsdt)
    .u8(0, 0)
    .u16(SCI)
    .u32(0)
    .u8(0, 0, 0, 0);
  table
    .u32(PM_PORT)
    .u32(0)
    .u32(PM_PORT + 4)
    .u32(0)
    .u32(0)
    .u32(PM_PORT + 8)
    .u32(PM_PORT + 12)
    .u32(0);
  table.u8(4, 2, 0, 4, 4, 0, 0, 0).u16(0xfff).u16(0xfff).u16(0).u16(0).u8(0, 0, 0, 0, 0x32);
  table
    .u16(LEGACY_DEVICES | HAS_8042)
    .u8(0)
    .u32(WBINVD | PROC_C1 | SLP_BUTTON_NONE | TIMER_32 | RESET_SUPPORTED);
  table.port(RESET_PORT, 8).u8(RESET_VALUE).u16(0).u8(1).u64(facs).u64(dsdt);
  table
    .port(PM_PORT, 32)
    .padTo(172)
    .port(PM_PORT + 4, 16)
    .padTo(208);
  return fadtTail(table);
}

/** Extended address blocks that are the same as, or absent like, the 32-bit ones. */
function fadtTail(table: AcpiTable): Uint8Array {
  return table
    .port(PM_PORT + 8, 32)
    .port(PM_PORT + 12, 32)
    .padTo(268)
    .done();
}

/** 5.2.12. */
export function madt(cpus: number): Uint8Array {
  const PC_AT = 1;
  const LEVEL_HIGH = 0x0d;
  const table = new AcpiTable('APIC', 4).u32(LAPIC).u32(PC_AT);
  for (let i = 0; i < cpus; i++) table.u8(0, 8, i, i).u32(1);
  table.u8(1, 12, cpus, 0).u32(IOAPIC).u32(0);
  table.u8(2, 10, 0, 0).u32(2).u16(0);
  table.u8(2, 10, 0, SCI).u32(SCI).u16(LEVEL_HIGH);
  return table.u8(4, 6, 0xff).u16(0).u8(1).done();
}

export function hpet(): Uint8Array {
  const BLOCK_ID = 0x8086a201;
  return new AcpiTable('HPET', 1)
    .u32(BLOCK_ID)
    .u8(0, 64, 0, 0)
    .u64(HPET)
    .u8(0)
    .u16(0x80)
    .u8(0)
    .done();
}

export function facs(): Uint8Array {
  const bytes = new Uint8Array(64);
  bytes.set(new TextEncoder().encode('FACS'));
  new DataView(bytes.buffer).setUint32(4, 64, true);
  return bytes;
}

export function rsdp(xsdt: number): Uint8Array {
  const bytes = new Uint8Array(36);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode(`RSD PTR \0${OEM}`));
  bytes[15] = 2;
  view.setUint32(20, 36, true);
  view.setBigUint64(24, BigInt(xsdt), true);
  bytes[8] = checksum(bytes.subarray(0, 20));
  bytes[32] = checksum(bytes);
  return bytes;
}

/** 5.2.8: the tables at these addresses. */
export function xsdt(tables: readonly number[]): Uint8Array {
  const table = new AcpiTable('XSDT', 1);
  for (const paddr of tables) table.u64(paddr);
  return table.done();
}
