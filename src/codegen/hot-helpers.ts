// How a region calls the helpers of core/.

/** Compute from their arguments, and from MXCSR, whose exceptions are all masked where a region runs. */
const PURE = /^(crc32c|bit_address|fence|sse_(?!masked_store)\w+)$/;
/** Change the x87's state alone, and raise nothing but #MF for an exception that waits. */
const FPU = /^(mmx_enter|x87_(?!st_|compare_flags)\w+)$/;
/** Read and write registers and flags in the CPU's state; may raise. Everything is there while they run. */
const WHOLE =
  /^(i?div(8|16|32|64)|cmpxchg16b|daa|das|aaa|aas|aam|aad|rcl|rcr|arithmetic_flags|set_arithmetic_flags|movs|cmps|stos|lods|scas|io_in|io_out|rdtsc|pushf_value|check_unit|x87_compare_flags|x87_st_\w+)$/;

export type HelperKind = 'pure' | 'fpu' | 'aligned' | 'division' | 'interrupts' | 'whole';

/** Whether general registers, vectors and flags are after the call what they were. */
export function keepsRegisters(name: string): boolean {
  return name.startsWith('x87_st_') || accessesPorts(name);
}

/** Bytes that a helper writes at the address in its first argument; 0 for others. Its faults are the interpreter's. */
export function bytesWritten(name: string): number {
  if (name === 'cmpxchg16b') return 16;
  if (name === 'x87_st_f32') return 4;
  if (name === 'x87_st_f64' || name === 'x87_st_int') return 8;
  return name.startsWith('x87_st_') ? 10 : 0;
}

/** Devices may change the machine, or want an interrupt: the CPU may be asked to look around. */
export function accessesPorts(name: string): boolean {
  return name === 'io_in' || name === 'io_out';
}

export function isDivision(name: string): boolean {
  return /^i?div(32|64)$/.test(name);
}

const KINDS = new Map<string, HelperKind | undefined>();

/** Undefined: the instruction is left to the interpreter. */
export function helperKind(name: string): HelperKind | undefined {
  if (!KINDS.has(name)) KINDS.set(name, classify(name));
  return KINDS.get(name);
}

function classify(name: string): HelperKind | undefined {
  if (name === 'check_aligned') return 'aligned';
  if (isDivision(name)) return 'division';
  if (name === 'cli' || name === 'sti') return 'interrupts';
  if (PURE.test(name)) return 'pure';
  if (FPU.test(name)) return 'fpu';
  return WHOLE.test(name) ? 'whole' : undefined;
}
