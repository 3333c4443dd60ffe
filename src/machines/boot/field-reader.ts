import { BootError } from './boot-error.ts';

/** Little-endian fields of an untrusted file: what lies past its end is a `BootError`, never a `RangeError`. */
export class FieldReader {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;

  /** `what` is what messages call the file: `the kernel's ELF header`. */
  constructor(bytes: Uint8Array, what: string) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }

  #check(offset: number, length: number): void {
    if (offset >= 0 && length >= 0 && offset + length <= this.bytes.length) return;
    throw new BootError(
      'truncated',
      `${this.#what} is cut short: it refers to byte ${offset + length} of ${this.bytes.length}; fetch or build the file again`,
    );
  }

  u8(offset: number): number {
    this.#check(offset, 1);
    return this.#view.getUint8(offset);
  }

  u16(offset: number): number {
    this.#check(offset, 2);
    return this.#view.getUint16(offset, true);
  }

  u32(offset: number): number {
    this.#check(offset, 4);
    return this.#view.getUint32(offset, true);
  }

  u64(offset: number): bigint {
    this.#check(offset, 8);
    return this.#view.getBigUint64(offset, true);
  }

  /** A 64-bit offset, size or address; past 2^53 it is rounded, which is past the end of any file or memory. */
  large(offset: number): number {
    return Number(this.u64(offset));
  }

  /** Not a copy. */
  slice(offset: number, length: number): Uint8Array {
    this.#check(offset, length);
    return this.bytes.subarray(offset, offset + length);
  }
}
