import { S_CR0, S_CR4 } from '../ir/state.ts';
import { NM, raise, UD } from './raise.ts';

// Which unit an instruction needs. Source: Intel SDM vol. 3, tables 2-2 and 13-1.
export const UNIT_FPU: u32 = 0;
export const UNIT_MMX: u32 = 1;
export const UNIT_SSE: u32 = 2;
export const UNIT_WAIT: u32 = 3;

const CR0_MP: u64 = 2;
const CR0_EM: u64 = 4;
const CR0_TS: u64 = 8;
const CR4_OSFXSR: u64 = 1 << 9;

/** Raises #UD or #NM when the unit is off. */
export function check_unit(cpu: usize, unit: u32): void {
  const cr0 = load<u64>(cpu, S_CR0);
  if (unit == UNIT_WAIT) {
    if ((cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS)) raise(cpu, NM);
    return;
  }
  if (unit == UNIT_FPU) {
    if (cr0 & (CR0_EM | CR0_TS)) raise(cpu, NM);
    return;
  }
  if (cr0 & CR0_EM) raise(cpu, UD);
  if (unit == UNIT_SSE && !(load<u64>(cpu, S_CR4) & CR4_OSFXSR)) raise(cpu, UD);
  if (cr0 & CR0_TS) raise(cpu, NM);
}
