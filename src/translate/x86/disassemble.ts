import type { OperandSpec } from '#isa/x86/insn.ts';
import { Decoder, type Insn, type MemoryOperand } from './decode.ts';

// Instructions as text, in Intel's syntax as `objdump -M intel` writes it: driven by the rows of isa/x86.

const LOW_REGISTERS = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'];
const LEGACY_BYTES = ['al', 'cl', 'dl', 'bl', 'ah', 'ch', 'dh', 'bh'];
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', '?', '?'];
const SS = 2;
const DS = 3;
const FS = 4;
const REPE = 0xf3;
const REPNE = 0xf2;
const PTR: Readonly<Record<number, string>> = {
  1: 'BYTE PTR ',
  2: 'WORD PTR ',
  4: 'DWORD PTR ',
  6: 'FWORD PTR ',
  8: 'QWORD PTR ',
  10: 'TBYTE PTR ',
  16: 'XMMWORD PTR ',
};
/** Comparisons that CMPPS and its kin name by their immediate. SDM vol. 2, CMPPD. */
const COMPARISONS = ['eq', 'lt', 'le', 'unord', 'neq', 'nlt', 'nle', 'ord'];
const CARRYLESS: Readonly<Record<number, string>> = { 0: 'lql', 1: 'hql', 16: 'lqh', 17: 'hqh' };
const PREFETCHES: Readonly<Record<number, readonly string[]>> = {
  3864: ['prefetchnta', 'prefetcht0', 'prefetcht1', 'prefetcht2'],
  3853: ['prefetch', 'prefetchw', 'prefetchwt1'],
};
/** Operands that the encoding does not show. */
const IMPLIED: Readonly<Record<string, string>> = {
  pblendvb: 'xmm0',
  blendvps: 'xmm0',
  blendvpd: 'xmm0',
};

/** x87 instructions whose other operand is ST(0), as the first or as the second. */
const TO_ST = ['farith', 'fucomi', 'fcomi', 'fcmov'];
const FROM_ST = ['farith_to', 'farith_pop'];

/** What a name is wanted for: the target of a branch, or an address relative to RIP. */
export type NameOf = (address: bigint) => string | undefined;

/** `rip` is the instruction's own address, `codeSize` 2, 4 or 8 as the decoder's. */
export interface Place {
  readonly rip: bigint;
  readonly codeSize: 2 | 4 | 8;
  readonly nameOf?: NameOf;
}

/** One instruction as a line. */
export function disassemble(insn: Insn, place: Place): string {
  return new Writer(insn, place).line();
}

/** UD2: the one encoding without a row that programs mean. */
const UD2 = [0x0f, 0x0b];

/** The instruction that `bytes` begin with, and its length: 1 where they are none, 0 where they end too soon. */
export function disassembleBytes(
  bytes: Uint8Array,
  place: Place,
): { readonly text: string; readonly length: number } {
  const insn = new Decoder(bytes, place.codeSize).decode(0, bytes.length);
  if (insn === 'short') return { text: '(cut off)', length: 0 };
  if (typeof insn !== 'string') return { text: disassemble(insn, place), length: insn.length };
  if (UD2.every((byte, i) => bytes[i] === byte)) return { text: 'ud2', length: 2 };
  return { text: '(bad)', length: 1 };
}

const hex = (value: bigint | number) => `0x${value.toString(16)}`;

/** A general register by number and size in bytes. */
function register(number: number, size: number, rex: boolean): string {
  if (size === 1 && !rex && number < 8) return LEGACY_BYTES[number] ?? '?';
  if (number >= 8) {
    const suffix: Readonly<Record<number, string>> = { 1: 'b', 2: 'w', 4: 'd' };
    return `r${number}${suffix[size] ?? ''}`;
  }
  const name = LOW_REGISTERS[number] ?? '?';
  if (size === 1) return number < 4 ? `${name.slice(0, 1)}l` : `${name}l`;
  return size === 8 ? `r${name}` : size === 4 ? `e${name}` : name;
}

