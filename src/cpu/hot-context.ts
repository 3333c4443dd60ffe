import type { Block, Inst } from '#ir/block.ts';
import {
  KEY_CODE32,
  KEY_CODE64,
  KEY_FLAT,
  KEY_STACK32,
  KEY_STACK64,
  S_FPU_REGS,
  S_SEGS,
  S_XMM,
  SEG_BASE,
  SEG_CS,
  SEG_FS,
  SEG_SIZE,
  SEG_SS,
} from '#ir/state.ts';
import type { OperandSpec } from '#isa/x86/insn.ts';
import { type Insn, immediateBytes, isSigned, type MemoryOperand } from '#translate/x86/decode.ts';
import type { Binding, LiftContext } from '#translate/x86/lifter.ts';
import {
  byteRegister,
  isImmediate,
  isMemoryOperand,
  MEM_BASE,
  MEM_NONE,
  movesByBits,
  operandBytes,
  registerField,
} from './forms.ts';

const RSP = 4;
const LOW32 = 0xffffffffn;

export type Size = 2 | 4 | 8;

export function codeSizeOf(key: number): Size {
  return (key & KEY_CODE64) !== 0 ? 8 : (key & KEY_CODE32) !== 0 ? 4 : 2;
}

function stackSizeOf(key: number): Size {
  return (key & KEY_STACK64) !== 0 ? 8 : (key & KEY_STACK32) !== 0 ? 4 : 2;
}

/** True when memory operands of code with this key are plain linear addresses. */
export function isFlatKey(key: number): boolean {
  return (key & KEY_CODE64) !== 0 || (key & (KEY_FLAT | KEY_CODE32)) === (KEY_FLAT | KEY_CODE32);
}

/**
 * The context in which the lift of one instruction makes its meaning with operands known: registers at fixed slots,
 * immediates as constants, but for one that is to be read at `immediateAt` in linear memory. Undefined for addressing that only the interpreter does.
 */
export function hotContext(insn: Insn, key: number, immediateAt?: number): LiftContext | undefined {
  const codeSize = codeSizeOf(key);
  const { row, opSize, memory } = insn;
  const usesMemory =
    memory !== undefined && row.operands.some((spec) => isMemoryOperand(spec, MEM_BASE));
  if (usesMemory && !isReachable(insn, memory, codeSize)) return undefined;
  const mem = usesMemory ? MEM_BASE : MEM_NONE;
  let immediates = 0;
  const narrow = row.operands.filter(isImmediate).length > 1;
  const bindings = row.operands.map((spec): Binding => {
    const size = operandBytes(spec.size, opSize);
    if (spec.kind === 'one') return constant(1, 1n);
    if (spec.kind === 'J') return { kind: 'rel', size: opSize };
    if (isImmediate(spec) && immediateAt !== undefined) return fresh(spec, opSize, immediateAt);
    if (isImmediate(spec)) return immediate(size, insn.immediates[immediates++] ?? 0n, narrow);
    if (isMemoryOperand(spec, mem)) return { kind: 'mem', size };
    return register(insn, spec, size);
  });
  const segment = row.options.stack === true ? SEG_SS : insn.seg;
  return {
    name: row.name,
    options: row.options,
    specs: row.operands,
    bindings,
    opSize,
    addrSize: insn.addrSize,
    codeSize,
    stackSize: stackSizeOf(key),
    rep: row.options.rep === true ? insn.rep : 0,
    inRegion: true,
    segment: (b) => b.add('i32.const', [], { imm: segment }),
    address: usesMemory ? (b) => address(b, insn, memory, codeSize) : undefined,
  };
}

function isReachable(insn: Insn, memory: MemoryOperand, codeSize: Size): boolean {
  if (codeSize === 8 && insn.addrSize === 4 && movesByBits(insn.row)) return false;
  if (codeSize === 8 || insn.row.name === 'lea') return insn.addrSize !== 2;
  return insn.addrSize === 4 && memory.seg !== SEG_CS && memory.seg < SEG_FS;
}

