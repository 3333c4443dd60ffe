import {
  KEY_CODE64,
  S_CR4,
  S_DB_PENDING,
  S_DR0,
  S_DR7,
  S_EFLAGS,
  S_INHIBIT,
  S_KEY,
  S_RIP,
  S_SEGS,
  S_TF_ARMED,
  SEG_BASE,
  SEG_CS,
  SEG_SIZE,
} from '../ir/state.ts';
import { INHIBIT_SS, INHIBIT_STEPPING, S_REPEATING } from '../ir/state-system.ts';
import { RF, TF } from './flags.ts';
import { updateKey } from './key.ts';
import { raiseDebug } from './raise.ts';

// Breakpoints and single steps. Source: Intel SDM vol. 3, chapter 17.

const CR4_DE: u64 = 1 << 3;
const DR6_BS: u64 = 1 << 14;
/** What S_TF_ARMED holds during a step: TF and RF were set before it. */
const ARMED: u32 = 1;
const RESUMED: u32 = 2;
// R/W fields of DR7.
const BREAK_EXECUTE: u32 = 0;
const BREAK_WRITE: u32 = 1;
const BREAK_IO: u32 = 2;
const BREAK_ACCESS: u32 = 3;

/** DR6 bits B0-B3 of the enabled breakpoints of the kinds in `kinds` (a bit each) that meet [at, at + size). */
function match(cpu: usize, at: u64, size: u32, kinds: u32): u32 {
  const dr7 = <u32>load<u64>(cpu, S_DR7);
  let hits: u32 = 0;
  for (let i: u32 = 0; i < 4; i++) {
    if (!((dr7 >> (i * 2)) & 3)) continue;
    const field = dr7 >> (16 + i * 4);
    if (!((kinds >> (field & 3)) & 1)) continue;
    // Lengths 1, 2, 8, 4; the address is aligned to its length.
    const code = (field >> 2) & 3;
    const length: u64 = code == 2 ? 8 : code + 1;
    const start = load<u64>(cpu + i * 8, S_DR0) & ~(length - 1);
    if (at < start + length && start < at + size) hits |= 1 << i;
  }
  return hits;
}

/** Notes the data breakpoints that an access meets: #DB follows the instruction. */
export function checkDataBreakpoint(cpu: usize, vaddr: u64, size: u32, write: bool): void {
  const kinds: u32 = write ? (1 << BREAK_WRITE) | (1 << BREAK_ACCESS) : 1 << BREAK_ACCESS;
  const hits = match(cpu, vaddr, size, kinds);
  if (hits) store<u32>(cpu, load<u32>(cpu, S_DB_PENDING) | hits, S_DB_PENDING);
}

/** The same for a port, with CR4.DE. */
export function checkPortBreakpoint(cpu: usize, port: u32, size: u32): void {
  if (!(load<u64>(cpu, S_DR7) & 0xff) || !(load<u64>(cpu, S_CR4) & CR4_DE)) return;
  const hits = match(cpu, port, size, 1 << BREAK_IO);
  if (hits) store<u32>(cpu, load<u32>(cpu, S_DB_PENDING) | hits, S_DB_PENDING);
}

/** #DB, a fault, when a breakpoint stands at `rip` and RF does not let it pass. */
export function check_instruction_breakpoint(cpu: usize, rip: u64): void {
  if (load<u32>(cpu, S_EFLAGS) & RF || !(load<u64>(cpu, S_DR7) & 0xff)) return;
  const linear =
    load<u32>(cpu, S_KEY) & KEY_CODE64
      ? rip
      : (load<u64>(cpu + SEG_CS * SEG_SIZE, S_SEGS + SEG_BASE) + rip) & 0xffff_ffff;
  const hits = match(cpu, linear, 1, 1 << BREAK_EXECUTE);
  if (hits) raiseDebug(cpu, hits);
}

/**
 * With KEY_STEP, before the one instruction of a slice and after interrupts have been looked at: raises a breakpoint's
 * #DB, else notes TF and RF as they are and lets the shadow of STI or MOV SS end with this instruction.
 */
export function begin_step(cpu: usize): void {
  check_instruction_breakpoint(cpu, load<u64>(cpu, S_RIP));
  const flags = load<u32>(cpu, S_EFLAGS);
  store<u32>(cpu, 0, S_REPEATING);
  store<u32>(cpu, (flags & TF ? ARMED : 0) | (flags & RF ? RESUMED : 0), S_TF_ARMED);
  if (load<u32>(cpu, S_INHIBIT) == 0) store<u32>(cpu, 0, S_DB_PENDING);
  else store<u32>(cpu, INHIBIT_STEPPING, S_INHIBIT);
}

/** When the instruction has run without a fault: raises the #DB of TF and of data breakpoints, unless MOV SS puts it off. */
export function end_step(cpu: usize): void {
  const noted = load<u32>(cpu, S_TF_ARMED);
  store<u32>(cpu, 0, S_TF_ARMED);
  const inhibit = load<u32>(cpu, S_INHIBIT);
  if (inhibit == INHIBIT_STEPPING) store<u32>(cpu, 0, S_INHIBIT);
  // An IRET that has just set RF finds it clear before: then it stays for the next instruction.
  if (load<u32>(cpu, S_REPEATING)) store<u32>(cpu, load<u32>(cpu, S_EFLAGS) | RF, S_EFLAGS);
  else if (noted & RESUMED) store<u32>(cpu, load<u32>(cpu, S_EFLAGS) & ~RF, S_EFLAGS);
  updateKey(cpu);
  if (inhibit != INHIBIT_SS && (noted & ARMED || load<u32>(cpu, S_DB_PENDING)))
    raiseTrap(cpu, (noted & ARMED) != 0);
}

function raiseTrap(cpu: usize, single: bool): void {
  const pending = load<u32>(cpu, S_DB_PENDING);
  store<u32>(cpu, 0, S_DB_PENDING);
  raiseDebug(cpu, single ? DR6_BS | pending : pending);
}
