import type { InsnRow, OperandSpec } from '#isa/x86/insn.ts';
import { TABLE } from '#isa/x86/table.ts';

export interface MemoryOperand {
  /** Register numbers; -1 for none. */
  readonly base: number;
  readonly index: number;
  readonly shift: number;
  readonly disp: bigint;
  /** Displacement is relative to the next instruction. */
  readonly ripRelative: boolean;
  /** ES CS SS DS FS GS as 0-5, overrides applied. */
  readonly seg: number;
}

export interface Insn {
  readonly row: InsnRow;
  readonly length: number;
  /** Bytes before the displacement and the immediates, and of the displacement. */
  readonly headBytes: number;
  readonly dispBytes: number;
  readonly opSize: 2 | 4 | 8;
  readonly addrSize: 2 | 4 | 8;
  readonly rep: number;
  readonly lock: boolean;
  readonly rex: boolean;
  /** ModRM fields with REX bits. Without a ModRM byte `rm` is the register in the low bits of the opcode (Z operands). */
  readonly mod: number;
  readonly reg: number;
  readonly rm: number;
  readonly memory: MemoryOperand | undefined;
  /** Segment of string operands and the like: the override, or DS. */
  readonly seg: number;
  /** In the order of the immediate operands; sign- or zero-extended as their specs say. */
  readonly immediates: readonly bigint[];
  /** Displacement of a direct branch. */
  readonly rel: number;
}

/** `undefined` is an encoding that raises #UD, `too-long` one of more than 15 bytes (#GP), `short` one cut off by the end of the bytes. */
export type Decoded = Insn | 'undefined' | 'too-long' | 'short';

/** Bytes of an immediate operand. */
export function immediateBytes({ size }: OperandSpec, opSize: number): number {
  switch (size) {
    case 'bs':
    case 'b':
      return 1;
    case 'w':
      return 2;
    case 'z':
      return opSize === 2 ? 2 : 4;
    default:
      return opSize;
  }
}

/** Whether an immediate operand is sign-extended. */
export function isSigned({ size }: OperandSpec): boolean {
  return size !== 'b' && size !== 'w';
}

const MAX_LENGTH = 15; // Intel SDM vol. 2, 2.3.11
const SEG_OVERRIDES: Readonly<Record<number, number>> = {
  38: 0,
  46: 1,
  54: 2,
  62: 3,
  100: 4,
  101: 5,
};

class Truncated extends Error {}
class TooLong extends Error {}
const TRUNCATED = new Truncated();
const TOO_LONG = new TooLong();

const HAS_MODRM_KINDS = 'EMRGSCDVWUPQN';

function needsModRm(row: InsnRow): boolean {
  const { reg, rm, mod } = row.options;
  return (
    reg !== undefined ||
    rm !== undefined ||
    mod !== undefined ||
    row.operands.some((o) => HAS_MODRM_KINDS.includes(o.kind) && o.kind !== 'fixed')
  );
}

/** MOV CR and DR take ModRM.mod as 3 whatever it says (SDM vol. 2, MOV). */
function ignoresMod(row: InsnRow): boolean {
  return row.operands.some((o) => o.kind === 'C' || o.kind === 'D');
}

/** A row, and what of its operands decides how it is decoded. */
interface Choice {
  readonly row: InsnRow;
  readonly ignoresMod: boolean;
  /** An operand may be memory alone, or a register alone. */
  readonly wantsMemory: boolean;
  readonly wantsRegister: boolean;
  /** The address of its memory operand stands in the instruction. */
  readonly hasOffset: boolean;
}

function choiceOf(row: InsnRow): Choice {
  const isAny = (kinds: string) => row.operands.some((o) => kinds.includes(o.kind));
  return {
    row,
    ignoresMod: ignoresMod(row),
    wantsMemory: isAny('M'),
    wantsRegister: !ignoresMod(row) && isAny('RUN'),
    hasOffset: isAny('O'),
  };
}

