import type { VcpuState } from '#accel/accel.ts';

const SEG_CS = 1;
const RIGHTS_LONG = 1 << 13;
const RIGHTS_BIG = 1 << 14;
const EFER_LMA = 1n << 10n;

/** Bytes of a default operand: 2 and 4, and 8 for 64-bit code. */
export function codeSizeOf({ efer, segments }: VcpuState): 2 | 4 | 8 {
  const rights = segments[SEG_CS]?.rights ?? 0;
  if ((efer & EFER_LMA) !== 0n && (rights & RIGHTS_LONG) !== 0) return 8;
  return (rights & RIGHTS_BIG) !== 0 ? 4 : 2;
}

/** RIP as a linear address. */
export function linearRip(state: VcpuState): bigint {
  if (codeSizeOf(state) === 8) return state.rip;
  return BigInt.asUintN(32, state.rip + (state.segments[SEG_CS]?.base ?? 0n));
}
