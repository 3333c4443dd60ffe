import type { Block, Inst } from '#ir/block.ts';
import {
  REC_A,
  REC_B,
  REC_BASE,
  REC_DISP,
  REC_IMM,
  REC_INDEX,
  REC_SEG,
  REC_SHIFT,
  S_EA,
  S_FPU_REGS,
  S_XMM,
} from '#ir/state.ts';
import type { InsnRow, OperandSpec } from '#isa/x86/insn.ts';
import type { Insn } from '#translate/x86/decode.ts';
import type { Binding, LiftContext } from '#translate/x86/lifter.ts';

/** How a record reaches its memory operand: none or a register; base + displacement; with index; left by the record before. */
export const MEM_NONE = 0;
export const MEM_BASE = 1;
export const MEM_INDEX = 2;
export const MEM_LEFT = 3;

/** All that a handler depends on, apart from the operands' numbers. */
export interface Form {
  readonly row: InsnRow;
  readonly opSize: 2 | 4 | 8;
  readonly mem: number;
  /** 0, 0xf2 or 0xf3; only rows with `rep` tell them apart. */
  readonly rep: number;
  readonly addrSize: 2 | 4 | 8;
  readonly codeSize: 2 | 4 | 8;
  readonly stackSize: 2 | 4 | 8;
}

const log = (size: number) => (size === 2 ? 0 : size === 4 ? 1 : 2);

/** A number for the form in which what the row does not depend on is left out. */
export function formKey(form: Form): number {
  const { options } = form.row;
  let key = form.row.id;
  key = key * 3 + log(form.opSize);
  key = key * 4 + form.mem;
  key = key * 3 + (options.rep !== true || form.rep === 0 ? 0 : form.rep - 0xf1);
  key = key * 3 + (options.addrSize === true ? log(form.addrSize) : 0);
  key = key * 3 + (options.mode === true ? log(form.codeSize) : 0);
  key = key * 3 + (options.stack === true ? log(form.stackSize) : 0);
  return key;
}

const MEMORY_KINDS = 'EMWQO';
const REGISTER_KINDS = 'EGRZSCDVWUPQNL';

/** True for an operand that is a register named by the instruction when `mem` says so. */
export function takesRegisterField(spec: OperandSpec, mem: number): boolean {
  if (mem !== MEM_NONE && MEMORY_KINDS.includes(spec.kind)) return false;
  return REGISTER_KINDS.includes(spec.kind);
}

export function isMemoryOperand(spec: OperandSpec, mem: number): boolean {
  return spec.kind === 'O' || (mem !== MEM_NONE && MEMORY_KINDS.includes(spec.kind));
}

export function isImmediate(spec: OperandSpec): boolean {
  return spec.kind === 'I' || spec.kind === 'A';
}

/** True for BT and its kin with the index in a register: it moves the address before that is wrapped and checked. */
export function movesByBits(row: InsnRow): boolean {
  return /^bt[src]?$/.test(row.name) && row.operands[1]?.kind === 'G';
}

/** Bytes of an operand whose size letter is `size`, at operand size `opSize`. */
export function operandBytes(size: string, opSize: number): number {
  switch (size) {
    case 'b':
    case 'high':
      return 1;
    case 'bs':
      return opSize;
    case 'w':
      return 2;
    case 'd':
      return 4;
    case 'q':
      return 8;
    case 'dq':
      return 16;
    case 't':
      return 10;
    case 'env':
      return opSize === 2 ? 14 : 28;
    case 'fpu':
      return opSize === 2 ? 94 : 108;
    case 'a':
      return opSize * 2;
    case 'p':
      return opSize + 2;
    case 's':
      return opSize === 8 ? 10 : 6;
    case 'v':
    case 'z':
      return opSize;
    case 'y':
      return opSize === 8 ? 8 : 4;
    default:
      return 0;
  }
}

const FIELDS = [REC_A, REC_B, REC_BASE];

