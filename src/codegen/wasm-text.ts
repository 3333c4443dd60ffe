import { wasmName } from '#ir/opcodes.ts';

// The code of a function as text, a line an instruction. Source: WebAssembly core specification 3.0, 5.4.

/** One instruction: where it begins in the code, how deep it is nested, and its text. */
export interface WasmLine {
  readonly at: number;
  readonly depth: number;
  readonly text: string;
}

/** What numbers in the code stand for. */
export interface WasmNames {
  readonly local: (index: number) => string | undefined;
  readonly called: (index: number) => string | undefined;
}

const BLOCK = 0x02;
const LOOP = 0x03;
const IF = 0x04;
const ELSE = 0x05;
const END = 0x0b;

const PLAIN: Readonly<Record<number, string>> = {
  0: 'unreachable',
  1: 'nop',
  5: 'else',
  11: 'end',
  15: 'return',
  26: 'drop',
  27: 'select',
};
/** Instructions whose only operand is a number. */
const INDEXED: Readonly<Record<number, string>> = {
  12: 'br',
  13: 'br_if',
  35: 'global.get',
  36: 'global.set',
};
const LOCALS: Readonly<Record<number, string>> = {
  32: 'local.get',
  33: 'local.set',
  34: 'local.tee',
};
/** 0x28 to 0x3e, in this order. */
const MEMORY =
  `i32.load i64.load f32.load f64.load i32.load8_s i32.load8_u i32.load16_s i32.load16_u
  i64.load8_s i64.load8_u i64.load16_s i64.load16_u i64.load32_s i64.load32_u
  i32.store i64.store f32.store f64.store i32.store8 i32.store16 i64.store8 i64.store16 i64.store32`.split(
    /\s+/,
  );
/** What the IR has no op for: its divisions are helpers. */
const DIVISIONS: Readonly<Record<number, string>> = {
  109: 'i32.div_s',
  110: 'i32.div_u',
  111: 'i32.rem_s',
  112: 'i32.rem_u',
  127: 'i64.div_s',
  128: 'i64.div_u',
  129: 'i64.rem_s',
  130: 'i64.rem_u',
};
const VECTOR_MEMORY: Readonly<Record<number, string>> = { 0: 'v128.load', 11: 'v128.store' };
const V128_CONST = 12;
const SHUFFLE = 13;
const TYPES: Readonly<Record<number, string>> = {
  64: '',
  127: ' (result i32)',
  126: ' (result i64)',
  125: ' (result f32)',
  124: ' (result f64)',
  123: ' (result v128)',
};

/** The instructions of a function's code; throws on what our emitters never write. */
export function wasmText(code: Uint8Array, names: WasmNames): WasmLine[] {
  const reader = new CodeReader(code, names);
  const lines: WasmLine[] = [];
  let depth = 0;
  while (!reader.atEnd) {
    const { at } = reader;
    const opcode = reader.byte();
    if (opcode === END || opcode === ELSE) depth--;
    lines.push({ at, depth: Math.max(0, depth), text: reader.instruction(opcode) });
    if (opcode === BLOCK || opcode === LOOP || opcode === IF || opcode === ELSE) depth++;
  }
  return lines;
}

class CodeReader {
  readonly #code: Uint8Array;
  readonly #view: DataView;
  readonly #names: WasmNames;
  #at = 0;

  constructor(code: Uint8Array, names: WasmNames) {
    this.#code = code;
    this.#view = new DataView(code.buffer, code.byteOffset, code.byteLength);
    this.#names = names;
  }

  get at(): number {
    return this.#at;
  }

  get atEnd(): boolean {
    return this.#at >= this.#code.length;
  }

  byte(): number {
    const byte = this.#code[this.#at++];
    if (byte === undefined) throw new Error('wasm: the code ends inside an instruction');
    return byte;
  }

  #unsigned(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }

  #signed(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(Number(shift) + 7, value);
    }
  }

  #bytes(count: number): string {
    let text = '';
    for (let i = 0; i < count; i++) text += ` ${this.byte()}`;
    return text;
  }

  instruction(opcode: number): string {
    const plain = PLAIN[opcode];
    if (plain !== undefined) return plain;
    const indexed = INDEXED[opcode];
    if (indexed !== undefined) return `${indexed} ${this.#unsigned()}`;
    const local = LOCALS[opcode];
    if (local !== undefined) return `${local} ${this.#local()}`;
    if (opcode >= 0x28 && opcode <= 0x3e) return `${MEMORY[opcode - 0x28]}${this.#memarg()}`;
    const pure = DIVISIONS[opcode] ?? wasmName(opcode);
    return pure ?? this.#other(opcode);
  }

  #table(): string {
    const labels = Array.from({ length: this.#unsigned() + 1 }, () => this.#unsigned());
    return `br_table ${labels.join(' ')}`;
  }

  #local(): string {
    const index = this.#unsigned();
    return `$${this.#names.local(index) ?? index}`;
  }

  #memarg(): string {
    this.#unsigned(); // the alignment, which means nothing
    const offset = this.#unsigned();
    return offset === 0 ? '' : ` offset=${offset}`;
  }

  #other(opcode: number): string {
    switch (opcode) {
      case BLOCK:
        return `block${this.#type()}`;
      case LOOP:
        return `loop${this.#type()}`;
      case IF:
        return `if${this.#type()}`;
      case 0x0e:
        return this.#table();
      case 0x10:
        return this.#call();
      case 0x11:
      case 0x13: {
        const type = this.#unsigned();
        this.#unsigned(); // the table
        return `${opcode === 0x13 ? 'return_call_indirect' : 'call_indirect'} (type ${type})`;
      }
      case 0x41:
        return `i32.const ${number(this.#signed())}`;
      case 0x42:
        return `i64.const ${number(this.#signed())}`;
      case 0x43:
        this.#at += 4;
        return `f32.const ${this.#view.getFloat32(this.#at - 4, true)}`;
      case 0x44:
        this.#at += 8;
        return `f64.const ${this.#view.getFloat64(this.#at - 8, true)}`;
      case 0xfc:
        return name(0xfc00 + this.#unsigned());
      case 0xfd:
        return this.#vector(this.#unsigned());
      default:
        return name(opcode);
    }
  }

  #type(): string {
    const type = this.byte();
    return TYPES[type] ?? ` (type ${type})`;
  }

  #call(): string {
    const index = this.#unsigned();
    return `call $${this.#names.called(index) ?? index}`;
  }

  #vector(number: number): string {
    const memory = VECTOR_MEMORY[number];
    if (memory !== undefined) return `${memory}${this.#memarg()}`;
    if (number === V128_CONST) return `v128.const i8x16${this.#bytes(16)}`;
    if (number === SHUFFLE) return `i8x16.shuffle${this.#bytes(16)}`;
    const found = name(0xfd00 + number);
    return /_lane(_[su])?$/.test(found) ? `${found} ${this.byte()}` : found;
  }
}

function name(code: number): string {
  const found = wasmName(code);
  if (found === undefined) throw new Error(`wasm: no name for opcode 0x${code.toString(16)}`);
  return found;
}

function number(value: bigint): string {
  const small = value > -1024n && value < 1024n;
  if (small) return `${value}`;
  return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}
