import { S_SCRATCH } from '../ir/state.ts';
import { probeWrite, write16, write32, write64 } from './access.ts';
import { BIAS, classOf, EXP, INDEFINITE, INDEFINITE_SE, INFINITY, SIGN } from './f80.ts';
import { fitsInteger, roundToInteger } from './f80-integer.ts';
import { toF32, toF64 } from './f80-narrow.ts';
import { CHOP, finish, IE, isUnmasked, OE, put, roundingControl, SF, UE } from './f80-round.ts';
import { begin, isEmpty, pop, setValid, st, underflow } from './x87-stack.ts';

// FST, FIST, FISTTP, FBSTP. The value is computed first, then memory is written, which may fault and must find all as it was, then
// exceptions are recorded and the stack popped. An exception that is not masked keeps memory as it is, PE apart.

/** What stands for an empty register or an invalid operation, cut to the width wanted. */
const INDEFINITE_F64: u64 = 0xfff8_0000_0000_0000;
const INDEFINITE_F32: u32 = 0xffc0_0000;
const BCD_LIMIT: u64 = 1_000_000_000_000_000_000;
const STOPS: u32 = IE | OE | UE;

function end(cpu: usize, flags: u32, pops: u32): void {
  finish(cpu, flags);
  if (pops) pop(cpu);
}

/** True when `flags` keep the store from happening; they are recorded then. */
function isStopped(cpu: usize, flags: u32): bool {
  if (!isUnmasked(cpu, flags & STOPS)) return false;
  finish(cpu, flags);
  return true;
}

export function x87_st_f64(cpu: usize, at: u64, pops: u32): void {
  begin(cpu);
  let flags = IE | SF;
  let bits = INDEFINITE_F64;
  if (!isEmpty(cpu, 0)) {
    const a = st(cpu, 0);
    flags = toF64(cpu, load<u16>(a, 8), load<u64>(a));
    bits = load<u64>(cpu, S_SCRATCH);
  }
  if (flags & STOPS && isStopped(cpu, flags)) return;
  write64(cpu, at, bits);
  end(cpu, flags, pops);
}

export function x87_st_f32(cpu: usize, at: u64, pops: u32): void {
  begin(cpu);
  let flags = IE | SF;
  let bits = INDEFINITE_F32;
  if (!isEmpty(cpu, 0)) {
    const a = st(cpu, 0);
    flags = toF32(cpu, load<u16>(a, 8), load<u64>(a));
    bits = load<u32>(cpu, S_SCRATCH);
  }
  if (flags & STOPS && isStopped(cpu, flags)) return;
  write32(cpu, at, bits);
  end(cpu, flags, pops);
}

/** FSTP of ten bytes: any bits, no exception but an empty register. */
export function x87_st_f80(cpu: usize, at: u64): void {
  begin(cpu);
  const empty = isEmpty(cpu, 0);
  if (empty && isStopped(cpu, IE | SF)) return;
  const a = st(cpu, 0);
  probeWrite(cpu, at, 10);
  write64(cpu, at, empty ? INDEFINITE : load<u64>(a));
  write16(cpu, at + 8, empty ? INDEFINITE_SE : <u32>load<u16>(a, 8));
  end(cpu, empty ? IE | SF : 0, 1);
}

/** FIST and FISTTP to `bits` bits. `mode` bit 0: pop; bit 1: cut, whatever the rounding control says. */
export function x87_st_int(cpu: usize, at: u64, bits: u32, mode: u32): void {
  begin(cpu);
  let flags = IE;
  let value: i64 = (<i64>-1) << (bits - 1);
  const a = st(cpu, 0);
  if (isEmpty(cpu, 0)) flags |= SF;
  else if (
    fitsInteger(cpu, load<u16>(a, 8), load<u64>(a), mode & 2 ? CHOP : roundingControl(cpu), bits)
  ) {
    value = load<i64>(cpu, S_SCRATCH + 8);
    flags = load<u32>(cpu, S_SCRATCH + 16);
  }
  if (flags & IE && isStopped(cpu, flags)) return;
  if (bits == 64) write64(cpu, at, value);
  else if (bits == 32) write32(cpu, at, <u32>value);
  else write16(cpu, at, <u32>value & 0xffff);
  end(cpu, flags, mode & 1);
}

/** The digits of an integer below 10^16, 4 bits each. */
function packDigits(value: u64): u64 {
  let packed: u64 = 0;
  for (let shift: u64 = 0; shift < 64; shift += 4) {
    packed |= (value % 10) << shift;
    value /= 10;
  }
  return packed;
}

export function x87_st_bcd(cpu: usize, at: u64): void {
  begin(cpu);
  const a = st(cpu, 0);
  const se = <u32>load<u16>(a, 8);
  let flags = IE;
  let low: u64 = INDEFINITE;
  let high: u32 = 0xffff;
  if (isEmpty(cpu, 0)) flags |= SF;
  else if (classOf(se, load<u64>(a)) < INFINITY && <i32>(se & EXP) <= BIAS + 62) {
    const rounded = roundToInteger(cpu, se, load<u64>(a), roundingControl(cpu));
    const value = load<u64>(cpu, S_SCRATCH);
    if (value < BCD_LIMIT) {
      flags = rounded;
      low = packDigits(value % 10_000_000_000_000_000);
      high = <u32>packDigits(value / 10_000_000_000_000_000) | (se & SIGN);
    }
  }
  if (flags & IE && isStopped(cpu, flags)) return;
  probeWrite(cpu, at, 10);
  write64(cpu, at, low);
  write16(cpu, at + 8, high);
  end(cpu, flags, 1);
}

/** D9 D8+i, an FSTP ST(i) for which an empty ST(0) is no fault. */
export function x87_move_quiet(cpu: usize, i: u32): void {
  begin(cpu);
  const a = st(cpu, 0);
  finish(cpu, 0);
  if (!isEmpty(cpu, 0)) {
    put(st(cpu, i), load<u16>(a, 8), load<u64>(a));
    setValid(cpu, i);
  }
  pop(cpu);
}

/** FST ST(i), FSTP ST(i). */
export function x87_move(cpu: usize, i: u32, pops: u32): void {
  begin(cpu);
  if (isEmpty(cpu, 0)) {
    if (!underflow(cpu)) return;
    put(st(cpu, i), INDEFINITE_SE, INDEFINITE);
  } else {
    const a = st(cpu, 0);
    put(st(cpu, i), load<u16>(a, 8), load<u64>(a));
    finish(cpu, 0);
  }
  setValid(cpu, i);
  if (pops) pop(cpu);
}
