import { checksum } from './acpi-table.ts';

// SMBIOS 3.0: what the machine says of itself in names and sizes. Source: DMTF DSP0134 3.0.0, chapters 5 to 7.

const MAJOR = 3;
const MINOR = 0;
const ENTRY_BYTES = 24;
const NO_ERROR_HANDLE = 0xfffe;
const NO_CACHE = 0xffff;
const UNKNOWN = 2;
const SAFE = 3;

const BIOS = 0;
const SYSTEM = 1;
const CHASSIS = 3;
const PROCESSOR = 4;
const MEMORY_ARRAY = 16;
const MEMORY_DEVICE = 17;
const MAPPED_ADDRESS = 19;
const BOOT_STATUS = 32;
const END = 127;

export interface Machine {
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** A structure: header, fields, and its strings behind it. */
class Structure {
  readonly #fields: number[];
  readonly #strings: string[] = [];

  /** A machine has one structure of each type: the type serves as handle. */
  constructor(type: number) {
    this.#fields = [type, 0, type, 0];
  }

  /** Little-endian, of `bytes` bytes. */
  #number(value: number, bytes: number): this {
    for (let i = 0; i < bytes; i++) this.#fields.push(Math.floor(value / 2 ** (8 * i)) % 256);
    return this;
  }

  u8(...values: number[]): this {
    this.#fields.push(...values);
    return this;
  }

  u16(...values: number[]): this {
    for (const value of values) this.#number(value, 2);
    return this;
  }

  u32(value: number): this {
    return this.#number(value, 4);
  }

  u64(value: number): this {
    return this.#number(value, 8);
  }

  text(...values: string[]): this {
    for (const value of values) this.u8(this.#strings.push(value));
    return this;
  }

  done(): number[] {
    this.#fields[1] = this.#fields.length;
    const strings = this.#strings.map((s) => `${s}\0`).join('') || '\0';
    return [...this.#fields, ...new TextEncoder().encode(`${strings}\0`)];
  }
}

function bios(): Structure {
  const NO_CHARACTERISTICS = 1 << 3;
  const VIRTUAL_MACHINE = 1 << 4;
  const NO_CONTROLLER = 0xff;
  return new Structure(BIOS)
    .text('ring0', '1')
    .u16(0xe000)
    .text('01/01/2026')
    .u8(1)
    .u64(NO_CHARACTERISTICS)
    .u8(0, VIRTUAL_MACHINE, 0, 1, NO_CONTROLLER, NO_CONTROLLER);
}

function system(): Structure {
  const POWER_SWITCH = 6;
  const noUuid = new Array<number>(16).fill(0);
  return new Structure(SYSTEM)
    .text('ring0', 'ring0 PC', '1')
    .u8(0, ...noUuid, POWER_SWITCH, 0)
    .text('Virtual Machine');
}

function chassis(): Structure {
  const OTHER = 1;
  return new Structure(CHASSIS)
    .text('ring0')
    .u8(OTHER)
    .text('1')
    .u8(0, 0, SAFE, SAFE, SAFE, UNKNOWN)
    .u32(0)
    .u8(0, 0, 0, 0, 0);
}

function processor(cpus: number): Structure {
  const CENTRAL = 3;
  const POPULATED_ENABLED = 0x41;
  const OTHER_UPGRADE = 1;
  const IS_64_BIT = 1 << 2;
  const count = Math.min(cpus, 255);
  return new Structure(PROCESSOR)
    .text('CPU 0')
    .u8(CENTRAL, UNKNOWN)
    .text('ring0')
    .u64(0)
    .u8(0, 0)
    .u16(0, 0, 0)
    .u8(POPULATED_ENABLED, OTHER_UPGRADE)
    .u16(NO_CACHE, NO_CACHE, NO_CACHE)
    .u8(0, 0, 0, count, count, count)
    .u16(IS_64_BIT, UNKNOWN, cpus, cpus, cpus);
}

function memory({ memoryBytes }: Machine): Structure[] {
  const KIB = 1024;
  const MIB = KIB * KIB;
  const SYSTEM_BOARD = 3;
  const SYSTEM_MEMORY = 3;
  const NO_ECC = 3;
  const DIMM = 9;
  const RAM = 7;
  const OTHER_DETAIL = 1 << 1;
  const IN_KIB = 0x8000;
  const WIDTH = 64;
  const kib = Math.floor(memoryBytes / KIB);
  const size = memoryBytes < MIB ? IN_KIB | kib : Math.floor(memoryBytes / MIB);
  return [
    new Structure(MEMORY_ARRAY)
      .u8(SYSTEM_BOARD, SYSTEM_MEMORY, NO_ECC)
      .u32(kib)
      .u16(NO_ERROR_HANDLE, 1)
      .u64(0),
    new Structure(MEMORY_DEVICE)
      .u16(MEMORY_ARRAY, NO_ERROR_HANDLE, WIDTH, WIDTH, size)
      .u8(DIMM, 0)
      .text('DIMM 0')
      .u8(0, RAM)
      .u16(OTHER_DETAIL, 0)
      .text('ring0')
      .u8(0, 0, 0, 0)
      .u32(0)
      .u16(0, 0, 0, 0),
    new Structure(MAPPED_ADDRESS)
      .u32(0)
      .u32(kib - 1)
      .u16(MEMORY_ARRAY)
      .u8(1)
      .u64(0)
      .u64(0),
  ];
}

/** The structures, one behind the other. */
export function smbiosTable(machine: Machine): Uint8Array {
  const structures = [
    bios(),
    system(),
    chassis(),
    processor(machine.cpus),
    ...memory(machine),
    new Structure(BOOT_STATUS).u8(0, 0, 0, 0, 0, 0, 0),
    new Structure(END),
  ];
  return Uint8Array.from(structures.flatMap((s) => s.done()));
}

/** 5.2.2: the 64-bit entry point, which systems look for on 16 bytes from 0xf0000 on. */
export function smbiosEntry(tablePaddr: number, tableBytes: number): Uint8Array {
  const ENTRY_REVISION = 1;
  const bytes = new Uint8Array(ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode('_SM3_'));
  bytes.set([ENTRY_BYTES, MAJOR, MINOR, 0, ENTRY_REVISION], 6);
  view.setUint32(12, tableBytes, true);
  view.setBigUint64(16, BigInt(tablePaddr), true);
  bytes[5] = checksum(bytes);
  return bytes;
}