/** The context in which the lift of `form` makes a handler: operands bound to fields of a record. */
export function coldContext(form: Form): LiftContext {
  const { row, opSize, mem } = form;
  let fields = 0;
  let immediates = 0;
  const immediateCount = row.operands.filter(isImmediate).length;
  const bindings = row.operands.map((spec): Binding => {
    const size = operandBytes(spec.size, opSize);
    if (spec.kind === 'fixed') {
      return {
        kind: 'reg',
        size,
        slot: { fixed: byteRegister(spec.reg ?? 0, spec.size === 'high') },
      };
    }
    if (spec.kind === 'one')
      return { kind: 'imm', size: 1, make: (b, type) => b.add(`${type}.const`, [], { imm: 1 }) };
    if (spec.kind === 'J') return { kind: 'rel', size: opSize };
    if (isImmediate(spec)) {
      const at = REC_IMM + 4 * immediates++;
      return { kind: 'imm', size, make: (b, type) => immediate(b, type, at, immediateCount > 1) };
    }
    if (isMemoryOperand(spec, mem)) return { kind: 'mem', size };
    if (!takesRegisterField(spec, mem))
      throw new Error(`forms: operand ${spec.kind}${spec.size} of ${row.name}`);
    return registerBinding(spec, size, FIELDS[fields++] ?? REC_A);
  });
  return {
    name: row.name,
    options: row.options,
    specs: row.operands,
    bindings,
    opSize,
    addrSize: form.addrSize,
    codeSize: form.codeSize,
    stackSize: form.stackSize,
    rep: form.rep,
    bitsAdded: mem === MEM_LEFT,
    segment: (b) => b.add('rec.u8', [], { imm: REC_SEG }),
    address: row.operands.some((s) => isMemoryOperand(s, mem)) ? (b) => address(b, mem) : undefined,
  };
}

function immediate(b: Block, type: 'i32' | 'i64', at: number, narrow: boolean): Inst {
  if (type === 'i32') return b.add('rec.i32', [], { imm: at });
  if (narrow) return b.add('i64.extend_i32_u', [b.add('rec.i32', [], { imm: at })]);
  return b.add('rec.i64', [], { imm: at });
}

function registerBinding(spec: OperandSpec, size: number, field: number): Binding {
  if ('VWU'.includes(spec.kind))
    return { kind: 'vec', size, slot: { field, base: S_XMM, stride: 16 } };
  if ('PQN'.includes(spec.kind))
    return { kind: 'vec', size, slot: { field, base: S_FPU_REGS, stride: 16 } };
  if ('SCDL'.includes(spec.kind)) {
    const make = (b: Block, type: 'i32' | 'i64') => {
      const number = b.add('rec.u8', [], { imm: field });
      return type === 'i32' ? number : b.add('i64.extend_i32_u', [number]);
    };
    return { kind: 'imm', size, make };
  }
  return { kind: 'reg', size, slot: { field } };
}

function address(b: Block, mem: number): Inst {
  if (mem === MEM_LEFT || mem === MEM_NONE) return b.add('get64', [], { slot: { fixed: S_EA } });
  const base = b.add('get64', [], { slot: { field: REC_BASE } });
  const disp = b.add('i64.extend_i32_s', [b.add('rec.i32', [], { imm: REC_DISP })]);
  const sum = b.add('i64.add', [base, disp]);
  if (mem === MEM_BASE) return sum;
  const index = b.add('get64', [], { slot: { field: REC_INDEX } });
  const shift = b.add('i64.extend_i32_u', [b.add('rec.u8', [], { imm: REC_SHIFT })]);
  return b.add('i64.add', [sum, b.add('i64.shl', [index, shift])]);
}

/** Offset in the state of a general register; `high`: AH CH DH BH are numbers 4-7. */
export function byteRegister(number: number, high: boolean): number {
  return high ? (number - 4) * 8 + 1 : number * 8;
}

/** What a record's byte says of a register operand: an offset in the state for integers, else the register's number. */
export function registerField(insn: Insn, kind: string, size: number): number {
  const number = 'GSCDVP'.includes(kind) ? insn.reg : insn.rm;
  if ('VWU'.includes(kind)) return number;
  if ('PQNL'.includes(kind)) return number & 7;
  if (kind === 'S') return number & 7;
  if ('CD'.includes(kind)) return number;
  if (size === 1) return byteRegister(number, !insn.rex && number >= 4);
  return number * 8;
}

/** Whether all that was written before the end of the instruction is seen by other threads before it reads on (SDM vol. 3, 9.2.2). */
export function isFence({ row, lock, memory }: Insn): boolean {
  return lock || (row.name === 'xchg' && memory !== undefined) || row.options.as === 'mfence';
}
