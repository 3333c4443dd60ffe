import type { ResultType, ValueType } from '#ir/opcodes.ts';

// Writing WebAssembly modules. Source: WebAssembly core specification 3.0, chapter 5.

const TYPE_CODES: Readonly<Record<ValueType, number>> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
};
const VOID = 0x40;
const ENCODER = new TextEncoder();

/** Growing bytes. */
export class Bytes {
  #buffer: Uint8Array<ArrayBuffer>;
  #length = 0;

  constructor(capacity = 256) {
    this.#buffer = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  byte(value: number): this {
    if (this.#length === this.#buffer.length) this.#reserve(1);
    this.#buffer[this.#length++] = value;
    return this;
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#buffer.length) return;
    const wider = new Uint8Array(Math.max(this.#length + count, this.#buffer.length * 2));
    wider.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = wider;
  }

  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  /** Unsigned LEB128. */
  u(value: number): this {
    let rest = value >>> 0;
    while (rest >= 0x80) {
      this.byte((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    return this.byte(rest);
  }

  /** Signed LEB128 of 32 or 64 bits. */
  s(value: number | bigint): this {
    if (typeof value === 'number' && value === (value | 0)) return this.#small(value);
    let rest = BigInt(value);
    if (rest === BigInt.asIntN(32, rest)) return this.#small(Number(rest));
    for (;;) {
      const low = Number(rest & 0x7fn);
      rest >>= 7n;
      if ((rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0))
        return this.byte(low);
      this.byte(low | 0x80);
    }
  }

  #small(value: number): this {
    let rest = value;
    for (;;) {
      const low = rest & 0x7f;
      rest >>= 7;
      if ((rest === 0 && low < 0x40) || (rest === -1 && low >= 0x40)) return this.byte(low);
      this.byte(low | 0x80);
    }
  }

  text(value: string): this {
    const bytes = ENCODER.encode(value);
    return this.u(bytes.length).raw(bytes);
  }

  /** What is there now, as long as nothing is added. */
  get view(): Uint8Array<ArrayBuffer> {
    return this.#buffer.subarray(0, this.#length);
  }

  done(): Uint8Array<ArrayBuffer> {
    return this.#buffer.slice(0, this.#length);
  }
}

/** The code of one function: parameters first, then locals as they are asked for. */
export class FunctionBody {
  readonly code = new Bytes(4096);
  readonly params: readonly ValueType[];
  readonly result: ResultType;
  readonly #locals: ValueType[] = [];
  readonly #names = new Map<number, string>();
  readonly #hints: { at: number; likely: boolean }[] = [];
  /** Of parameters that are always the same. */
  readonly #known: (number | undefined)[] = [];
  /** How many blocks, loops and ifs are open: a label is the depth within its construct, and a branch takes the difference. */
  depth = 0;

  constructor(params: readonly ValueType[], result: ResultType) {
    this.params = params;
    this.result = result;
  }

  /** `name` is for those who read the code. */
  local(type: ValueType, name?: string): number {
    this.#locals.push(type);
    const index = this.params.length + this.#locals.length - 1;
    if (name !== undefined) this.#names.set(index, name);
    return index;
  }

  nameOf(local: number): string | undefined {
    return this.#names.get(local);
  }

  op(code: number): this {
    if (code >= 0xfc00) this.code.byte(code >> 8).u(code & 0xff);
    else this.code.byte(code);
    return this;
  }

  /** A parameter that is always the same: whoever reads it gets the constant. */
  know(parameter: number, value: number): void {
    this.#known[parameter] = value;
  }

  get(local: number): this {
    const known = this.#known[local];
    if (known !== undefined) return this.i32(known);
    this.code.byte(0x20).u(local);
    return this;
  }

  set(local: number): this {
    this.code.byte(0x21).u(local);
    return this;
  }

  tee(local: number): this {
    this.code.byte(0x22).u(local);
    return this;
  }

  i32(value: number): this {
    this.code.byte(0x41).s(value | 0);
    return this;
  }

  i64(value: number | bigint): this {
    this.code.byte(0x42);
    const isSmall = typeof value === 'number' && value === (value | 0);
    this.code.s(isSmall ? value : BigInt.asIntN(64, BigInt(value)));
    return this;
  }

  f64(value: number): this {
    this.code.byte(0x44).raw(new Uint8Array(Float64Array.of(value).buffer));
    return this;
  }

  /** A load or store: `align` is left at 1 byte, which costs nothing. */
  mem(code: number, offset: number): this {
    this.op(code).code.u(0).u(offset);
    return this;
  }

  block(type: ResultType = 'void'): this {
    return this.#structured(0x02, type);
  }

  loop(): this {
    return this.#structured(0x03, 'void');
  }

  if(type: ResultType = 'void'): this {
    return this.#structured(0x04, type);
  }

  /** Says of the `if` or `br_if` that is emitted next whether it is mostly taken: the compiler keeps the rare side apart. */
  hint(likely: boolean): this {
    this.#hints.push({ at: this.code.length, likely });
    return this;
  }

  else(): this {
    this.code.byte(0x05);
    return this;
  }

  end(): this {
    this.depth--;
    this.code.byte(0x0b);
    return this;
  }

  br(depth: number): this {
    this.code.byte(0x0c).u(depth);
    return this;
  }

  brIf(depth: number): this {
    this.code.byte(0x0d).u(depth);
    return this;
  }

  /** A branch by the number on the stack: labels as those of `branch`. */
  brTable(labels: readonly number[], other: number): this {
    this.code.byte(0x0e).u(labels.length);
    for (const label of [...labels, other]) this.code.u(this.depth - label);
    return this;
  }

  call(index: number): this {
    this.code.byte(0x10).u(index);
    return this;
  }

  /** A branch to the construct within which the depth is `label`. */
  branch(label: number): this {
    return this.br(this.depth - label);
  }

  #structured(code: number, type: ResultType): this {
    this.depth++;
    this.code.byte(code).byte(type === 'void' ? VOID : TYPE_CODES[type]);
    return this;
  }

  /** The entry of the code section, and the hints in it by their offset. */
  encode(): EncodedFunction {
    const body = new Bytes(this.code.length + 64);
    const groups: { type: ValueType; count: number }[] = [];
    for (const type of this.#locals) {
      const last = groups.at(-1);
      if (last?.type === type) last.count++;
      else groups.push({ type, count: 1 });
    }
    body.u(groups.length);
    for (const { type, count } of groups) body.u(count).byte(TYPE_CODES[type]);
    const start = body.length;
    body.raw(this.code.view).byte(0x0b);
    return {
      bytes: body.view,
      hints: this.#hints.map(({ at, likely }) => ({ at: start + at, likely })),
    };
  }
}

interface EncodedFunction {
  readonly bytes: Uint8Array;
  readonly hints: readonly { readonly at: number; readonly likely: boolean }[];
}

interface Signature {
  readonly params: readonly ValueType[];
  readonly result: ResultType;
}

/** A module: imported memory `env.memory` (shared), imported functions, functions, one table. */
export class ModuleWriter {
  readonly #types: Signature[] = [];
  /** Their indexes, by what they are. */
  readonly #typeIndexes = new Map<string, number>();
  readonly #imports: { module: string; name: string; type: number }[] = [];
  readonly #functions: { type: number; body: EncodedFunction }[] = [];
  readonly #exports: { name: string; index: number }[] = [];
  readonly #globals: { module: string; name: string }[] = [];
  #table: number[] = [];
  /** The imported table, which is table 0 then, and where in it to put functions. */
  #importedTable: { module: string; name: string } | undefined;
  #elements: { global: number; index: number }[] = [];

  type(signature: Signature): number {
    const key = `${signature.params.join()} ${signature.result}`;
    const found = this.#typeIndexes.get(key) ?? this.#types.push(signature) - 1;
    this.#typeIndexes.set(key, found);
    return found;
  }

  /** All imports come before the first function. */
  import(module: string, name: string, signature: Signature): number {
    if (this.#functions.length > 0) throw new Error('wasm: import after a function');
    return this.#imports.push({ module, name, type: this.type(signature) }) - 1;
  }

  function(body: FunctionBody): number {
    this.#functions.push({ type: this.type(body), body: body.encode() });
    return this.#imports.length + this.#functions.length - 1;
  }

  export(name: string, index: number): void {
    this.#exports.push({ name, index });
  }

  /** Imports a table of functions. */
  importTable(module: string, name: string): void {
    this.#importedTable = { module, name };
  }

  /** Imports a constant i32; returns its index among the globals. */
  importGlobal(module: string, name: string): number {
    return this.#globals.push({ module, name }) - 1;
  }

  /** Puts a function in the place of the imported table that a global tells when the module is instantiated. */
  element(global: number, index: number): void {
    this.#elements.push({ global, index });
  }

  /** Elements of a table of its own: table 0, or 1 beside an imported one. */
  table(functions: number[]): void {
    this.#table = functions;
  }

  /** `minMemoryPages`: what V8 knows to be there costs no look at bounds, and no care for traps. */
  encode(maxMemoryPages: number, minMemoryPages = 1): Uint8Array<ArrayBuffer> {
    const out = new Bytes().raw(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
    const section = (id: number, fill: (to: Bytes) => void) => {
      const body = new Bytes();
      fill(body);
      out.byte(id).u(body.length).raw(body.view);
    };
    section(1, (to) => this.#writeTypes(to));
    section(2, (to) => this.#writeImports(to, minMemoryPages, maxMemoryPages));
    section(3, (to) => {
      to.u(this.#functions.length);
      for (const f of this.#functions) to.u(f.type);
    });
    if (this.#table.length > 0)
      section(4, (to) => to.u(1).byte(0x70).byte(0).u(this.#table.length));
    section(7, (to) => {
      to.u(this.#exports.length);
      for (const e of this.#exports) to.text(e.name).byte(0).u(e.index);
    });
    if (this.#table.length + this.#elements.length > 0) section(9, (to) => this.#writeElements(to));
    this.#writeHints(out);
    section(10, (to) => {
      to.u(this.#functions.length);
      for (const f of this.#functions) to.u(f.body.bytes.length).raw(f.body.bytes);
    });
    return out.done();
  }

  /** Source: WebAssembly branch hinting proposal, metadata.code.branch_hint. */
  #writeHints(out: Bytes): void {
    const hinted = this.#functions
      .map(({ body }, i) => ({ index: this.#imports.length + i, hints: body.hints }))
      .filter(({ hints }) => hints.length > 0);
    if (hinted.length === 0) return;
    const section = new Bytes().text('metadata.code.branch_hint').u(hinted.length);
    for (const { index, hints } of hinted) {
      section.u(index).u(hints.length);
      for (const { at, likely } of hints)
        section
          .u(at)
          .u(1)
          .byte(likely ? 1 : 0);
    }
    out.byte(0).u(section.length).raw(section.view);
  }

  #writeElements(to: Bytes): void {
    to.u(this.#elements.length + (this.#table.length > 0 ? 1 : 0));
    for (const { global, index } of this.#elements) {
      to.u(0).byte(0x23).u(global).byte(0x0b).u(1).u(index);
    }
    if (this.#table.length === 0) return;
    const own = this.#importedTable === undefined ? 0 : 1;
    to.u(2).u(own).byte(0x41).s(0).byte(0x0b).byte(0).u(this.#table.length);
    for (const index of this.#table) to.u(index);
  }

  #writeTypes(to: Bytes): void {
    to.u(this.#types.length);
    for (const { params, result } of this.#types) {
      to.byte(0x60).u(params.length);
      for (const p of params) to.byte(TYPE_CODES[p]);
      if (result === 'void') to.u(0);
      else to.u(1).byte(TYPE_CODES[result]);
    }
  }

  #writeImports(to: Bytes, minMemoryPages: number, maxMemoryPages: number): void {
    const table = this.#importedTable;
    to.u(this.#imports.length + this.#globals.length + (table === undefined ? 1 : 2));
    to.text('env').text('memory').byte(2).byte(3).u(minMemoryPages).u(maxMemoryPages);
    if (table !== undefined) to.text(table.module).text(table.name).byte(1).byte(0x70).byte(0).u(1);
    for (const g of this.#globals) to.text(g.module).text(g.name).byte(3).byte(0x7f).byte(0);
    for (const i of this.#imports) to.text(i.module).text(i.name).byte(0).u(i.type);
  }
}
