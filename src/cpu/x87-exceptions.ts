import {
  REC_START,
  S_EXC_ADDR,
  S_EXC_ERROR,
  S_EXC_FLAGS,
  S_EXC_VECTOR,
  S_FPU_DP,
  S_FPU_DS,
  S_FPU_IP,
  S_FPU_KEEPS_SELECTORS,
  S_FPU_OPCODE,
  S_FPU_STATUS,
  S_REC,
  S_REGS,
  S_RIP,
  S_SEGS,
  SEG_SELECTOR,
  SEG_SIZE,
} from '#ir/state.ts';
import type { Insn, MemoryOperand } from '#translate/x86/decode.ts';

// What is rare enough about x87 exceptions to look at the instruction itself once more.

const ES = 0x80;
/** Faults of a memory operand: #SS #GP #PF #AC. */
const OPERAND_FAULTS: ReadonlySet<number> = new Set([12, 13, 14, 17]);
/** They do not look at exceptions that wait, nor do those of the x87 that begin with FN and no longer have another name. */
const NOT_WAITING: ReadonlySet<string> = new Set(['fnstcw', 'fnstsw', 'fnstenv', 'fnsave']);
const FIRST_ESCAPE = 0xd8;
const LAST_ESCAPE = 0xdf;

/** Gives the instruction at RIP plus `offset`, if its bytes can be had. */
export type InstructionAt = (rip: bigint) => Insn | undefined;

export class X87Exceptions {
  readonly #view: DataView;
  readonly #cpu: number;
  readonly #instructionAt: InstructionAt;

  constructor(memory: WebAssembly.Memory, cpu: number, instructionAt: InstructionAt) {
    this.#view = new DataView(memory.buffer);
    this.#cpu = cpu;
    this.#instructionAt = instructionAt;
  }

  #get(field: number): number {
    return this.#view.getUint32(this.#cpu + field, true);
  }

  #get64(field: number): bigint {
    return this.#view.getBigUint64(this.#cpu + field, true);
  }

  /**
   * An exception that is not masked has been recorded by the instruction at FIP: FOP, FDP and FDS become its own. They do
   * with no other, as CPUID's FDP_EXCPTN_ONLY says and as Intel's processors have it (SDM vol. 1, 8.1.8 and 8.1.9).
   */
  note(): void {
    const ip = this.#get64(S_FPU_IP);
    const insn = this.#instructionAt(ip);
    if (insn === undefined) return;
    const { row, mod, reg, rm, memory } = insn;
    const modrm = ((mod & 3) << 6) | ((reg & 7) << 3) | (rm & 7);
    this.#view.setUint32(this.#cpu + S_FPU_OPCODE, ((row.opcode & 7) << 8) | modrm, true);
    if (memory === undefined) return;
    const next = ip + BigInt(insn.length);
    const offset = this.#effective(memory, memory.ripRelative ? next : 0n);
    const bits = insn.addrSize * 8;
    this.#view.setBigUint64(this.#cpu + S_FPU_DP, BigInt.asUintN(bits, offset), true);
    if (this.#get(S_FPU_KEEPS_SELECTORS) === 0) return;
    const selector = this.#get(S_SEGS + memory.seg * SEG_SIZE + SEG_SELECTOR);
    this.#view.setUint32(this.#cpu + S_FPU_DS, selector, true);
  }

  #effective({ base, index, shift, disp }: MemoryOperand, from: bigint): bigint {
    const register = (n: number) => (n < 0 ? 0n : this.#get64(S_REGS + n * 8));
    return from + register(base) + (register(index) << BigInt(shift)) + disp;
  }

  /**
   * Whether the fault in S_EXC_… is one of the memory operand of an instruction that must first report an x87 exception:
   * Intel's processors look at that before they touch the operand.
   */
  precedes(): boolean {
    if ((this.#get(S_FPU_STATUS) & ES) === 0) return false;
    if (!OPERAND_FAULTS.has(this.#get(S_EXC_VECTOR))) return false;
    const fault = [S_EXC_VECTOR, S_EXC_ERROR, S_EXC_FLAGS].map((f) => [f, this.#get(f)] as const);
    const address = this.#get64(S_EXC_ADDR);
    const rec = this.#get(S_REC);
    const start = rec === 0 ? 0 : this.#view.getUint16(rec + REC_START, true);
    const insn = this.#instructionAt(this.#get64(S_RIP) + BigInt(start));
    for (const [field, value] of fault) this.#view.setUint32(this.#cpu + field, value, true);
    this.#view.setBigUint64(this.#cpu + S_EXC_ADDR, address, true);
    return insn !== undefined && waits(insn);
  }
}

function waits({ row }: Insn): boolean {
  const { opcode, name, options } = row;
  if (opcode >= FIRST_ESCAPE && opcode <= LAST_ESCAPE) return !NOT_WAITING.has(name);
  // Conversions from memory to XMM are no MMX instructions.
  return options.unit === 'mmx' && !name.startsWith('cvtpi');
}
