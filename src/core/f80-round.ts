import { S_FPU_CONTROL, S_FPU_STATUS } from '../ir/state.ts';
import { S_IGNNE } from '../ir/state-system.ts';
import { EXP, INDEFINITE, INDEFINITE_SE, INTEGER } from './f80.ts';
import { shiftLow } from './f80-wide.ts';
import { x87_unmasked } from './host.ts';

// Exceptions, and rounding to the precision and in the direction of the control word. Source: Intel SDM vol. 1, 4.8,
// 8.1.3, 8.1.5, 8.5.

// Status word.
export const IE: u32 = 1;
export const DE: u32 = 2;
export const ZE: u32 = 4;
export const OE: u32 = 8;
export const UE: u32 = 16;
export const PE: u32 = 32;
export const SF: u32 = 64; // stack fault
export const ES: u32 = 0x80; // an unmasked exception waits
const BUSY: u32 = 0x8000; // as ES
export const C0: u32 = 0x100;
export const C1: u32 = 0x200; // rounded up; of stack faults: overflow
export const C2: u32 = 0x400;
export const C3: u32 = 0x4000;

// Rounding control.
export const NEAREST: u32 = 0;
export const DOWN: u32 = 1;
export const UP: u32 = 2;
export const CHOP: u32 = 3;

const HALF: u64 = INTEGER;
/** Added to the exponent of an underflow that is not masked, taken from that of an overflow: 3 * 2^13. */
const WRAP: i32 = 0x6000;

export function roundingControl(cpu: usize): u32 {
  return (load<u32>(cpu, S_FPU_CONTROL) >> 10) & 3;
}

/** True when one of the exceptions in `flags` is not masked. */
export function isUnmasked(cpu: usize, flags: u32): bool {
  return (flags & ~load<u32>(cpu, S_FPU_CONTROL) & 0x3f) != 0;
}

/** The end of every instruction that computes: exceptions, and C1 as it says. Other condition codes are left. */
export function finish(cpu: usize, flags: u32): void {
  let status = (load<u32>(cpu, S_FPU_STATUS) & ~C1) | flags;
  if (isUnmasked(cpu, flags)) {
    if (!(status & ES)) store<u32>(cpu, 0, S_IGNNE);
    status |= ES | BUSY;
    x87_unmasked();
  }
  store<u32>(cpu, status, S_FPU_STATUS);
}

/** ES and B follow the exceptions and the masks, whichever of both has been loaded. */
export function summarize(cpu: usize): void {
  const before = load<u32>(cpu, S_FPU_STATUS);
  const status = before & ~(ES | BUSY);
  const waits = isUnmasked(cpu, status);
  if (waits && !(before & ES)) store<u32>(cpu, 0, S_IGNNE);
  store<u32>(cpu, status | (waits ? ES | BUSY : 0), S_FPU_STATUS);
}

export function put(dst: usize, se: u32, sig: u64): void {
  store<u64>(dst, sig);
  store<u16>(dst, <u16>se, 8);
}

/** An exact result. */
export function deliver(cpu: usize, dst: usize, se: u32, sig: u64, flags: u32): bool {
  put(dst, se, sig);
  finish(cpu, flags);
  return true;
}

/** An invalid operation: false when nothing may be written. */
export function invalid(cpu: usize, dst: usize): bool {
  finish(cpu, IE);
  if (isUnmasked(cpu, IE)) return false;
  put(dst, INDEFINITE_SE, INDEFINITE);
  return true;
}

/** Whether a magnitude whose last bit kept is `odd` rounds up; `rest` is what is cut off, in units of 2^-64. */
export function roundsUp(mode: u32, sign: u32, odd: u64, rest: u64): bool {
  if (mode == NEAREST) return rest > HALF || (rest == HALF && odd != 0);
  if (rest == 0 || mode == CHOP) return false;
  return (mode == UP) == (sign == 0);
}

/**
 * Rounds sign, exponent and the significand high:low (`high` normalised) into the register `dst` and ends the instruction.
 * `exp` is biased and has no bounds. `flags` are what has been found before. Always true.
 */
