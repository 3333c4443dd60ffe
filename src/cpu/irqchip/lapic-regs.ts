// Local APIC registers. Source: Intel SDM vol. 3A, table 11-1 (xAPIC offsets) and table 11-6 (x2APIC MSRs).
import type { StateSize } from '#hw/state.ts';

// Offset of the xAPIC register divided by 16, which is the number of the x2APIC MSR less 0x800.
export const REG_ID = 0x02;
export const REG_VERSION = 0x03;
export const REG_TPR = 0x08;
export const REG_APR = 0x09;
export const REG_PPR = 0x0a;
export const REG_EOI = 0x0b;
export const REG_LDR = 0x0d;
export const REG_DFR = 0x0e;
export const REG_SVR = 0x0f;
export const REG_ISR = 0x10; // eight
export const REG_TMR = 0x18; // eight
export const REG_IRR = 0x20; // eight
export const REG_ESR = 0x28;
const REG_LVT_CMCI = 0x2f;
export const REG_ICR = 0x30;
export const REG_ICR_HIGH = 0x31; // in x2APIC mode part of the ICR
export const REG_LVT_TIMER = 0x32;
const REG_LVT_THERMAL = 0x33;
const REG_LVT_PERF = 0x34;
export const REG_LVT_LINT0 = 0x35;
export const REG_LVT_LINT1 = 0x36;
export const REG_LVT_ERROR = 0x37;
export const REG_TIMER_INITIAL = 0x38;
export const REG_TIMER_CURRENT = 0x39;
export const REG_TIMER_DIVIDE = 0x3e;
export const REG_SELF_IPI = 0x3f; // x2APIC only
export const REG_COUNT = 0x40;

export const MSR_APIC_BASE = 0x1b;
export const MSR_TSC_DEADLINE = 0x6e0;
export const MSR_X2APIC_FIRST = 0x800;

// IA32_APIC_BASE (11.4.4, 11.12.1)
export const BASE_BSP = 1 << 8;
export const BASE_EXTD = 1 << 10;
export const BASE_ENABLE = 1 << 11;
export const BASE_DEFAULT_PAGE = 0xfee00;

/** Integrated APIC, seven LVT entries (the last is CMCI), can suppress the broadcast of EOIs (11.4.8). */
export const VERSION = 0x14 | (6 << 16) | (1 << 24);

export const SVR_ENABLE = 1 << 8;
export const SVR_FOCUS_DISABLE = 1 << 9;
export const SVR_NO_EOI_BROADCAST = 1 << 12;
export const SVR_RESET = 0xff;

export const DFR_MODEL_SHIFT = 28;
export const DFR_FLAT = 0xf;
export const DFR_RESERVED_ONES = 0x0fff_ffff;

export const ESR_SEND_ILLEGAL = 1 << 5;
export const ESR_RECEIVE_ILLEGAL = 1 << 6;
export const ESR_ILLEGAL_REGISTER = 1 << 7;
/** Vectors below this are no legal APIC interrupts (11.5.2). */
export const FIRST_VECTOR = 16;

// LVT entries (figure 11-8)
export const LVT_VECTOR = 0xff;
export const LVT_MODE_SHIFT = 8;
export const LVT_READ_ONLY = (1 << 12) | (1 << 14); // delivery status, remote IRR
export const LVT_MASKED = 1 << 16;
export const LVT_TIMER_MODE_SHIFT = 17;
/** Writable bits of each entry. */
export const LVT_WRITABLE: ReadonlyMap<number, number> = new Map([
  [REG_LVT_CMCI, 0x1_07ff],
  [REG_LVT_TIMER, 0x7_00ff],
  [REG_LVT_THERMAL, 0x1_07ff],
  [REG_LVT_PERF, 0x1_07ff],
  [REG_LVT_LINT0, 0x1_a7ff],
  [REG_LVT_LINT1, 0x1_a7ff],
  [REG_LVT_ERROR, 0x1_00ff],
]);

export const TIMER_ONE_SHOT = 0;
export const TIMER_PERIODIC = 1;
export const TIMER_TSC_DEADLINE = 2;
export const TIMER_DIVIDE_BITS = 0b1011;

// ICR (figure 11-12)
export const ICR_LOGICAL = 1 << 11;
export const ICR_ASSERT = 1 << 14;
export const ICR_LEVEL = 1 << 15;
export const ICR_SHORTHAND_SHIFT = 18;
export const ICR_WRITABLE = 0xc_cfff;
/** Reserved in x2APIC mode; bit 12, which was delivery status, is let pass. */
export const ICR_X2_RESERVED = 0xfff3_2000;
export const SHORTHAND_NONE = 0;
export const SHORTHAND_SELF = 1;
export const SHORTHAND_ALL = 2;

// What waits besides IRR (bits of the word PENDING).
export const PENDING_NMI = 1 << 0;
export const PENDING_INIT = 1 << 1;
export const PENDING_STARTUP = 1 << 2;
export const PENDING_EXTINT = 1 << 3;
export const PENDING_SMI = 1 << 4;

// Words of the state: the registers first, at their own numbers, then what has none.
export const BASE_FLAGS = REG_COUNT;
export const BASE_PAGE = REG_COUNT + 1;
export const PENDING = REG_COUNT + 2;
export const STARTUP_VECTOR = REG_COUNT + 3;
/** Errors since the last write to ESR. */
export const ESR_NEW = REG_COUNT + 4;
export const TSC_DEADLINE_LOW = REG_COUNT + 5;
export const TSC_DEADLINE_HIGH = REG_COUNT + 6;
export const LINT0_LEVEL = REG_COUNT + 7;

// Times of the state.
export const TIMER_START_NS = 0;
/** When the timer next fires; Infinity when it does not. */
export const TIMER_NEXT_NS = 1;

export const LAPIC_STATE: StateSize = { i32: REG_COUNT + 8, f64: 2 };
