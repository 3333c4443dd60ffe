import { latin1Text } from '#base/latin1.ts';
import { ImageError } from '../image.ts';

const TWO_32 = 2 ** 32;
/** Larger numbers lose their last bits. */
const MAX_SAFE_HIGH = 2 ** 21;

/** A header of a disk image from a stranger: the parser names file, place and what is wrong. */
export class Fields {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly path: string;
  /** Where in the file `bytes` start. */
  readonly offsetBytes: number;
  readonly #littleEndian: boolean;

  constructor(
    bytes: Uint8Array,
    at: { readonly path: string; readonly offsetBytes?: number; readonly littleEndian: boolean },
  ) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.path = at.path;
    this.offsetBytes = at.offsetBytes ?? 0;
    this.#littleEndian = at.littleEndian;
  }

  u16(at: number): number {
    return this.view.getUint16(at, this.#littleEndian);
  }

  u32(at: number): number {
    return this.view.getUint32(at, this.#littleEndian);
  }

  /** @throws {ImageError} `corrupt` when the number has more than 53 bits: no size or place of a real image has. */
  u64(at: number): number {
    const [low, high] = this.#littleEndian ? [at, at + 4] : [at + 4, at];
    if (this.u32(high) >= MAX_SAFE_HIGH)
      throw this.bad('corrupt', at, 'a size or place beyond all disks');
    return this.u32(high) * TWO_32 + this.u32(low);
  }

  setU16(at: number, value: number): void {
    this.view.setUint16(at, value, this.#littleEndian);
  }

  setU32(at: number, value: number): void {
    this.view.setUint32(at, value, this.#littleEndian);
  }

  setU64(at: number, value: number): void {
    this.view.setBigUint64(at, BigInt(value), this.#littleEndian);
  }

  /** Characters up to the first zero byte. */
  text(at: number, lengthBytes: number): string {
    const bytes = this.bytes.subarray(at, at + lengthBytes);
    const end = bytes.indexOf(0);
    return latin1Text(end < 0 ? bytes : bytes.subarray(0, end));
  }

  setText(at: number, text: string): void {
    this.bytes.set(new TextEncoder().encode(text), at);
  }

  bad(kind: 'bad-format' | 'unsupported' | 'corrupt', at: number, what: string): ImageError {
    return badAt(kind, this.path, this.offsetBytes + at, what);
  }
}

/** The error for what stands at `offsetBytes` of the file. */
export function badAt(
  kind: 'bad-format' | 'unsupported' | 'corrupt',
  path: string,
  offsetBytes: number,
  what: string,
  cause?: unknown,
): ImageError {
  const unsupported = kind === 'unsupported' ? 'not supported: ' : '';
  const message = `${path}: at ${offsetBytes}: ${unsupported}${what}`;
  return new ImageError(kind, message, { path, offsetBytes }, cause === undefined ? {} : { cause });
}

/** Reads exactly `lengthBytes`. @throws {ImageError} `corrupt` when the file ends before. */
export async function readExactly(
  file: {
    readonly path: string;
    read(offsetBytes: number, into: Uint8Array): Promise<number>;
  },
  offsetBytes: number,
  lengthBytes: number,
  what: string,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(lengthBytes);
  if ((await file.read(offsetBytes, bytes)) < lengthBytes)
    throw badAt('corrupt', file.path, offsetBytes, `the file ends within the ${what}`);
  return bytes;
}
