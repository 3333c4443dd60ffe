// bzip2. Source: the format as described by Tsai, "bzip2 Format Specification" (2016).

const BLOCK_MAGIC = 0x314159265359;
const END_MAGIC = 0x177245385090;
const GROUP_SYMBOLS = 50;
const MAX_CODE_BITS = 20;

/** What is wrong with a compressed stream. */
export class DamagedStream extends Error {
  override readonly name = 'DamagedStream';
}

/** Bits of a stream, the highest of each byte first. */
class BitReader {
  readonly #bytes: Uint8Array;
  #at = 0;
  #bits = 0;
  #count = 0;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  /** Up to 24 bits. */
  take(count: number): number {
    while (this.#count < count) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw new DamagedStream('the stream ends early');
      this.#bits = ((this.#bits << 8) | byte) >>> 0;
      this.#count += 8;
    }
    this.#count -= count;
    const value = (this.#bits >>> this.#count) & ((1 << count) - 1);
    this.#bits &= (1 << this.#count) - 1;
    return value;
  }

  take48(): number {
    return this.take(24) * 2 ** 24 + this.take(24);
  }
}

/** A Huffman code, decoded a bit at a time: all codes of one length are consecutive numbers. */
class Code {
  readonly #limits = new Int32Array(MAX_CODE_BITS + 2).fill(-1);
  readonly #bases = new Int32Array(MAX_CODE_BITS + 2);
  readonly #symbols: number[] = [];

  constructor(lengths: readonly number[]) {
    let code = 0;
    for (let bits = 1; bits <= MAX_CODE_BITS; bits++) {
      this.#bases[bits] = this.#symbols.length - code;
      for (const [symbol, length] of lengths.entries())
        if (length === bits) {
          this.#symbols.push(symbol);
          code++;
        }
      this.#limits[bits] = code - 1;
      code <<= 1;
    }
  }