/** The rows of an opcode. */
interface Choices {
  readonly list: Choice[];
  /** A ModRM byte follows it. */
  hasModRm: boolean;
}

const BY_OPCODE = new Map<number, Choices>();
for (const row of TABLE) {
  const choices = BY_OPCODE.get(row.opcode) ?? { list: [], hasModRm: false };
  choices.list.push(choiceOf(row));
  choices.hasModRm ||= needsModRm(row);
  BY_OPCODE.set(row.opcode, choices);
}

/** Whether the row is for this ModRM byte: its fields that are part of the opcode, memory or register. */
function fitsModRm({ row, wantsMemory, wantsRegister }: Choice, modRm: number): boolean {
  const { reg, rm, mod } = row.options;
  const isRegister = modRm >= 0xc0;
  if (reg !== undefined && ((modRm >> 3) & 7) !== reg) return false;
  if (rm !== undefined && (!isRegister || (modRm & 7) !== rm)) return false;
  if (mod !== undefined && (mod === 'reg') !== isRegister) return false;
  return isRegister ? !wantsMemory : !wantsRegister;
}

/** Decodes one instruction at a time. `codeSize` is 2, 4 or 8. */
export class Decoder {
  readonly #bytes: Uint8Array;
  readonly #codeSize: 2 | 4 | 8;
  #start = 0;
  /** Where the displacement begins. */
  #head = 0;
  #at = 0;
  #limit = 0;
  #op66 = false;
  #addr67 = false;
  #rep = 0;
  #lock = false;
  #seg = -1;
  #rex = 0;

  constructor(bytes: Uint8Array, codeSize: 2 | 4 | 8) {
    this.#bytes = bytes;
    this.#codeSize = codeSize;
  }

  /** How many bytes the last `decode` has looked at. */
  get lookedAt(): number {
    return this.#at - this.#start;
  }

  /** The instruction at `offset`; bytes from `limit` on do not exist. */
  decode(offset: number, limit: number): Decoded {
    this.#start = offset;
    this.#at = offset;
    this.#limit = limit;
    try {
      return this.#instruction();
    } catch (error) {
      if (error === TRUNCATED) return 'short';
      if (error === TOO_LONG) return 'too-long';
      throw error;
    }
  }

  #next(): number {
    if (this.#at - this.#start >= MAX_LENGTH) throw TOO_LONG;
    if (this.#at >= this.#limit) throw TRUNCATED;
    return this.#bytes[this.#at++] ?? 0;
  }

  #prefixes(): number {
    this.#op66 = false;
    this.#addr67 = false;
    this.#rep = 0;
    this.#lock = false;
    this.#seg = -1;
    this.#rex = 0;
    for (;;) {
      const byte = this.#next();
      const seg = SEG_OVERRIDES[byte];
      if (seg !== undefined) this.#override(seg);
      else if (byte === 0x66) this.#op66 = true;
      else if (byte === 0x67) this.#addr67 = true;
      else if (byte === 0xf0) this.#lock = true;
      else if (byte === 0xf2 || byte === 0xf3) this.#rep = byte;
      else if (this.#codeSize === 8 && (byte & 0xf0) === 0x40) {
        this.#rex = byte;
        continue;
      } else return byte;
      // REX counts only right before the opcode.
      this.#rex = 0;
    }
  }

  #override(seg: number): void {
    // 64-bit mode ignores all but FS and GS (SDM vol. 1, 3.4.2.1).
    if (this.#codeSize !== 8 || seg >= 4) this.#seg = seg;
  }

