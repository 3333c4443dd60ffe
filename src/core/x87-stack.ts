import {
  REC_START,
  S_CR0,
  S_FPU_CS,
  S_FPU_EMPTY,
  S_FPU_IP,
  S_FPU_KEEPS_SELECTORS,
  S_FPU_REGS,
  S_FPU_STATUS,
  S_FPU_TOP,
  S_REC,
  S_RIP,
  SEG_CS,
} from '../ir/state.ts';
import { S_IGNNE, X87_FREEZE } from '../ir/state-system.ts';
import { segSelector } from './descriptor.ts';
import { INDEFINITE, INDEFINITE_SE } from './f80.ts';
import { C1, ES, finish, IE, isUnmasked, put, SF } from './f80-round.ts';
import { x87_error } from './host.ts';
import { MF, raise } from './raise.ts';

// The register stack. Source: Intel SDM vol. 1, 8.1.2 and 8.5.1.1.

const CR0_NE: u64 = 0x20;

/**
 * What becomes of an exception that an earlier instruction has left: #MF. With CR0.NE clear the processor asserts FERR# and
 * stops until an interrupt comes, unless IGNNE# is asserted (SDM vol. 1, 8.7.2). 0 when it goes on.
 */
export function x87_reported(cpu: usize): u32 {
  if (!(load<u32>(cpu, S_FPU_STATUS) & ES)) return 0;
  if (load<u64>(cpu, S_CR0) & CR0_NE) return MF;
  if (load<u32>(cpu, S_IGNNE)) return 0;
  x87_error();
  return X87_FREEZE;
}

/** Reports an exception that waits. */
export function x87_wait(cpu: usize): void {
  const vector = x87_reported(cpu);
  if (vector != 0) raise(cpu, vector);
}

/** The beginning of every instruction that computes, loads or stores: exceptions that wait; FIP and FCS. */
export function begin(cpu: usize): void {
  if ((load<u32>(cpu, S_FPU_STATUS) & ES) | load<u32>(cpu, S_FPU_KEEPS_SELECTORS)) beginSlowly(cpu);
  const rec = load<u32>(cpu, S_REC);
  const start: u64 = rec != 0 ? <u64>load<u16>(rec, REC_START) : 0;
  store<u64>(cpu, load<u64>(cpu, S_RIP) + start, S_FPU_IP);
}

function beginSlowly(cpu: usize): void {
  if (load<u32>(cpu, S_FPU_STATUS) & ES) x87_wait(cpu);
  if (load<u32>(cpu, S_FPU_KEEPS_SELECTORS)) store<u32>(cpu, segSelector(cpu, SEG_CS), S_FPU_CS);
}

/** Address of ST(i). */
export function st(cpu: usize, i: u32): usize {
  return cpu + S_FPU_REGS + ((load<u32>(cpu, S_FPU_TOP) + i) & 7) * 16;
}

export function isEmpty(cpu: usize, i: u32): bool {
  return ((load<u32>(cpu, S_FPU_EMPTY) >> ((load<u32>(cpu, S_FPU_TOP) + i) & 7)) & 1) != 0;
}

export function setValid(cpu: usize, i: u32): void {
  const bit = (<u32>1) << ((load<u32>(cpu, S_FPU_TOP) + i) & 7);
  store<u32>(cpu, load<u32>(cpu, S_FPU_EMPTY) & ~bit, S_FPU_EMPTY);
}

export function setEmpty(cpu: usize, i: u32): void {
  const bit = (<u32>1) << ((load<u32>(cpu, S_FPU_TOP) + i) & 7);
  store<u32>(cpu, load<u32>(cpu, S_FPU_EMPTY) | bit, S_FPU_EMPTY);
}

export function pop(cpu: usize): void {
  setEmpty(cpu, 0);
  store<u32>(cpu, (load<u32>(cpu, S_FPU_TOP) + 1) & 7, S_FPU_TOP);
}

/** TOP goes down, and the new ST(0) is valid. */
export function push(cpu: usize): void {
  store<u32>(cpu, (load<u32>(cpu, S_FPU_TOP) - 1) & 7, S_FPU_TOP);
  setValid(cpu, 0);
}

/** An empty register was read. False when nothing may be written for it. */
export function underflow(cpu: usize): bool {
  finish(cpu, IE | SF);
  return !isUnmasked(cpu, IE);
}

/** An empty register was to give what goes to ST(i): it becomes the default NaN. False when nothing may be written. */
export function underflowTo(cpu: usize, i: u32): bool {
  if (!underflow(cpu)) return false;
  setValid(cpu, i);
  put(st(cpu, i), INDEFINITE_SE, INDEFINITE);
  return true;
}

/** False when there is no room to push: the default NaN has been pushed then, or nothing where IE is not masked. */
export function hasRoom(cpu: usize): bool {
  if (isEmpty(cpu, 7)) return true;
  finish(cpu, IE | SF | C1);
  if (!isUnmasked(cpu, IE)) {
    push(cpu);
    put(st(cpu, 0), INDEFINITE_SE, INDEFINITE);
  }
  return false;
}
