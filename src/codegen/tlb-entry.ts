// An entry of the guest's TLB, as core/tlb.ts has it: its tag is at 0.

/** Linear-memory address minus virtual address. */
export const TLB_DELTA = 8;
/** In place of the delta of a page that was not found: deltas are even. */
export const NO_DELTA = 1;