  #opcode(first: number): number {
    if (first !== 0x0f) return first;
    const second = this.#next();
    if (second === 0x38 || second === 0x3a) return (0x0f00 | second) * 256 + this.#next();
    return 0x0f00 | second;
  }

  #instruction(): Decoded {
    const opcode = this.#opcode(this.#prefixes());
    const choices = BY_OPCODE.get(opcode);
    if (choices === undefined) {
      // A ModRM byte that is not there would be a #PF before the #UD; opcodes without rows are taken to have none.
      return 'undefined';
    }
    const modRm = choices.hasModRm ? this.#next() : -1;
    const choice = this.#choose(choices.list, modRm);
    if (choice === undefined) return 'undefined';
    return this.#finish(choice, modRm);
  }

  #choose(list: readonly Choice[], modRm: number): Choice | undefined {
    const mandatory = this.#rep !== 0 ? this.#rep : this.#op66 ? 0x66 : 0;
    let fallback: Choice | undefined;
    for (const choice of list) {
      if (!this.#fits(choice, modRm)) continue;
      const { prefix } = choice.row.options;
      if (prefix === undefined) fallback ??= choice;
      else if (prefix === 'none' ? mandatory === 0 : prefix === mandatory) return choice;
      else if (prefix === 0x66 && this.#op66 && this.#rep === 0) return choice;
    }
    return fallback;
  }

  #fits(choice: Choice, modRm: number): boolean {
    const { options } = choice.row;
    if (this.#codeSize === 8 ? options.not64 === true : options.only64 === true) return false;
    if (options.w !== undefined && ((this.#rex >> 3) & 1) !== options.w) return false;
    return fitsModRm(choice, modRm);
  }

  #opSize(row: InsnRow): 2 | 4 | 8 {
    const { size, force64, default64, prefix } = row.options;
    if (size !== undefined) return size === 1 ? 4 : size;
    const op66 = this.#op66 && prefix !== 0x66;
    if (this.#codeSize !== 8) return (this.#codeSize === 4) !== op66 ? 4 : 2;
    if (force64 === true || (this.#rex & 8) !== 0) return 8;
    if (op66) return 2;
    return default64 === true ? 8 : 4;
  }

  #addrSize(): 2 | 4 | 8 {
    if (this.#codeSize === 8) return this.#addr67 ? 4 : 8;
    return (this.#codeSize === 4) !== this.#addr67 ? 4 : 2;
  }

  #finish(choice: Choice, modRm: number): Decoded {
    const { row } = choice;
    const opSize = this.#opSize(row);
    const addrSize = this.#addrSize();
    const mod = modRm < 0 ? 0 : modRm >> 6;
    const reg = modRm < 0 ? 0 : ((modRm >> 3) & 7) | ((this.#rex & 4) << 1);
    const rm = modRm < 0 ? 0 : (modRm & 7) | ((this.#rex & 1) << 3);
    this.#head = this.#at;
    const memory = this.#memoryOperand(choice, modRm, addrSize);
    const dispBytes = this.#at - this.#head;
    const { immediates, rel } = this.#immediates(row, opSize);
    if (this.#lock && !(row.options.lock === true && memory !== undefined)) return 'undefined';
    return {
      row,
      length: this.#at - this.#start,
      headBytes: this.#head - this.#start,
      dispBytes,
      opSize,
      addrSize,
      rep: this.#rep,
      lock: this.#lock,
      rex: this.#rex !== 0,
      mod,
      reg,
      rm: modRm < 0 ? (row.opcode & 7) | ((this.#rex & 1) << 3) : rm,
      memory,
      seg: this.#seg < 0 ? 3 : this.#seg,
      immediates,
      rel,
    };
  }

  #memoryOperand(
    { hasOffset, ignoresMod }: Choice,
    modRm: number,
    addrSize: number,
  ): MemoryOperand | undefined {
    if (hasOffset) {
      const disp = this.#immediate(addrSize, false);
      return this.#operand(-1, -1, 0, disp);
    }
    return modRm < 0 || modRm >= 0xc0 || ignoresMod ? undefined : this.#memory(modRm, addrSize);
  }

  #immediates(row: InsnRow, opSize: number): { immediates: bigint[]; rel: number } {
    const immediates: bigint[] = [];
    let rel = 0;
    for (const spec of row.operands) {
      if (spec.kind === 'I') immediates.push(this.#operandImmediate(spec, opSize));
      else if (spec.kind === 'A') immediates.push(this.#farPointer(opSize));
      else if (spec.kind === 'J') rel = this.#branchDisplacement(spec, opSize);
    }
    return { immediates, rel };
  }

  #branchDisplacement(spec: OperandSpec, opSize: number): number {
    if (spec.size.startsWith('b')) return Number(this.#immediate(1, true));
    return Number(this.#immediate(opSize === 2 ? 2 : 4, true));
  }

  #operandImmediate(spec: OperandSpec, opSize: number): bigint {
    return this.#immediate(immediateBytes(spec, opSize), isSigned(spec));
  }

  /** Selector in the upper half, offset in the lower. */
  #farPointer(opSize: number): bigint {
    const offset = this.#immediate(opSize === 2 ? 2 : 4, false);
    return (this.#immediate(2, false) << 32n) | offset;
  }

  #immediate(bytes: number, signed: boolean): bigint {
    const low = this.#unsigned(Math.min(bytes, 4));
    const value = bytes === 8 ? BigInt(low) | (BigInt(this.#unsigned(4)) << 32n) : BigInt(low);
    return signed ? BigInt.asIntN(bytes * 8, value) : value;
  }

  #unsigned(bytes: number): number {
    let value = 0;
    for (let i = 0; i < bytes; i++) value |= this.#next() << (8 * i);
    return value >>> 0;
  }

  #memory(modRm: number, addrSize: number): MemoryOperand {
    return addrSize === 2 ? this.#memory16(modRm) : this.#memory32(modRm);
  }

  /** SDM vol. 2, table 2-1. */
  #memory16(modRm: number): MemoryOperand {
    const BASES = [3, 3, 5, 5, 6, 7, 5, 3];
    const INDEXES = [6, 7, 6, 7, -1, -1, -1, -1];
    const mod = modRm >> 6;
    const rm = modRm & 7;
    const direct = mod === 0 && rm === 6;
    const base = direct ? -1 : (BASES[rm] ?? -1);
    const disp =
      direct || mod === 2 ? this.#immediate(2, true) : mod === 1 ? this.#immediate(1, true) : 0n;
    return this.#operand(base, INDEXES[rm] ?? -1, 0, disp);
  }

  #operand(base: number, index: number, shift: number, disp: bigint): MemoryOperand {
    const usual = base === 4 || base === 5 ? 2 : 3;
    return { base, index, shift, disp, ripRelative: false, seg: this.#seg < 0 ? usual : this.#seg };
  }

  /** SDM vol. 2, tables 2-2 and 2-3; 2.2.1 for 64-bit mode. */
  #memory32(modRm: number): MemoryOperand {
    const mod = modRm >> 6;
    const rm = modRm & 7;
    if (rm === 4) return this.#sib(mod);
    if (mod === 0 && rm === 5) {
      const disp = this.#immediate(4, true);
      const seg = this.#seg < 0 ? 3 : this.#seg;
      return { base: -1, index: -1, shift: 0, disp, ripRelative: this.#codeSize === 8, seg };
    }
    const disp = mod === 1 ? this.#immediate(1, true) : mod === 2 ? this.#immediate(4, true) : 0n;
    return this.#operand(rm | ((this.#rex & 1) << 3), -1, 0, disp);
  }

  #sib(mod: number): MemoryOperand {
    const sib = this.#next();
    this.#head = this.#at;
    const index = ((sib >> 3) & 7) | ((this.#rex & 2) << 2);
    const noBase = mod === 0 && (sib & 7) === 5;
    const base = noBase ? -1 : (sib & 7) | ((this.#rex & 1) << 3);
    const disp =
      mod === 1 ? this.#immediate(1, true) : mod === 2 || noBase ? this.#immediate(4, true) : 0n;
    return this.#operand(base, index === 4 ? -1 : index, sib >> 6, disp);
  }
}
