// The header that all ACPI tables begin with, and the fields they are made of. Source: ACPI specification 6.5, 5.2.6, 5.2.3.2.

export const OEM = 'RING0 ';
const OEM_TABLE = 'RING0PC ';
const IO_SPACE = 1;

export class AcpiTable {
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
    for (const value of values) this.#bytes.push(value & 0xff);
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

  /** Generic Address Structure in I/O space, accessed in its whole width. */
  port(address: number, bits: 8 | 16 | 32): this {
    return this.u8(IO_SPACE, bits, 0, { 8: 1, 16: 2, 32: 3 }[bits]).u64(address);
  }

  done(): Uint8Array {
    const bytes = Uint8Array.from(this.#bytes);
    new DataView(bytes.buffer).setUint32(4, bytes.length, true);
    bytes[9] = checksum(bytes);
    return bytes;
  }
}

/** What makes the sum of all bytes zero. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}
