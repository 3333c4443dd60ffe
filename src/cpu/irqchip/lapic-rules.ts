// Rules of the local APIC's registers that need no state. Source: Intel SDM vol. 3A, chapter 11.
import * as r from './lapic-regs.ts';
import {
  DELIVER_EXTINT,
  DELIVER_INIT,
  DELIVER_NMI,
  DELIVER_SMI,
  DELIVER_STARTUP,
} from './message.ts';

/** Bits that a WRMSR must leave zero (11.12.1.2 and the figures of the registers). */
export function x2Reserved(register: number): number {
  const lvt = r.LVT_WRITABLE.get(register);
  if (lvt !== undefined) return ~(lvt | r.LVT_READ_ONLY);
  switch (register) {
    case r.REG_TPR:
    case r.REG_SELF_IPI:
      return ~0xff;
    case r.REG_SVR:
      return ~(0xff | r.SVR_ENABLE | r.SVR_NO_EOI_BROADCAST);
    case r.REG_TIMER_DIVIDE:
      return ~r.TIMER_DIVIDE_BITS;
    case r.REG_EOI:
    case r.REG_ESR:
      return ~0;
    default:
      return 0;
  }
}

/** Whether `dest` names the 8-bit logical `address` in the DFR's `model` (11.6.2.2). */
export function matchesLogical(address: number, model: number, dest: number): boolean {
  if (model === r.DFR_FLAT) return (address & dest) !== 0;
  return address >> 4 === dest >> 4 && (address & dest & 0xf) !== 0;
}

const PENDING_OF_MODE: ReadonlyMap<number, number> = new Map([
  [DELIVER_SMI, r.PENDING_SMI],
  [DELIVER_NMI, r.PENDING_NMI],
  [DELIVER_INIT, r.PENDING_INIT],
  [DELIVER_STARTUP, r.PENDING_STARTUP],
  [DELIVER_EXTINT, r.PENDING_EXTINT],
]);

/** Registers of the xAPIC that the x2APIC does not have. */
const X2_MISSING: ReadonlySet<number> = new Set([r.REG_APR, r.REG_DFR, r.REG_ICR_HIGH]);
const X2_WRITE_ONLY: ReadonlySet<number> = new Set([r.REG_EOI, r.REG_SELF_IPI]);

const READ_ONLY: ReadonlySet<number> = new Set([
  r.REG_ID,
  r.REG_VERSION,
  r.REG_PPR,
  r.REG_APR,
  r.REG_TIMER_CURRENT,
]);

/** The `PENDING_…` bit of a delivery mode that has no vector in IRR. */
export function pendingBit(mode: number): number | undefined {
  return PENDING_OF_MODE.get(mode);
}

/** Whether WRMSR and RDMSR of the register fault in x2APIC mode though the xAPIC has it. */
export function x2HasNo(register: number): boolean {
  return X2_MISSING.has(register);
}

export function x2IsWriteOnly(register: number): boolean {
  return X2_WRITE_ONLY.has(register);
}

export function isReadOnly(register: number): boolean {
  return READ_ONLY.has(register);
}
