import { S_EFLAGS, S_FLAGS_AUX, S_FLAGS_RES } from '../ir/state.ts';

// EFLAGS bits. Source: Intel SDM vol. 1, 3.4.3.
export const CF: u32 = 1 << 0;
const PF: u32 = 1 << 2;
export const AF: u32 = 1 << 4;
export const ZF: u32 = 1 << 6;
const SF: u32 = 1 << 7;
export const TF: u32 = 1 << 8;
export const IF: u32 = 1 << 9;
export const DF: u32 = 1 << 10;
export const OF: u32 = 1 << 11;
export const IOPL_SHIFT: u32 = 12;
export const NT: u32 = 1 << 14;
export const RF: u32 = 1 << 16;
export const VM: u32 = 1 << 17;
export const AC: u32 = 1 << 18;
export const VIF: u32 = 1 << 19;
export const VIP: u32 = 1 << 20;
export const ID: u32 = 1 << 21;
export const ARITHMETIC: u32 = CF | PF | AF | ZF | SF | OF;

/** The six arithmetic flags, in their places in EFLAGS. */
export function arithmeticFlags(cpu: usize): u32 {
  const res = load<i64>(cpu, S_FLAGS_RES);
  const aux = load<u64>(cpu, S_FLAGS_AUX);
  const carry = <u32>(aux >> 63);
  const overflow = carry ^ (<u32>(aux >> 62) & 1);
  const parityByte = (<u32>res ^ <u32>(aux >> 8)) & 0xff;
  const parity = ~popcnt<u32>(parityByte) & 1;
  const sign = <u32>(<u64>res >> 63) ^ (<u32>aux & 1);
  const adjust = (<u32>aux >> 3) & 1;
  return (
    carry | (parity << 2) | (adjust << 4) | (u32(res == 0) << 6) | (sign << 7) | (overflow << 11)
  );
}

/** Sets the six arithmetic flags from their places in `flags`. */
export function setArithmeticFlags(cpu: usize, flags: u32): void {
  const zero = (flags & ZF) != 0;
  const carry = <u64>(flags & 1);
  const overflow = <u64>((flags >> 11) & 1);
  const sign = <u64>((flags >> 7) & 1);
  // RES 0 or 1: SF comes from AUX bit 0 alone, PF from the difference of the parities of the byte and the flag.
  const res: u64 = zero ? 0 : 1;
  const parityOfRes: u64 = zero ? 1 : 0;
  const parityFlag = <u64>((flags >> 2) & 1);
  const adjust = <u64>((flags >> 4) & 1);
  store<u64>(cpu, res, S_FLAGS_RES);
  store<u64>(
    cpu,
    (carry << 63) |
      ((carry ^ overflow) << 62) |
      (adjust << 3) |
      sign |
      ((parityOfRes ^ parityFlag) << 8),
    S_FLAGS_AUX,
  );
}

/** EFLAGS whole; bit 1 is always set. */
export function eflags(cpu: usize): u32 {
  return load<u32>(cpu, S_EFLAGS) | arithmeticFlags(cpu) | 2;
}

/** Sets EFLAGS whole. The caller has masked what may change; it updates the key (`updateKey`) after. */
export function setEflags(cpu: usize, flags: u32): void {
  setArithmeticFlags(cpu, flags);
  store<u32>(cpu, (flags & ~ARITHMETIC) | 2, S_EFLAGS);
}
