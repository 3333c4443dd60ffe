import { EXC_HAS_ERROR, S_EXC_ADDR, S_EXC_ERROR, S_EXC_FLAGS, S_EXC_VECTOR } from '../ir/state.ts';
import { EVENT_PAGE_FAULT, TRACE_MMU } from '../ir/state-system.ts';
import { unwind } from './host.ts';
import { traceEvent } from './trace.ts';

export const DE: u32 = 0;
export const DB: u32 = 1;
export const OF: u32 = 4;
export const UD: u32 = 6;
export const NM: u32 = 7;
export const DF: u32 = 8;
export const TS: u32 = 10;
export const NP: u32 = 11;
export const SS: u32 = 12;
export const GP: u32 = 13;
export const PF: u32 = 14;
export const MF: u32 = 16;
export const AC: u32 = 17;
export const XM: u32 = 19;

/** Raises an exception without an error code. Does not return. */
export function raise(cpu: usize, vector: u32): void {
  store<u32>(cpu, vector, S_EXC_VECTOR);
  store<u32>(cpu, 0, S_EXC_ERROR);
  store<u32>(cpu, 0, S_EXC_FLAGS);
  unwind();
}

/** Raises an exception that pushes an error code. Does not return. */
export function raiseError(cpu: usize, vector: u32, error: u32): void {
  store<u32>(cpu, vector, S_EXC_VECTOR);
  store<u32>(cpu, error, S_EXC_ERROR);
  store<u32>(cpu, EXC_HAS_ERROR, S_EXC_FLAGS);
  unwind();
}

/** #PF at `vaddr`. Does not return. */
export function raisePageFault(cpu: usize, vaddr: u64, error: u32): void {
  traceEvent(cpu, TRACE_MMU, EVENT_PAGE_FAULT, vaddr, error);
  store<u64>(cpu, vaddr, S_EXC_ADDR);
  raiseError(cpu, PF, error);
}

/** #DB with the DR6 bits that say why. Does not return. */
export function raiseDebug(cpu: usize, dr6: u64): void {
  store<u64>(cpu, dr6, S_EXC_ADDR);
  raise(cpu, DB);
}
