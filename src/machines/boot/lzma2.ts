import { BootError } from './boot-error.ts';
import type { FieldReader } from './field-reader.ts';
import { LzmaDecoder } from './lzma-decoder.ts';

// LZMA2: LZMA in chunks. Source: the public-domain xz-embedded, linux/lib/xz/xz_dec_lzma2.c.

const END = 0x00;
const COPY_RESET = 0x01;
const COPY = 0x02;
const LZMA = 0x80;
const RESETS_STATE = 1;
const NEW_PROPERTIES = 2;
const RESETS_ALL = 3;

const corrupt = (why: string) =>
  new BootError(
    'not-a-kernel',
    `the kernel's LZMA2 data is corrupt (${why}); fetch or build the kernel again`,
  );

/** Grows as far as the limit allows. */
export class GrowingOutput {
  bytes = new Uint8Array(0);
  length = 0;
  readonly #limitBytes: number;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Makes room for `count` bytes behind what there is. @throws {BootError} `too-large` */
  reserve(count: number): void {
    const need = this.length + count;
    if (need <= this.bytes.length) return;
    if (need > this.#limitBytes)
      throw new BootError('too-large', `the kernel unpacks to more than ${this.#limitBytes} bytes`);
    const wider = new Uint8Array(Math.min(this.#limitBytes, need * 2));
    wider.set(this.bytes.subarray(0, this.length));
    this.bytes = wider;
  }
}

/** One sequence of chunks. What is behind its first byte is not looked at again: matches reach back in the output. */
export class Lzma2Decoder {
  readonly #reader: FieldReader;
  readonly #output: GrowingOutput;
  readonly #lzma = new LzmaDecoder();
  /** Where the dictionary begins in the output; undefined before its first reset. */
  #start: number | undefined;
  #hasProperties = false;

  constructor(reader: FieldReader, output: GrowingOutput) {
    this.#reader = reader;
    this.#output = output;
  }

  /** Unpacks the chunks from `from` on; the result is where they end. @throws {BootError} */
  decode(from: number): number {
    let at = from;
    for (;;) {
      const control = this.#reader.u8(at);
      if (control === END) return at + 1;
      at = control < LZMA ? this.#copy(at, control) : this.#unpack(at, control);
    }
  }

  #u16(at: number): number {
    return this.#reader.u8(at) * 256 + this.#reader.u8(at + 1);
  }

  /** A chunk that was not packed. */
  #copy(at: number, control: number): number {
    if (control > COPY) throw corrupt('an unknown chunk');
    if (control === COPY_RESET) this.#start = this.#output.length;
    if (this.#start === undefined) throw corrupt('no dictionary');
    const length = this.#u16(at + 1) + 1;
    this.#output.reserve(length);
    this.#output.bytes.set(this.#reader.slice(at + 3, length), this.#output.length);
    this.#output.length += length;
    return at + 3 + length;
  }

  #unpack(at: number, control: number): number {
    const output = this.#output;
    const reset = (control >> 5) & 3;
    const unpacked = (control & 0x1f) * 65536 + this.#u16(at + 1) + 1;
    const packed = this.#u16(at + 3) + 1;
    let next = at + 5;
    if (reset === RESETS_ALL) this.#start = output.length;
    if (reset >= NEW_PROPERTIES) {
      if (!this.#lzma.setProperties(this.#reader.u8(next++))) throw corrupt('properties');
      this.#hasProperties = true;
    } else if (reset === RESETS_STATE) this.#lzma.resetState();
    if (this.#start === undefined || !this.#hasProperties) throw corrupt('no dictionary');
    output.reserve(unpacked);
    const chunk = this.#reader.slice(next, packed);
    const end = output.length + unpacked;
    if (
      !this.#lzma.decode(chunk, output.bytes, { start: this.#start, from: output.length, to: end })
    )
      throw corrupt('a chunk makes no sense');
    output.length = end;
    return next + packed;
  }
}
