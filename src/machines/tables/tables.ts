import type { Placement } from '../boot/plan-types.ts';

// ACPI tables. Source: ACPI specification 6.5, chapter 5; IA-PC HPET specification 1.0a, 3.2.4.

const BASE = 0xe0000;
const OEM = 'RING0 ';
const OEM_TABLE = 'RING0PC ';
const LAPIC = 0xfee0_0000;
const IOAPIC = 0xfec0_0000;
const HPET = 0xfed0_0000;
const PM_PORT = 0x600;
const SCI = 9;
const RESET_PORT = 0xcf9;
const RESET_VALUE = 6;

/** \_S5 = { 5, 5, 0, 0 }: the sleep type that machines/pc.ts takes for soft off. */
const DSDT_AML = [
  0x08, 0x5f, 0x53, 0x35, 0x5f, 0x12, 0x08, 0x04, 0x0a, 0x05, 0x0a, 0x05, 0x00, 0x00,
];

class Table {
  readonly #bytes: number[] = [];

  constructor(signature: string, revision: number) {
    this.text(signature)
      .u32(0)
      .u8(revision)
      .u8(0)
      .text(OEM)
      .text(OEM_TABLE)
      .u32(1)
      .text('RNG0')
      .u32(1);
  }

  u8(...values: number[]): this {
    this.#bytes.push(...values.map((v) => v & 0xff));
    return this;
  }

  u16(value: number): this {
    return this.u8(value, value >> 8);
  }

  u32(value: number): this {
    return this.u8(value, value >>> 8, value >>> 16, value >>> 24);
  }

  u64(value: number): this {
    return this.u32(value).u32(Math.floor(value / 2 ** 32));
  }

  text(value: string): this {
    return this.u8(...new TextEncoder().encode(value));
  }

  padTo(length: number): this {
    while (this.#bytes.length < length) this.u8(0);
    return this;
  }

  /** Generic Address Structure in I/O space. */
  port(address: number, bits: number): this {
    return this.u8(1, bits, 0, bits === 8 ? 1 : bits === 16 ? 2 : 3).u64(address);
  }

  done(): Uint8Array {
    const bytes = Uint8Array.from(this.#bytes);
    new DataView(bytes.buffer).setUint32(4, bytes.length, true);
    bytes[9] = checksum(bytes);
    return bytes;
  }
}

/** What makes the sum of all bytes zero. */
function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

/** 5.2.9. Revision 5; the board has an 8042 and a CMOS clock, no VGA is promised. */
function fadt(facs: number, dsdt: number): Uint8Array {
  const LEGACY_DEVICES = 1;
  const HAS_8042 = 2;
  const WBINVD = 1;
  const PROC_C1 = 1 << 2;
  const SLP_BUTTON_NONE = 1 << 5;
  const RESET_SUPPORTED = 1 << 10;
  const TIMER_32 = 1 << 8;
  const table = new Table('FACP', 5).u32(facs).u32(dsdt).u8(0, 0).u16(SCI).u32(0).u8(0, 0, 0, 0);
  table
    .u32(PM_PORT)
    .u32(0)
    .u32(PM_PORT + 4)
    .u32(0)
    .u32(0)
    .u32(PM_PORT + 8)
    .u32(0)
    .u32(0);
  table.u8(4, 2, 0, 4, 0, 0, 0, 0).u16(0xfff).u16(0xfff).u16(0).u16(0).u8(0, 0, 0, 0, 0x32);
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
function fadtTail(table: Table): Uint8Array {
  return table
    .port(PM_PORT + 8, 32)
    .padTo(268)
    .done();
}

/** 5.2.12. */
function madt(cpus: number): Uint8Array {
  const PC_AT = 1;
  const LEVEL_HIGH = 0x0d;
  const table = new Table('APIC', 4).u32(LAPIC).u32(PC_AT);
  for (let i = 0; i < cpus; i++) table.u8(0, 8, i, i).u32(1);
  table.u8(1, 12, cpus, 0).u32(IOAPIC).u32(0);
  table.u8(2, 10, 0, 0).u32(2).u16(0);
  table.u8(2, 10, 0, SCI).u32(SCI).u16(LEVEL_HIGH);
  return table.u8(4, 6, 0xff).u16(0).u8(1).done();
}

function hpet(): Uint8Array {
  const BLOCK_ID = 0x8086a201;
  return new Table('HPET', 1).u32(BLOCK_ID).u8(0, 64, 0, 0).u64(HPET).u8(0).u16(0x80).u8(0).done();
}

function facs(): Uint8Array {
  const bytes = new Uint8Array(64);
  bytes.set(new TextEncoder().encode('FACS'));
  new DataView(bytes.buffer).setUint32(4, 64, true);
  return bytes;
}

function rsdp(xsdt: number): Uint8Array {
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

export interface Tables {
  readonly writes: readonly Placement[];
  readonly rsdpPaddr: number;
}

/** The tables of a machine with `cpus` processors, from 0xe0000 on, which the memory map says is reserved. */
export function buildTables({ cpus }: { cpus: number }): Tables {
  const writes: Placement[] = [];
  let next = BASE;
  const place = (bytes: Uint8Array): number => {
    const paddr = next;
    writes.push({ paddr, bytes });
    next = Math.ceil((next + bytes.length) / 64) * 64;
    return paddr;
  };
  const facsPaddr = place(facs());
  const dsdt = place(new Table('DSDT', 2).u8(...DSDT_AML).done());
  const list = [place(fadt(facsPaddr, dsdt)), place(madt(cpus)), place(hpet())];
  const xsdt = new Table('XSDT', 1);
  for (const paddr of list) xsdt.u64(paddr);
  return { rsdpPaddr: place(rsdp(place(xsdt.done()))), writes };
}