export function roundPack(
  cpu: usize,
  dst: usize,
  sign: u32,
  exp: i32,
  high: u64,
  low: u64,
  flags: u32,
): bool {
  const control = load<u32>(cpu, S_FPU_CONTROL);
  if ((control & 0xf00) != 0x300 || <u32>(exp - 1) >= 0x7ffd)
    return roundSlow(cpu, dst, sign, exp, high, low, flags);
  let sig = high;
  let e = exp;
  if (low != 0) {
    flags |= PE;
    if (low > HALF || (low == HALF && sig & 1)) {
      flags |= C1;
      if (++sig == 0) {
        sig = INTEGER;
        e++;
      }
    }
  }
  put(dst, sign | <u32>e, sig);
  finish(cpu, flags);
  return true;
}

/** As `roundPack`, to all 64 bits whatever the precision control says. */
export function roundFull(
  cpu: usize,
  dst: usize,
  sign: u32,
  exp: i32,
  high: u64,
  low: u64,
  flags: u32,
): bool {
  return roundBits(cpu, dst, sign, exp, high, low, flags, 0);
}

function roundSlow(
  cpu: usize,
  dst: usize,
  sign: u32,
  exp: i32,
  high: u64,
  low: u64,
  flags: u32,
): bool {
  const precision = (load<u32>(cpu, S_FPU_CONTROL) >> 8) & 3;
  const drop: u32 = precision == 0 ? 40 : precision == 2 ? 11 : 0;
  return roundBits(cpu, dst, sign, exp, high, low, flags, drop);
}

/** Part of a significand below the bit `drop`, in units of 2^-64 of that bit, the last of them sticky. */
function restOf(high: u64, low: u64, drop: u32): u64 {
  return drop == 0 ? low : (high << (64 - drop)) | u64(low != 0);
}

function roundBits(
  cpu: usize,
  dst: usize,
  sign: u32,
  exp: i32,
  high: u64,
  low: u64,
  flags: u32,
  drop: u32,
): bool {
  const mode = roundingControl(cpu);
  const rest = restOf(high, low, drop);
  const kept = (high >> drop) << drop;
  const up = roundsUp(mode, sign, (kept >> drop) & 1, rest);
  let sig = up ? kept + ((<u64>1) << drop) : kept;
  let e = exp;
  if (sig == 0) {
    sig = INTEGER;
    e++;
  }
  if (e <= 0) {
    if (!isUnmasked(cpu, UE)) return denormalize(cpu, dst, sign, exp, high, low, flags, drop);
    flags |= UE;
    e += WRAP;
    if (e <= 0) return deliver(cpu, dst, sign, 0, flags | PE);
  } else if (e >= <i32>EXP) {
    flags |= OE;
    if (!isUnmasked(cpu, OE)) return overflow(cpu, dst, sign, flags, drop);
    e -= WRAP;
    if (e >= <i32>EXP) return deliver(cpu, dst, sign | EXP, INTEGER, flags | PE | C1);
  }
  if (rest != 0) flags |= PE;
  if (up) flags |= C1;
  return deliver(cpu, dst, sign | <u32>e, sig, flags);
}

/** Below the smallest normal number, UE masked. */
function denormalize(
  cpu: usize,
  dst: usize,
  sign: u32,
  exp: i32,
  high: u64,
  low: u64,
  flags: u32,
  drop: u32,
): bool {
  const count: u32 = 1 - exp > 127 ? 127 : <u32>(1 - exp);
  const lower = count == 0 ? low : shiftLow(high, low, count);
  const upper = count < 64 ? high >> count : 0;
  const rest = restOf(upper, lower, drop);
  const kept = (upper >> drop) << drop;
  const up = roundsUp(roundingControl(cpu), sign, (kept >> drop) & 1, rest);
  const sig = up ? kept + ((<u64>1) << drop) : kept;
  if (rest != 0) flags |= PE | UE;
  if (up) flags |= C1;
  return deliver(cpu, dst, sign | u32(<i64>sig < 0), sig, flags);
}

function overflow(cpu: usize, dst: usize, sign: u32, flags: u32, drop: u32): bool {
  const mode = roundingControl(cpu);
  const toInfinity = mode == NEAREST || (mode != CHOP && (mode == UP) == (sign == 0));
  if (toInfinity) return deliver(cpu, dst, sign | EXP, INTEGER, flags | PE | C1);
  const largest = (~(<u64>0) >> drop) << drop;
  return deliver(cpu, dst, sign | (EXP - 1), largest, flags | PE);
}