class Writer {
  readonly #insn: Insn;
  readonly #place: Place;
  #immediates = 0;
  #comment = '';

  constructor(insn: Insn, place: Place) {
    this.#insn = insn;
    this.#place = place;
  }

  line(): string {
    const { row } = this.#insn;
    const special = this.#special();
    if (special !== undefined) return special;
    const operands = this.#operands();
    const name = this.#prefixes() + this.#mnemonic(operands);
    if (operands.length === 0) return name;
    if (row.name === 'xchgA') operands.reverse();
    return `${name.padEnd(6)} ${operands.join(',')}${this.#comment}`;
  }

  /** Hints: one row does nothing for all of them. */
  #special(): string | undefined {
    const { row, rep, opSize, rm, reg, mod } = this.#insn;
    const usual = (this.#place.codeSize === 2) === (opSize === 2);
    if (row.name === 'xchgA' && rm === 0 && usual) return rep === REPE ? 'pause' : 'nop';
    if (row.opcode === 0x0f1e && rep === REPE && mod === 3 && (reg & 7) === 7) {
      if ((rm & 7) === 2) return 'endbr64';
      if ((rm & 7) === 3) return 'endbr32';
    }
    return undefined;
  }

  #prefixes(): string {
    const { lock, rep, row } = this.#insn;
    const locked = lock ? 'lock ' : '';
    if (rep === 0 || row.options.prefix === rep) return locked;
    const compares = row.name === 'cmps' || row.name === 'scas';
    if (row.options.rep === true && !compares) return `${locked}rep `;
    return `${locked}${rep === REPNE ? 'repnz' : 'repz'} `;
  }

  /** May take an operand away that the name holds. */
  #mnemonic(operands: string[]): string {
    const { row, opSize, reg } = this.#insn;
    const { as = row.name } = row.options;
    const names = as.split('/');
    const name = names[opSize === 2 ? 0 : opSize === 4 ? 1 : 2] ?? as;
    if (row.name.startsWith('fcmp')) return this.#comparison(name, operands);
    if (row.name === 'pclmulqdq') return this.#carryless(name, operands);
    if (row.name === 'jcxz') return { 2: 'jcxz', 4: 'jecxz', 8: 'jrcxz' }[this.#insn.addrSize];
    if (this.#isPrefetch()) return PREFETCHES[row.opcode]?.[reg & 7] ?? 'prefetch';
    if (name === 'mov' && this.#isAbsolute()) return 'movabs';
    const wide = opSize === 8 && row.options.mode === true && row.opcode === 0x0fae;
    return wide ? `${name}64` : name;
  }

  /** Of the hints, those that name a line of memory. */
  #isPrefetch(): boolean {
    const { row, reg, memory } = this.#insn;
    return (
      memory !== undefined && (row.opcode === 0x0f0d || (row.opcode === 0x0f18 && (reg & 7) < 4))
    );
  }

  /** MOV of a 64-bit immediate, or from or to a 64-bit address. */
  #isAbsolute(): boolean {
    const { row, opSize, addrSize } = this.#insn;
    const wide = (spec: OperandSpec) =>
      spec.kind === 'O' ? addrSize === 8 : spec.kind === 'I' && spec.size === 'v' && opSize === 8;
    return row.operands.some(wide);
  }

  #comparison(name: string, operands: string[]): string {
    const word = COMPARISONS[Number(this.#insn.immediates[0] ?? 8n)];
    if (word === undefined) return name;
    operands.pop();
    return `cmp${word}${name.slice(3)}`;
  }

  #carryless(name: string, operands: string[]): string {
    const halves = CARRYLESS[Number(this.#insn.immediates[0] ?? -1n)];
    if (halves === undefined) return name;
    operands.pop();
    return `pclmul${halves}qdq`;
  }

  #operands(): string[] {
    const { row } = this.#insn;
    const fixed = this.#implicitForm();
    if (fixed !== undefined) return fixed;
    const operands = row.operands.map((spec) => this.#operand(spec));
    const implied = IMPLIED[row.name];
    if (implied !== undefined) operands.push(implied);
    return operands;
  }

  /** String and port instructions, and those of a segment register: rows that name none or not all of their operands. */
  #implicitForm(): string[] | undefined {
    const { row, opSize, addrSize, seg } = this.#insn;
    const size = row.options.arg === 1 ? 1 : Math.min(opSize, 8);
    const accumulator = register(0, size, false);
    const port = Math.min(size, 4);
    const at = (segment: string, number: number, bytes = size) =>
      `${PTR[bytes]}${segment}:[${register(number, addrSize, true)}]`;
    const from = () => at(SEGMENTS[seg] ?? 'ds', 6);
    const to = (bytes = size) => at('es', 7, bytes);
    const segment = SEGMENTS[row.options.arg ?? 0] ?? '';
    const rest = () => row.operands.map((spec) => this.#operand(spec));
    const forms: Readonly<Record<string, () => string[]>> = {
      movs: () => [to(), from()],
      cmps: () => [from(), to()],
      stos: () => [to(), accumulator],
      lods: () => [accumulator, from()],
      scas: () => [accumulator, to()],
      ins: () => [to(port), 'dx'],
      outs: () => ['dx', at(SEGMENTS[seg] ?? 'ds', 6, port)],
      in: () => [register(0, port, false), ...rest()],
      out: () => [...rest(), register(0, port, false)],
      xlat: () => [at(SEGMENTS[seg] ?? 'ds', 3, 1)],
      push_sreg: () => [segment],
      pop_sreg: () => [segment],
      mov_to_sreg: () => [segment, this.#segmentSource()],
      mov_from_sreg: () => [...rest(), segment],
      ...Object.fromEntries(TO_ST.map((name) => [name, () => ['st', ...rest()]])),
      ...Object.fromEntries(FROM_ST.map((name) => [name, () => [...rest(), 'st']])),
    };
    return forms[row.name]?.();
  }

  /** The assembler writes the whole register, whose low half alone counts. */
  #segmentSource(): string {
    const { memory, rm, opSize } = this.#insn;
    return memory === undefined ? register(rm, opSize, true) : this.#memory(memory, 2);
  }

  #operand(spec: OperandSpec): string {
    const insn = this.#insn;
    const size = this.#bytes(spec);
    switch (spec.kind) {
      case 'fixed':
        return spec.size === 'high' ? 'ah' : register(spec.reg ?? 0, size, spec.size !== 'b');
      case 'one':
        return '1';
      case 'I':
        return this.#immediate(spec);
      case 'A':
        return this.#farPointer();
      case 'J':
        return this.#target();
      case 'S':
        return SEGMENTS[insn.reg & 7] ?? '?';
      case 'C':
        return `cr${insn.reg}`;
      case 'D':
        return `dr${insn.reg}`;
      case 'G':
        return register(insn.reg, size, insn.rex);
      case 'Z':
        return register(insn.rm, size, insn.rex);
      case 'V':
        return `xmm${insn.reg}`;
      case 'P':
        return `mm${insn.reg & 7}`;
      default:
        return this.#registerOrMemory(spec.kind, size);
    }
  }

  #registerOrMemory(kind: string, size: number): string {
    const { memory, rm, rex, row, opSize } = this.#insn;
    if (memory !== undefined) return this.#memory(memory, size);
    if (kind === 'L') return `st(${rm & 7})`;
    if ('WU'.includes(kind)) return `xmm${rm}`;
    if ('QN'.includes(kind)) return `mm${rm & 7}`;
    const whole = row.name === 'lar' || row.name === 'lsl';
    return register(rm, whole ? opSize : size, rex);
  }

  /** Bytes of an operand; 0 for an address without an access. */
  #bytes({ size, kind }: OperandSpec): number {
    const { opSize, row } = this.#insn;
    switch (size) {
      case 'b':
      case 'bs':
      case 'high':
        return 1;
      case 'w':
        return 2;
      case 'd':
        return 4;
      case 'q':
        return 8;
      case 't':
        return 10;
      case 'dq':
        return row.name === 'invpcid' || row.options.as === 'lddqu' ? 0 : 16;
      case 'a':
        return opSize * 2;
      case 'p':
        return opSize + 2;
      case 'y':
        return opSize === 8 ? 8 : 4;
      case 'v':
      case 'z':
        return opSize;
      default:
        if (row.name === 'invlpg' || this.#isPrefetch()) return 1;
        return kind === 'E' ? opSize : 0;
    }
  }

  /** Immediates are shown as wide as the operation that uses them. */
  #immediate(spec: OperandSpec): string {
    const { immediates, opSize, row } = this.#insn;
    const value = immediates[this.#immediates++] ?? 0n;
    if (spec.size === 'b') return hex(BigInt.asUintN(8, value));
    if (spec.size === 'w') return hex(BigInt.asUintN(16, value));
    const stack = row.name === 'push' && this.#place.codeSize === 8;
    return hex(BigInt.asUintN(stack ? 64 : opSize * 8, value));
  }

  #farPointer(): string {
    const value = this.#insn.immediates[0] ?? 0n;
    return `${hex(value >> 32n)}:${hex(value & 0xffffffffn)}`;
  }

  #target(): string {
    const { length, rel, opSize } = this.#insn;
    const { rip, codeSize } = this.#place;
    const bits = codeSize === 8 ? 64 : opSize * 8;
    return this.#named(BigInt.asUintN(bits, rip + BigInt(length + rel)));
  }

  #named(address: bigint): string {
    const name = this.#place.nameOf?.(address);
    return name === undefined ? hex(address) : `${hex(address)} <${name}>`;
  }

  #memory(memory: MemoryOperand, size: number): string {
    const { addrSize, row } = this.#insn;
    const { base, index, shift, disp, ripRelative, seg } = memory;
    const prefix = PTR[size] ?? '';
    if (ripRelative) {
      const { rip } = this.#place;
      const target = BigInt.asUintN(64, rip + BigInt(this.#insn.length) + disp);
      this.#comment = ` # ${this.#named(target)}`;
      return `${prefix}${this.#segment(seg, DS)}[${addrSize === 8 ? 'rip' : 'eip'}${signed(disp)}]`;
    }
    if (base < 0 && index < 0) {
      const bits = addrSize * 8;
      const size = row.operands.some((o) => o.kind === 'O') ? '' : prefix;
      return `${size}${SEGMENTS[seg] ?? 'ds'}:${hex(BigInt.asUintN(bits, disp))}`;
    }
    const parts = base < 0 ? '' : register(base, addrSize, true);
    const scaled = addrSize === 2 ? '' : `*${1 << shift}`;
    const second = index < 0 ? '' : `${register(index, addrSize, true)}${scaled}`;
    const both = parts !== '' && second !== '' ? `${parts}+${second}` : parts + second;
    // A displacement of zero is shown where the encoding has one.
    const shown = disp !== 0n || this.#insn.mod !== 0 || base < 0 ? signed(disp) : '';
    return `${prefix}${this.#segment(seg, base === 4 || base === 5 ? SS : DS)}[${both}${shown}]`;
  }

  #segment(seg: number, usual: number): string {
    if (seg === usual) return '';
    return seg >= FS || this.#place.codeSize !== 8 ? `${SEGMENTS[seg]}:` : '';
  }
}

function signed(disp: bigint): string {
  return disp < 0n ? `-${hex(-disp)}` : `+${hex(disp)}`;
}
