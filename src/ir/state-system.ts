// Fields of the CPU state that the system part of core/ keeps: event delivery, stack frames, what the model allows.
// Offsets as in state.ts; nothing but constants here.

/** u32: EXT, bit 0 of the error codes of exceptions met while an event other than INT n is delivered. */
export const S_EXT = 1696;
/** u32: class of the exception being delivered, so that a second one on the way can become #DF. */
export const S_DELIVERING = 1700;
/** The stack frame being made: linear base of the segment, pointer after the pushes so far, bits of it that count; u64. */
export const S_FRAME_BASE = 1704;
export const S_FRAME_SP = 1712;
export const S_FRAME_MASK = 1720;
/** u32: 1 when the pushes have supervisor rights whatever the CPL is now. */
export const S_FRAME_SYSTEM = 1728;
/** u32: 1 from the delivery of an NMI to the next IRET: further ones wait (SDM vol. 3, 6.7.1). */
export const S_NMI_BLOCKED = 1732;
/** u32: 1 while IGNNE# is asserted, which ends when an x87 exception newly waits. */
export const S_IGNNE = 2416;
/** In S_EXC_VECTOR, in the place of #MF with CR0.NE clear: the processor stops until an interrupt comes. */
export const X87_FREEZE = 256;
/** u64: RIP that a software exception pushes: that of the next instruction. */
export const S_NEXT_RIP = 1736;
/** The event being delivered: RIP (u64) and EFLAGS (u32) to push, EXC_… flags and error code (u32 each). */
export const S_EVENT_RIP = 1744;
export const S_EVENT_IMAGE = 1752;
export const S_EVENT_FLAGS = 1756;
export const S_EVENT_ERROR = 2048;
/** u32: 1 when the last instruction of a slice is a string instruction with elements left. */
export const S_REPEATING = 2424;
/** S_INHIBIT after a load of SS: unlike STI's 1 it also holds back debug traps (SDM vol. 3, 6.8.3). */
export const INHIBIT_SS = 2;
/** S_INHIBIT while the instruction in the shadow of STI or MOV SS runs. */
export const INHIBIT_STEPPING = 3;
/** u64, set from the CPU model: bits of CR4 and of EFER that may be set. */
export const S_CR4_VALID = 2056;
export const S_EFER_VALID = 2064;
/** u64: IA32_BIOS_SIGN_ID. */
export const S_MSR_UCODE_REV = 2072;
/** u64, set from the CPU model: IA32_PLATFORM_INFO, IA32_ARCH_CAPABILITIES. */
export const S_MSR_PLATFORM_INFO = 2080;
export const S_MSR_ARCH_CAPABILITIES = 2088;
/** u32, set from the CPU model: MSRF_… below. */
export const S_MSR_FEATURES = 2096;
export const MSRF_SPEC_CTRL = 1;
export const MSRF_TSC_ADJUST = 2;
export const MSRF_ARCH_CAPABILITIES = 4;
export const MSRF_RDTSCP = 8;
export const MSRF_MTRR = 16;
export const MSRF_PAT = 32;
export const MSRF_SEP = 64;
export const MSRF_SYSCALL = 128;
/** u64: machine-check banks, MCG_STATUS and control values that software may store. */
export const S_MSR_MCG_STATUS = 2104;
export const S_MSR_MCG_CTL = 2112;
export const S_MSR_MC_BANKS = 2120; // MCE_BANKS of 4 u64: CTL STATUS ADDR MISC
export const MCE_BANKS = 4;
/** u32: what a trace is wanted of, TRACE_… bits; 0 costs a look where something rare happens. */
export const S_TRACE = 2400;
export const TRACE_INSN = 1;
export const TRACE_INT = 2;
export const TRACE_MMU = 4;
/** Not of traces: lockstep mode has to know of each page before it is written. */
export const TRACE_STORES = 8;
/** The blocks that the interpreter entered last: RECENT_BYTES of u32 in a ring, and the offset of the newest. */
export const S_RECENT_AT = 2404;
export const S_RECENT = 2432;
export const RECENT_BYTES = 256;
/** u32 each: the exception that delivery began with, before those met on the way. For reports. */
export const S_FIRST_VECTOR = 2408;
export const S_FIRST_ERROR = 2412;
// Events of a trace, with two u64 each. Vector and error code: what S_EVENT_… hold is being delivered.
export const EVENT_DELIVERY = 0;
/** Linear address; the entry's page word, and above bit 32 the number of its table in the private area. */
export const EVENT_TLB_FILL = 1;
/** Linear address, error code. */
export const EVENT_PAGE_FAULT = 2;
/** The new value. */
export const EVENT_CR3 = 3;
/** 1 when global entries went too. */
export const EVENT_FLUSH = 4;
/** Linear address. */
export const EVENT_FLUSH_PAGE = 5;
/** Physical address: a write that makes no TLB entry, to a page with translated code. */
export const EVENT_STORE = 6;
/** Physical address of a page-table entry in which a walk sets accessed or dirty bits. */
export const EVENT_MARK = 7;
