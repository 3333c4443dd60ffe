import {
  B_BYTES,
  B_COUNT,
  B_HEADER,
  B_HEAT,
  B_KEY,
  B_PADDR,
  B_PADDR2,
  B_RECORDS,
  BLOCK_INSNS,
  BLOCK_RECORDS,
  HEAT_START,
  KEY_CODE32,
  KEY_CODE64,
  KEY_FLAT,
  KEY_NO_FPU,
  KEY_NO_SSE,
  KEY_PROTECTED,
  KEY_STACK32,
  KEY_STACK64,
  KEY_STEP,
  PAGE_RAM,
  REC_A,
  REC_B,
  REC_BASE,
  REC_DISP,
  REC_HANDLER,
  REC_IMM,
  REC_INDEX,
  REC_NEXT,
  REC_SEG,
  REC_SHIFT,
  REC_SIZE,
  REC_START,
  S_KEY,
  S_PAGE_MAP,
  S_RAM_HOST,
  S_RIP,
  S_ROM_HOST,
  S_ROM_PADDR,
  S_SEGS,
  S_ZERO,
  SEG_BASE,
  SEG_CS,
  SEG_FS,
  SEG_LIMIT,
  SEG_SIZE,
  SEG_SS,
  T_FROM_NEXT,
  T_SIGNED,
  T_WIDE,
} from '#ir/state.ts';
import type { Feature } from '#isa/x86/insn.ts';
import { Decoder, type Insn, isSigned, type MemoryOperand } from '#translate/x86/decode.ts';
import {
  formKey,
  isFence,
  isImmediate,
  isMemoryOperand,
  MEM_BASE,
  MEM_INDEX,
  MEM_LEFT,
  MEM_NONE,
  movesByBits,
  operandBytes,
  registerField,
  takesRegisterField,
} from './forms.ts';
import type { HandlerMap } from './handlers.ts';
import type { InsnTemplates, TemplatePart } from './insn-templates.ts';

const MAX_INSN_BYTES = 15;
const VECTOR_UD = 6;
const VECTOR_GP = 13;
const UNITS = { fpu: 0, mmx: 1, sse: 2, wait: 3 } as const;
const RSP = 4;
const FIELDS = [REC_A, REC_B, REC_BASE];

/** What the predecoder calls in core/. */
export interface BlockStore {
  /** Leaves by an exception of the host. */
  raise_error(cpu: number, vector: number, error: number): void;
  fetch_address(cpu: number, lin: bigint): bigint;
  new_block(cpu: number, records: number): number;
  add_block(cpu: number, block: number): void;
}

type Size = 2 | 4 | 8;

function codeSizeOf(key: number): Size {
  return (key & KEY_CODE64) !== 0 ? 8 : (key & KEY_CODE32) !== 0 ? 4 : 2;
}

/** The bit of the key that says that a unit is off. */
function offBit(unit: keyof typeof UNITS): number {
  return unit === 'sse' ? KEY_NO_SSE : KEY_NO_FPU;
}

/** Turns guest bytes into blocks of records, one virtual CPU's. */
export class Predecoder {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #cpu: number;
  readonly #store: BlockStore;
  readonly #features: ReadonlySet<Feature>;
  readonly #ids: ReadonlyMap<number, number>;
  readonly #ending: ReadonlySet<number>;
  readonly #writing: ReadonlySet<number>;
  readonly #special: Readonly<Record<string, number>>;
  readonly #firstEnding: number;
  readonly #decoders: Readonly<Record<Size, Decoder>>;
  readonly #straddle = new Uint8Array(32);
  readonly #straddleDecoders: Readonly<Record<Size, Decoder>>;
  readonly #records = new Uint8Array(BLOCK_RECORDS * REC_SIZE);
  readonly #out = new DataView(this.#records.buffer);
  /** How often code of `length` bytes at `host` in linear memory is to run before the hot tier is told. */
  heatOf: (host: number, length: number, key: number) => number = () => HEAT_START;
  /** Where what is made of an instruction is remembered. */
  readonly #templates: InsnTemplates | undefined;
  /** Of the instruction at hand: offsets in the records of its displacement, what is added to it, and of its immediate; -1: none. */
  #dispAt = -1;
  #dispAdd = 0;
  #immAt = -1;
  #count = 0;
  #key = 0;
  #codeSize: Size = 8;