function constant(size: number, value: bigint): Binding {
  const make = (b: Block, type: 'i32' | 'i64') =>
    b.add(`${type}.const`, [], { imm: cut(type, value) });
  return { kind: 'imm', size, make };
}

function cut(type: 'i32' | 'i64', value: bigint): number | bigint {
  return type === 'i64' ? BigInt.asIntN(64, value) : Number(BigInt.asIntN(32, value));
}

/** Of two immediates each is 32 bits wide and zero-extended, as records have them. */
function immediate(size: number, value: bigint, narrow: boolean): Binding {
  return constant(size, narrow ? value & LOW32 : value);
}

/** An immediate that is read when the instruction runs. */
function fresh(spec: OperandSpec, opSize: number, at: number): Binding {
  const bytes = immediateBytes(spec, opSize);
  const signed = isSigned(spec);
  const make = (b: Block, type: 'i32' | 'i64') => {
    const value = b.add(`fresh${bytes * 8}`, [], { imm: at });
    if (bytes === 8) return type === 'i64' ? value : b.add('i32.wrap_i64', [value]);
    const whole = signed && bytes < 4 ? b.add(`i32.extend${bytes * 8}_s`, [value]) : value;
    if (type === 'i32') return whole;
    return b.add(signed ? 'i64.extend_i32_s' : 'i64.extend_i32_u', [whole]);
  };
  return { kind: 'imm', size: operandBytes(spec.size, opSize), make };
}

function register(insn: Insn, spec: OperandSpec, size: number): Binding {
  if (spec.kind === 'fixed') {
    return {
      kind: 'reg',
      size,
      slot: { fixed: byteRegister(spec.reg ?? 0, spec.size === 'high') },
    };
  }
  const number = registerField(insn, spec.kind, size);
  if ('VWU'.includes(spec.kind)) return { kind: 'vec', size, slot: { fixed: S_XMM + number * 16 } };
  if ('PQN'.includes(spec.kind))
    return { kind: 'vec', size, slot: { fixed: S_FPU_REGS + number * 16 } };
  if ('SCDL'.includes(spec.kind)) return constant(size, BigInt(number));
  return { kind: 'reg', size, slot: { fixed: number } };
}

/** Linear address of the memory operand; of LEA its offset. */
function address(b: Block, insn: Insn, memory: MemoryOperand, codeSize: Size): Inst {
  let at = offset(b, insn, memory);
  if (insn.addrSize === 4) at = b.add('i64.and', [at, b.add('i64.const', [], { imm: LOW32 })]);
  if (insn.row.name === 'lea' || codeSize !== 8 || memory.seg < SEG_FS) return at;
  const slot = { fixed: S_SEGS + memory.seg * SEG_SIZE + SEG_BASE };
  return b.add('i64.add', [at, b.add('get64', [], { slot })]);
}

function offset(b: Block, insn: Insn, memory: MemoryOperand): Inst {
  const { base, index, shift, ripRelative } = memory;
  // POP to memory: an address by RSP is made after the pop.
  const popped = insn.row.name === 'pop' && base === RSP ? BigInt(insn.opSize) : 0n;
  const disp = b.add('i64.const', [], { imm: BigInt.asIntN(64, memory.disp + popped) });
  const get = (number: number) => b.add('get64', [], { slot: { fixed: number * 8 } });
  let sum: Inst | undefined = ripRelative ? b.add('next_rip') : base >= 0 ? get(base) : undefined;
  if (index >= 0) {
    const scaled = b.add('i64.shl', [get(index), b.add('i64.const', [], { imm: BigInt(shift) })]);
    sum = sum === undefined ? scaled : b.add('i64.add', [sum, scaled]);
  }
  return sum === undefined ? disp : b.add('i64.add', [sum, disp]);
}
