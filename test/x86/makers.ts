import { cpus } from 'node:os';

// Where the books leave a result open, or Intel's and AMD's differ, our processor is Intel's. A host of another maker is not
// asked about that.

const IS_INTEL = cpus()[0]?.model.includes('Intel') ?? false;

/** What of an instruction decides. */
interface Instruction {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly codeSize: number;
}

const OF = 0x800n;
const OF_SF_ZF_PF = 0x8c4n;
const ALL_FLAGS = 0x8d5n;
/** Results near the least number: another last bit, another view of what an underflow is. */
const REMAINDERS_AND_ANGLES = /^(fprem|fprem1|fsin|fcos|fsincos|fptan|fpatan|f2xm1|fyl2x|fyl2xp1)$/;

/** Of an instruction behind 0F: with an operand of 16 bits. The count of SHLD and SHRD is above it at times. */
export function isNarrow({ bytes, codeSize }: Omit<Instruction, 'name'>): boolean {
  const prefixes = bytes.subarray(0, bytes.indexOf(0x0f));
  return prefixes.includes(0x66) !== (codeSize === 2);
}

function isNarrowShift(insn: Instruction): boolean {
  return /^sh[lr]d$/.test(insn.name) && isNarrow(insn);
}

/** Whether other makers do something else altogether. */
export function isOpen({ name, bytes, codeSize }: Instruction): boolean {
  if (IS_INTEL) return false;
  // Near branches of 64-bit code with an operand-size prefix: AMD's cut RIP to 16 bits, Intel's ignore it.
  if (/^(jcc|jmp|call|loop|jcxz|ret|jmpInd|callInd)$/.test(name))
    return codeSize === 8 && bytes[0] === 0x66;
  // AMD's have a bit of MXCSR that is reserved at Intel's: MM, 17.
  if (name === 'ldmxcsr' || REMAINDERS_AND_ANGLES.test(name)) return true;
  // PREFETCHW of a register: no instruction at AMD's.
  return name === 'nop' && bytes[bytes.indexOf(0x0f) + 1] === 0x0d && (bytes.at(-1) ?? 0) >= 0xc0;
}

export function openFlags(insn: Instruction): bigint {
  if (IS_INTEL) return 0n;
  if (insn.name === 'daa' || insn.name === 'das') return OF;
  if (insn.name === 'aaa' || insn.name === 'aas') return OF_SF_ZF_PF;
  return isNarrowShift(insn) ? ALL_FLAGS : 0n;
}

export function isOpenMemory(insn: Instruction): boolean {
  return !IS_INTEL && isNarrowShift(insn);
}

/** Which of two NaNs DPPS and DPPD keep. */
export function areOpenNans(name: string, a: bigint, b: bigint): boolean {
  if (IS_INTEL || !/^dpp[sd]$/.test(name)) return false;
  const [floatsA, floatsB] = [a, b].map((bits) => {
    const { buffer } = new BigUint64Array([bits]);
    return name === 'dpps' ? new Float32Array(buffer) : new Float64Array(buffer);
  });
  return floatsA?.every((value, i) => Object.is(value, floatsB?.[i])) ?? false;
}

/** FOP and FDP: AMD's keep them from FXSAVE while no exception waits. */
export function isOpenPointer(name: string): boolean {
  return !IS_INTEL && /^(frstor|fldenv)$/.test(name);
}