  decode(bits: BitReader): number {
    let code = 0;
    for (let length = 1; length <= MAX_CODE_BITS; length++) {
      code = (code << 1) | bits.take(1);
      if (code > (this.#limits[length] ?? -1)) continue;
      const symbol = this.#symbols[(this.#bases[length] ?? 0) + code];
      if (symbol !== undefined) return symbol;
      break;
    }
    throw new DamagedStream('a code that stands for nothing');
  }
}

/** @throws {DamagedStream} The stream is cut off or wrong, or holds more than `maxBytes`. */
export function bunzip2(bytes: Uint8Array, maxBytes: number): Uint8Array {
  const level = (bytes[3] ?? 0) - 0x30;
  const isMagic = bytes[0] === 0x42 && bytes[1] === 0x5a && bytes[2] === 0x68;
  if (!isMagic || level < 1 || level > 9) throw new DamagedStream('no bzip2 stream is here');
  const bits = new BitReader(bytes, 4);
  const out = new Output(maxBytes);
  for (;;) {
    const magic = bits.take48();
    if (magic === END_MAGIC) return out.result();
    if (magic !== BLOCK_MAGIC) throw new DamagedStream('no block is here');
    readBlock(bits, level * 100_000, out);
  }
}

function readBlock(bits: BitReader, blockBytes: number, out: Output): void {
  const crc = (bits.take(16) * 2 ** 16 + bits.take(16)) >>> 0;
  if (bits.take(1) !== 0) throw new DamagedStream('a randomised block of bzip2 0.9');
  const start = bits.take(24);
  const used = readUsed(bits);
  const groups = bits.take(3);
  const count = bits.take(15);
  if (used.length === 0 || groups < 2 || groups > 6 || count === 0)
    throw new DamagedStream('a block without codes');
  const selectors = readSelectors(bits, groups, count);
  const codes = Array.from({ length: groups }, () => readCode(bits, used.length + 2));
  const last = decodeSymbols(bits, { used, selectors, codes, blockBytes });
  if (start >= last.length) throw new DamagedStream('a block that starts beyond its end');
  out.startBlock();
  unsort(last, start, out);
  if (out.endBlock() !== crc) throw new DamagedStream("a block's checksum is wrong");
}

function readUsed(bits: BitReader): number[] {
  const used: number[] = [];
  const ranges = bits.take(16);
  for (let range = 0; range < 16; range++) {
    if ((ranges & (0x8000 >>> range)) === 0) continue;
    const there = bits.take(16);
    for (let at = 0; at < 16; at++) if ((there & (0x8000 >>> at)) !== 0) used.push(range * 16 + at);
  }
  return used;
}

function readSelectors(bits: BitReader, groups: number, count: number): number[] {
  const order = Array.from({ length: groups }, (_, group) => group);
  const selectors: number[] = [];
  for (let index = 0; index < count; index++) {
    let place = 0;
    while (bits.take(1) !== 0) if (++place >= groups) throw new DamagedStream('a wrong selector');
    const [group = 0] = order.splice(place, 1);
    order.unshift(group);
    selectors.push(group);
  }
  return selectors;
}

function readCode(bits: BitReader, symbols: number): Code {
  const lengths: number[] = [];
  let length = bits.take(5);
  for (let symbol = 0; symbol < symbols; symbol++) {
    while (bits.take(1) !== 0) length += bits.take(1) === 0 ? 1 : -1;
    if (length < 1 || length > MAX_CODE_BITS) throw new DamagedStream('a code of a wrong length');
    lengths.push(length);
  }
  return new Code(lengths);
}

interface Coded {
  readonly used: readonly number[];
  readonly selectors: readonly number[];
  readonly codes: readonly Code[];
  readonly blockBytes: number;
}

/** Undoes the codes, the move-to-front order and the runs of its first symbol: the last column of the sorted block. */
function decodeSymbols(bits: BitReader, { used, selectors, codes, blockBytes }: Coded): Uint8Array {
  const last = new Uint8Array(blockBytes);
  const order = [...used];
  const end = used.length + 1;
  let size = 0;
  let run = 0;
  let weight = 1;
  for (let index = 0; ; index++) {
    const code = codes[selectors[Math.floor(index / GROUP_SYMBOLS)] ?? -1];
    if (code === undefined) throw new DamagedStream('a block without an end');
    const symbol = code.decode(bits);
    if (symbol <= 1) {
      run += weight << symbol;
      weight <<= 1;
      if (run > blockBytes) throw new DamagedStream('a block that is too long');
      continue;
    }
    if (size + run + 1 > blockBytes + (symbol === end ? 1 : 0))
      throw new DamagedStream('a block that is too long');
    last.fill(order[0] ?? 0, size, size + run);
    size += run;
    run = 0;
    weight = 1;
    if (symbol === end) return last.subarray(0, size);
    const [byte = 0] = order.splice(symbol - 1, 1);
    order.unshift(byte);
    last[size++] = byte;
  }
}

/** Undoes the Burrows-Wheeler transform. */
function unsort(last: Uint8Array, start: number, out: Output): void {
  const counts = new Uint32Array(257);
  for (const byte of last) counts[byte + 1] = (counts[byte + 1] ?? 0) + 1;
  for (let byte = 1; byte <= 256; byte++)
    counts[byte] = (counts[byte] ?? 0) + (counts[byte - 1] ?? 0);
  const next = new Uint32Array(last.length);
  for (const [index, byte] of last.entries()) {
    const place = counts[byte] ?? 0;
    next[place] = index;
    counts[byte] = place + 1;
  }
  let at = next[start] ?? 0;
  for (let done = 0; done < last.length; done++) {
    out.add(last[at] ?? 0);
    at = next[at] ?? 0;
  }
}

/** CRC-32, the highest bit first. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte << 24;
  for (let bit = 0; bit < 8; bit++) value = (value << 1) ^ (value < 0 ? 0x04c11db7 : 0);
  return value >>> 0;
});

/** Undoes the first runs: after four equal bytes a number of more of them. */
class Output {
  readonly #bytes: Uint8Array;
  #size = 0;
  #run = 0;
  #previous = -1;
  #crc = 0;

  constructor(maxBytes: number) {
    this.#bytes = new Uint8Array(maxBytes);
  }

  startBlock(): void {
    this.#run = 0;
    this.#previous = -1;
    this.#crc = 0xffff_ffff;
  }

  add(byte: number): void {
    if (this.#run === 4) {
      for (let count = 0; count < byte; count++) this.#put(this.#previous);
      this.#run = 0;
      this.#previous = -1;
      return;
    }
    this.#run = byte === this.#previous ? this.#run + 1 : 1;
    this.#previous = byte;
    this.#put(byte);
  }

  #put(byte: number): void {
    if (this.#size >= this.#bytes.length) throw new DamagedStream('the stream is too long');
    this.#bytes[this.#size++] = byte;
    this.#crc = (this.#crc << 8) ^ (CRC_TABLE[((this.#crc >>> 24) ^ byte) & 0xff] ?? 0);
  }

  endBlock(): number {
    return ~this.#crc >>> 0;
  }

  result(): Uint8Array {
    return this.#bytes.subarray(0, this.#size);
  }
}
