/**
 * A row of the opcode tables: one encoding. `operands` are in the letters of the SDM's appendix A, destination first:
 *
 * E: ModRM r/m, register or memory · M: r/m, memory only · R: r/m, register only · G: ModRM reg · Z: register in the
 * opcode's low three bits · I: immediate · J: branch displacement · O: absolute address · A: far pointer ·
 * S: segment register, C: control register, D: debug register in ModRM reg · V: XMM in reg, W: XMM or memory in r/m,
 * U: XMM only in r/m · P, Q, N: the same for MMX · L: ST(i) in r/m · fixed registers by name (AL CL AX DX rAX rDX …) and the constant 1.
 *
 * then a size: b w d q (1, 2, 4, 8 bytes), v (operand size: 2, 4, 8), z (operand size, an immediate of at most 4 bytes,
 * sign-extended), y (4, or 8 with REX.W), dq (16), t (10), a (two of the operand size), p (far pointer), bs (byte immediate, sign-extended to the
 * operand size), env and fpu (the x87's environment and whole state, by operand size), none for an address without an access.
 */
export interface InsnRow {
  /** One byte, or 0x0fxx, 0x0f38xx, 0x0f3axx. */
  readonly opcode: number;
  /** Names the lift (translate/x86/lift). */
  readonly name: string;
  readonly operands: readonly OperandSpec[];
  readonly options: InsnOptions;
  /** Position in the table: filled in by table.ts. */
  id: number;
}

export interface InsnOptions {
  /** ModRM.reg, where it is part of the opcode. */
  readonly reg?: number;
  /** ModRM.rm, where it is part of the opcode (then mod is 3). */
  readonly rm?: number;
  readonly mod?: 'reg' | 'mem';
  /** Mandatory prefix; 'none': none of 66, F2, F3 may stand. Absent: prefixes have their ordinary meaning. */
  readonly prefix?: 0x66 | 0xf2 | 0xf3 | 'none';
  /** LOCK is allowed when the destination is memory. Elsewhere it raises #UD. */
  readonly lock?: boolean;
  /** REP/REPE/REPNE have a meaning: a string instruction. */
  readonly rep?: boolean;
  /** Operand size is 8 in 64-bit mode unless 66 makes it 2. */
  readonly default64?: boolean;
  /** Operand size is 8 in 64-bit mode whatever the prefixes (near branches on Intel, MOV CR). */
  readonly force64?: boolean;
  readonly only64?: boolean;
  readonly not64?: boolean;
  /** Operand size is always this. */
  readonly size?: 1 | 2 | 4 | 8;
  /** Rows for REX.W 0 and 1 apart. */
  readonly w?: 0 | 1;
  /** #UD in real and virtual-8086 mode. */
  readonly protectedOnly?: boolean;
  /** #UD (or #NM) rules: which unit must be on. */
  readonly unit?: 'fpu' | 'mmx' | 'sse' | 'wait';
  /** Pushes, pops or addresses the stack: its form depends on the stack's size. */
  readonly stack?: boolean;
  /** Its form depends on the address size though it has no ModRM memory operand (strings, LOOP, JCXZ). */
  readonly addrSize?: boolean;
  /** Its form depends on whether code is 64-bit. */
  readonly mode?: boolean;
  /** The lift ends the block: always the case with a terminator, said here for the predecoder. */
  readonly ends?: boolean;
  /** CPUID feature without which it raises #UD. */
  readonly feature?: Feature;
  /** Memory operands (16 bytes) must be aligned, else #GP(0). */
  readonly aligned?: boolean;
  /** The assembler's mnemonic where it is not `name`; three divided by `/` are for operand sizes 2, 4 and 8. */
  readonly as?: string;
  /** Any value a lift wants, so that one lift serves several rows. */
  readonly arg?: number;
}

/** What CPUID says of instructions: those of the rows, or of families of them. */
export const FEATURES = [
  'cmov',
  'cx8',
  'cx16',
  'mmx',
  'sse',
  'sse2',
  'sse3',
  'ssse3',
  'sse4.1',
  'sse4.2',
  'popcnt',
  'movbe',
  'fxsr',
  'xsave',
  'sep',
  'syscall',
  'rdtscp',
  'rdrand',
  'rdseed',
  'fsgsbase',
  'invpcid',
  'smap',
  'clflush',
  'lahf64',
  'monitor',
  'x87',
  'aes',
  'pclmul',
] as const;

export type Feature = (typeof FEATURES)[number];

export interface OperandSpec {
  /** A letter of the list above, or 'fixed' with `reg`. */
  readonly kind: string;
  readonly size: string;
  /** Register number of a fixed one. */
  readonly reg?: number;
}

/** What mnemonics call the sixteen conditions, in the order of their numbers. Intel SDM vol. 1, appendix B. */
export const CONDITIONS: readonly string[] = 'o no b ae e ne be a s ns p np l ge le g'.split(' ');

const FIXED: Readonly<Record<string, readonly [number, string]>> = {
  AL: [0, 'b'],
  CL: [1, 'b'],
  DL: [2, 'b'],
  AH: [4, 'high'],
  AX: [0, 'w'],
  CX: [1, 'w'],
  DX: [2, 'w'],
  EAX: [0, 'd'],
  rAX: [0, 'v'],
  rCX: [1, 'v'],
  rDX: [2, 'v'],
};

function parseOperand(text: string): OperandSpec {
  const fixed = FIXED[text];
  if (fixed !== undefined) return { kind: 'fixed', size: fixed[1], reg: fixed[0] };
  if (text === '1') return { kind: 'one', size: 'b' };
  return { kind: text.slice(0, 1), size: text.slice(1) };
}

/** A row. `operands` are separated by spaces; '' for none. */
export function insn(
  opcode: number,
  name: string,
  operands = '',
  options: InsnOptions = {},
): InsnRow {
  const specs = operands === '' ? [] : operands.split(' ').map(parseOperand);
  return { opcode, name, operands: specs, options, id: -1 };
}

/** Rows of eight opcodes in sequence that carry a register in their low bits (Z operands). */
export function insnZ(
  opcode: number,
  name: string,
  operands: string,
  options: InsnOptions = {},
): InsnRow[] {
  return Array.from({ length: 8 }, (_, i) => insn(opcode + i, name, operands, options));
}