  constructor(
    memory: WebAssembly.Memory,
    cpu: number,
    store: BlockStore,
    handlers: HandlerMap,
    features: ReadonlySet<Feature>,
    templates?: InsnTemplates,
  ) {
    this.#bytes = new Uint8Array(memory.buffer);
    this.#view = new DataView(memory.buffer);
    this.#cpu = cpu;
    this.#store = store;
    this.#features = features;
    this.#ids = new Map(handlers.keys.map((key, i) => [key, handlers.ids[i] ?? 0]));
    this.#ending = new Set(handlers.endingInline);
    this.#writing = new Set(handlers.writing);
    this.#special = handlers.special;
    this.#firstEnding = handlers.firstEnding;
    const decoders = (bytes: Uint8Array) => ({
      2: new Decoder(bytes, 2),
      4: new Decoder(bytes, 4),
      8: new Decoder(bytes, 8),
    });
    this.#decoders = decoders(this.#bytes);
    this.#straddleDecoders = decoders(this.#straddle);
    this.#templates = templates;
    if (templates === undefined) return;
    this.#fallThrough(0);
    templates.fallThrough = this.#records.slice(0, REC_SIZE);
  }

  /** Decodes and registers the block at `paddr`, whose linear address is `lin` and which has `mostBytes`. Returns its address in linear memory. */
  predecode(
    paddr: number,
    lin: bigint,
    key: number = this.#view.getUint32(this.#cpu + S_KEY, true),
    mostBytes = 4096,
  ): number {
    this.#key = key;
    this.#codeSize = codeSizeOf(key);
    this.#count = 0;
    const available = Math.min(4096 - (paddr & 0xfff), this.#untilLimit(), mostBytes);
    const start = this.#hostOf(paddr);
    const end = start + available;
    let at = start;
    let insns = 0;
    let paddr2 = 0;
    const most = (this.#key & KEY_STEP) !== 0 ? 1 : BLOCK_INSNS;
    for (;;) {
      const insn = this.#decoders[this.#codeSize].decode(at, end);
      if (insn === 'short') {
        if (insns > 0) break;
        const [page, length] = this.#straddling(start, available, lin);
        paddr2 = page;
        at = start + length;
        insns = 1;
        break;
      }
      insns++;
      const offset = at - start;
      const first = this.#count;
      const done = this.#append(insn, offset);
      if (typeof insn !== 'string') this.#learn(insn, at, first, done);
      at += typeof insn === 'string' ? 1 : insn.length;
      if (done || insns === most || at === end) break;
    }
    this.#fallThrough(at - start);
    return this.#finish(paddr, { insns, bytes: at - start, paddr2 });
  }

  /** Remembers what becomes of the instruction at `at`, which lies before `end`, both in linear memory; false where it cannot. */
  learn(at: number, end: number, key: number): boolean {
    this.#key = key;
    this.#codeSize = codeSizeOf(key);
    this.#count = 0;
    const insn = this.#decoders[this.#codeSize].decode(at, end);
    if (typeof insn === 'string') return false;
    return this.#learn(insn, at, 0, this.#append(insn, 0));
  }

  /** Bytes from RIP to the limit of CS, where there is one. */
  #untilLimit(): number {
    if ((this.#key & (KEY_CODE64 | KEY_FLAT)) !== 0) return 4096;
    const rip = Number(this.#view.getBigUint64(this.#cpu + S_RIP, true));
    const limit = this.#view.getUint32(this.#cpu + S_SEGS + SEG_CS * SEG_SIZE + SEG_LIMIT, true);
    return limit - rip + 1;
  }

  /** The instruction at `rip` as it stands in memory now, undefined where it cannot be read; S_EXC_… may change. */
  instructionAt(rip: bigint): Insn | undefined {
    const size = codeSizeOf(this.#view.getUint32(this.#cpu + S_KEY, true));
    const base = this.#view.getBigUint64(this.#cpu + S_SEGS + SEG_CS * SEG_SIZE + SEG_BASE, true);
    const lin = size === 8 ? rip : BigInt.asUintN(32, base + rip);
    const bytes = new Uint8Array(MAX_INSN_BYTES);
    let read = 0;
    try {
      for (; read < MAX_INSN_BYTES; read++) {
        const paddr = this.#store.fetch_address(this.#cpu, lin + BigInt(read));
        bytes[read] = this.#bytes[this.#hostOf(Number(BigInt.asUintN(32, paddr)))] ?? 0;
      }
    } catch {
      // The next page is not there: the instruction ends before it, or cannot be told.
    }
    const insn = new Decoder(bytes, size).decode(0, read);
    return typeof insn === 'string' ? undefined : insn;
  }

  #hostOf(paddr: number): number {
    const map = this.#view.getUint32(this.#cpu + S_PAGE_MAP, true);
    // Code where no memory stands: the zero page of the core, 00 00 for ever, is as good as what a bus would give.
    if (((this.#bytes[map + (paddr >>> 12)] ?? 0) & PAGE_RAM) === 0) return paddr & 0xfff;
    const rom = this.#view.getUint32(this.#cpu + S_ROM_PADDR, true);
    if (rom !== 0 && paddr >= rom)
      return this.#view.getUint32(this.#cpu + S_ROM_HOST, true) + (paddr - rom);
    return this.#view.getUint32(this.#cpu + S_RAM_HOST, true) + paddr;
  }

  /** The first instruction goes on beyond the page or the segment: its second page's address and its length. */
  #straddling(start: number, available: number, lin: bigint): [paddr2: number, length: number] {
    const toPageEnd = 4096 - Number(lin & 0xfffn);
    // No block is made of it: the limit may be another the next time.
    if (available < toPageEnd) this.#store.raise_error(this.#cpu, VECTOR_GP, 0);
    const mask = this.#codeSize === 8 ? 0xffffffffffffffffn : 0xffffffffn;
    const next = ((lin | 0xfffn) + 1n) & mask;
    const found = BigInt.asUintN(40, this.#store.fetch_address(this.#cpu, next));
    const paddr2 = Number(found > 0xffffffffn ? 0xfffff000n : found);
    this.#straddle.fill(0);
    this.#straddle.set(this.#bytes.subarray(start, start + available));
    const host2 = this.#hostOf(paddr2);
    this.#straddle.set(this.#bytes.subarray(host2, host2 + 16), available);
    const insn = this.#straddleDecoders[this.#codeSize].decode(0, available + 16);
    this.#append(insn === 'short' ? 'too-long' : insn, 0);
    return [paddr2, typeof insn === 'string' ? 1 : insn.length];
  }

  /** Appends the records of one instruction; true when the block ends with it. */
  #append(insn: Insn | 'undefined' | 'too-long' | 'short', offset: number): boolean {
    this.#dispAt = -1;
    this.#dispAdd = 0;
    this.#immAt = -1;
    if (insn === 'too-long' || insn === 'short')
      return this.#raise('raiseError', VECTOR_GP, offset);
    if (insn === 'undefined' || !this.#isOffered(insn))
      return this.#raise('raise', VECTOR_UD, offset);
    this.#checkUnit(insn, offset);
    const mem = this.#memForm(insn, offset);
    const stackSize: Size =
      (this.#key & KEY_STACK64) !== 0 ? 8 : (this.#key & KEY_STACK32) !== 0 ? 4 : 2;
    const { row, opSize, addrSize, rep } = insn;
    const id = this.#ids.get(
      formKey({ row, opSize, mem, rep, addrSize, codeSize: this.#codeSize, stackSize }),
    );
    if (id === undefined) return this.#raise('raise', VECTOR_UD, offset);
    if (mem === MEM_LEFT) this.#noteWrite(id);
    const rec = this.#record(id, offset, insn.length);
    this.#operands(insn, rec, mem);
    if (isFence(insn)) this.#record(this.#special['fence'] ?? 0, offset + insn.length, 0);
    return id >= this.#firstEnding || this.#ending.has(id);
  }

  /** Tells the address record before the handler's that the access is a write. Other address records ignore it. */
  #noteWrite(id: number): void {
    const address = (this.#count - 1) * REC_SIZE;
    const segmented =
      this.#out.getUint16(address + REC_HANDLER, true) === this.#special['segmented'];
    if (segmented && this.#writing.has(id)) this.#out.setUint8(address + REC_IMM + 1, 1);
  }

  #isOffered({ row }: Insn): boolean {
    const { feature, protectedOnly } = row.options;
    if (protectedOnly === true && (this.#key & KEY_PROTECTED) === 0) return false;
    return feature === undefined || this.#features.has(feature);
  }

  #checkUnit({ row, length }: Insn, offset: number): void {
    const { unit } = row.options;
    if (unit === undefined || (this.#key & offBit(unit)) === 0) return;
    const rec = this.#record(this.#special['checkUnit'] ?? 0, offset, length);
    this.#out.setInt32(rec + REC_IMM, UNITS[unit], true);
  }

  /** A new zeroed record; returns its offset. */
  #record(id: number, offset: number, length: number): number {
    const rec = this.#count++ * REC_SIZE;
    this.#records.fill(0, rec, rec + REC_SIZE);
    this.#out.setUint16(rec + REC_HANDLER, id, true);
    this.#out.setUint16(rec + REC_START, offset, true);
    this.#out.setUint16(rec + REC_NEXT, offset + length, true);
    this.#out.setUint8(rec + REC_BASE, S_ZERO);
    this.#out.setUint8(rec + REC_INDEX, S_ZERO);
    return rec;
  }

  #raise(kind: 'raise' | 'raiseError', vector: number, offset: number): true {
    const rec = this.#record(this.#special[kind] ?? 0, offset, 1);
    this.#out.setInt32(rec + REC_IMM, vector, true);
    return true;
  }

  /** Ends a block that its last instruction does not end. Harmless where it does: never reached. */
  #fallThrough(offset: number): void {
    const rec = this.#record(this.#special['fallThrough'] ?? 0, offset, 0);
    this.#out.setInt32(rec + REC_DISP, offset, true);
  }

  /** Chooses how the memory operand is reached; appends an address record where the handler cannot do it itself. */
  #memForm(insn: Insn, offset: number): number {
    const { memory, row } = insn;
    if (memory === undefined || !row.operands.some((o) => isMemoryOperand(o, MEM_BASE)))
      return MEM_NONE;
    if (this.#codeSize === 8) return this.#memForm64(insn, memory, offset);
    const lea = row.name === 'lea';
    const checked = (this.#key & KEY_FLAT) === 0 || memory.seg === SEG_CS || memory.seg >= SEG_FS;
    const flat = insn.addrSize === 4 && (!checked || lea) && !movesByBits(row);
    const rec = this.#addressRecord(flat ? 'flat32' : 'segmented', insn, memory, offset);
    if (!flat) this.#segmentedFields(rec, insn, lea);
    return MEM_LEFT;
  }

  #memForm64(insn: Insn, memory: MemoryOperand, offset: number): number {
    const based = memory.seg >= SEG_FS && insn.row.name !== 'lea';
    if (insn.row.operands.some((o) => o.kind === 'O')) {
      const name = based ? 'absoluteSegment' : 'absolute';
      const rec = this.#addressRecord(name, insn, memory, offset);
      const disp = insn.addrSize === 4 ? memory.disp & 0xffffffffn : memory.disp;
      this.#out.setBigInt64(rec + REC_IMM, disp, true);
      return MEM_LEFT;
    }
    if (insn.addrSize === 8 && !based) return memory.index < 0 ? MEM_BASE : MEM_INDEX;
    if (movesByBits(insn.row)) {
      this.#segmentedFields(this.#addressRecord('segmented', insn, memory, offset), insn, false);
      return MEM_LEFT;
    }
    const narrow = based ? 'segment32' : 'flat32';
    this.#addressRecord(insn.addrSize === 4 ? narrow : 'segment64', insn, memory, offset);
    return MEM_LEFT;
  }

  #addressRecord(name: string, insn: Insn, memory: MemoryOperand, offset: number): number {
    const rec = this.#record(this.#special[name] ?? 0, offset, insn.length);
    this.#addressFields(rec, insn, memory);
    return rec;
  }

  #segmentedFields(rec: number, insn: Insn, lea: boolean): void {
    const spec = insn.row.operands.find((o) => isMemoryOperand(o, MEM_BASE));
    this.#out.setUint8(rec + REC_IMM, operandBytes(spec?.size ?? '', insn.opSize));
    this.#out.setUint8(rec + REC_IMM + 2, insn.addrSize);
    this.#out.setUint8(rec + REC_IMM + 3, lea ? 1 : 0);
    if (!movesByBits(insn.row)) return;
    this.#out.setUint8(rec + REC_IMM + 4, insn.opSize);
    this.#out.setUint8(rec + REC_IMM + 5, registerField(insn, 'G', insn.opSize));
  }

  #addressFields(rec: number, insn: Insn, memory: MemoryOperand): void {
    const next = this.#out.getUint16(rec + REC_NEXT, true);
    // POP to memory: an address by RSP is made after the pop.
    const popped = insn.row.name === 'pop' && memory.base === RSP ? insn.opSize : 0;
    const disp = memory.disp + BigInt(popped) + (memory.ripRelative ? BigInt(next) : 0n);
    this.#dispAt = rec + REC_DISP;
    this.#dispAdd = popped;
    const base = memory.ripRelative ? S_RIP : memory.base < 0 ? S_ZERO : memory.base * 8;
    this.#out.setUint8(rec + REC_BASE, base);
    this.#out.setUint8(rec + REC_INDEX, memory.index < 0 ? S_ZERO : memory.index * 8);
    this.#out.setUint8(rec + REC_SHIFT, memory.shift);
    this.#out.setUint8(rec + REC_SEG, memory.seg);
    this.#out.setInt32(rec + REC_DISP, Number(BigInt.asIntN(32, disp)), true);
    if (insn.row.options.stack === true && insn.memory === undefined)
      this.#out.setUint8(rec + REC_SEG, SEG_SS);
  }

  #operands(insn: Insn, rec: number, mem: number): void {
    if (mem === MEM_BASE || mem === MEM_INDEX) {
      if (insn.memory !== undefined) this.#addressFields(rec, insn, insn.memory);
    } else {
      const data = insn.memory?.seg ?? insn.seg;
      this.#out.setUint8(rec + REC_SEG, insn.row.options.stack === true ? SEG_SS : data);
    }
    let fields = 0;
    const { operands } = insn.row;
    const immediateCount = operands.filter(isImmediate).length;
    let immediates = 0;
    for (const spec of operands) {
      if (spec.kind === 'J') this.#branchTarget(insn, rec);
      else if (isImmediate(spec)) this.#immediate(insn, rec, immediates++, immediateCount > 1);
      else if (takesRegisterField(spec, mem)) {
        this.#out.setUint8(
          rec + (FIELDS[fields++] ?? REC_A),
          registerField(insn, spec.kind, operandBytes(spec.size, insn.opSize)),
        );
      }
    }
  }

  #immediate(insn: Insn, rec: number, number: number, narrow: boolean): void {
    const value = insn.immediates[number] ?? 0n;
    this.#immAt = rec + REC_IMM;
    if (narrow)
      this.#out.setInt32(rec + REC_IMM + 4 * number, Number(BigInt.asIntN(32, value)), true);
    else this.#out.setBigInt64(rec + REC_IMM, BigInt.asIntN(64, value), true);
  }

  #branchTarget(insn: Insn, rec: number): void {
    const next = this.#out.getUint16(rec + REC_NEXT, true);
    this.#immAt = rec + REC_DISP;
    this.#out.setInt32(rec + REC_DISP, next + insn.rel, true);
  }

  /** Remembers the records from `first` on, which were made of the instruction at `at`, unless a part of it is odd, or its unit off. */
  #learn(insn: Insn, at: number, first: number, ends: boolean): boolean {
    const { operands, options } = insn.row;
    const unit = options.unit === undefined ? 0 : offBit(options.unit);
    const last = (this.#count - 1) * REC_SIZE;
    const raises = this.#out.getUint16(last + REC_HANDLER, true) === this.#special['raise'];
    if (this.#templates === undefined || raises || (this.#key & (KEY_STEP | unit)) !== 0)
      return false;
    if (insn.immediates.length > 1 || operands.some((o) => o.kind === 'A' || o.kind === 'O'))
      return false;
    const { headBytes, length } = insn;
    const from = first * REC_SIZE;
    return this.#templates.learn(this.#key, {
      head: this.#bytes.subarray(at, at + headBytes),
      length,
      ends,
      unit,
      records: this.#records.subarray(from, this.#count * REC_SIZE),
      disp: this.#dispPart(insn, from),
      add: this.#dispAdd,
      imm: this.#immPart(insn, from),
    });
  }

  #dispPart({ headBytes, dispBytes, memory }: Insn, from: number): TemplatePart | undefined {
    if (dispBytes === 0 || this.#dispAt < 0) return undefined;
    const how = T_SIGNED | (memory?.ripRelative === true ? T_FROM_NEXT : 0);
    return { at: headBytes, size: dispBytes, to: this.#dispAt - from, how };
  }

  #immPart({ headBytes, dispBytes, length, row }: Insn, from: number): TemplatePart | undefined {
    const at = headBytes + dispBytes;
    const operand = row.operands.find((o) => o.kind === 'I' || o.kind === 'J');
    if (at === length || operand === undefined) return undefined;
    const how =
      operand.kind === 'J' ? T_SIGNED | T_FROM_NEXT : T_WIDE | (isSigned(operand) ? T_SIGNED : 0);
    return { at, size: length - at, to: this.#immAt - from, how };
  }

  #heat(paddr: number, bytes: number, paddr2: number): number {
    if ((this.#key & KEY_STEP) !== 0) return 0;
    return paddr2 === 0 ? this.heatOf(this.#hostOf(paddr), bytes, this.#key) : HEAT_START;
  }

  #finish(
    paddr: number,
    { insns, bytes, paddr2 }: { insns: number; bytes: number; paddr2: number },
  ): number {
    const block = this.#store.new_block(this.#cpu, this.#count);
    const header = (field: number, value: number) =>
      this.#view.setUint32(block + field, value, true);
    this.#bytes.fill(0, block, block + B_HEADER);
    header(B_PADDR, paddr);
    header(B_KEY, this.#key);
    header(B_COUNT, insns);
    header(B_RECORDS, this.#count);
    header(B_PADDR2, paddr2);
    header(B_BYTES, bytes);
    header(B_HEAT, this.#heat(paddr, bytes, paddr2));
    this.#bytes.set(this.#records.subarray(0, this.#count * REC_SIZE), block + B_HEADER);
    this.#store.add_block(this.#cpu, block);
    return block;
  }
}
