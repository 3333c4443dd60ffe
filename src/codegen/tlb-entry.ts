// An entry of the guest's TLB, as core/tlb.ts has it: its tag is at 0.

/** Linear-memory address minus virtual address. */
export const TLB_DELTA = 8;
