import {
  KEY_CODE64,
  S_ATTENTION,
  S_FLAGS_AUX,
  S_KEY,
  S_RAX,
  S_RBP,
  S_RBX,
  S_RCX,
  S_RDX,
  S_RSP,
  SEG_SS,
} from '../ir/state.ts';
import { probeWrite, read16, read32, read64, write16, write32, write64 } from './access.ts';
import { AF, arithmeticFlags, CF, OF, setArithmeticFlags, ZF } from './flags.ts';
import { DE, GP, raise, raiseError } from './raise.ts';
import { seg_address } from './segments.ts';

// Integer instructions too big for IR. Source: Intel SDM vol. 2.

export function arithmetic_flags(cpu: usize): u32 {
  return arithmeticFlags(cpu);
}

export function set_arithmetic_flags(cpu: usize, flags: u32): void {
  setArithmeticFlags(cpu, flags);
}

// Division. The quotient that does not fit raises #DE, as a zero divisor does.

export function div8(cpu: usize, divisor: u32): void {
  if (divisor == 0) raise(cpu, DE);
  const dividend = <u32>load<u16>(cpu, S_RAX);
  const quotient = dividend / divisor;
  if (quotient > 0xff) raise(cpu, DE);
  store<u16>(cpu, <u16>(quotient | ((dividend % divisor) << 8)), S_RAX);
}

export function div16(cpu: usize, divisor: u32): void {
  if (divisor == 0) raise(cpu, DE);
  const dividend = <u32>load<u16>(cpu, S_RAX) | ((<u32>load<u16>(cpu, S_RDX)) << 16);
  const quotient = dividend / divisor;
  if (quotient > 0xffff) raise(cpu, DE);
  store<u16>(cpu, <u16>quotient, S_RAX);
  store<u16>(cpu, <u16>(dividend % divisor), S_RDX);
}

export function div32(cpu: usize, divisor: u32): void {
  if (divisor == 0) raise(cpu, DE);
  const dividend = <u64>load<u32>(cpu, S_RAX) | ((<u64>load<u32>(cpu, S_RDX)) << 32);
  const quotient = dividend / <u64>divisor;
  if (quotient > 0xffff_ffff) raise(cpu, DE);
  store<u64>(cpu, quotient, S_RAX);
  store<u64>(cpu, dividend % <u64>divisor, S_RDX);
}

/** high:low / divisor, high < divisor: quotient to RAX, remainder to RDX. Bit by bit unless high is 0. */
function divide128(cpu: usize, high: u64, low: u64, divisor: u64): void {
  if (high == 0) {
    store<u64>(cpu, low / divisor, S_RAX);
    store<u64>(cpu, low % divisor, S_RDX);
    return;
  }
  let remainder = high;
  let quotient: u64 = 0;
  for (let i = 63; i >= 0; i--) {
    const carry = remainder >> 63;
    remainder = (remainder << 1) | ((low >> <u64>i) & 1);
    quotient <<= 1;
    if (carry != 0 || remainder >= divisor) {
      remainder -= divisor;
      quotient |= 1;
    }
  }
  store<u64>(cpu, quotient, S_RAX);
  store<u64>(cpu, remainder, S_RDX);
}

export function div64(cpu: usize, divisor: u64): void {
  const high = load<u64>(cpu, S_RDX);
  if (high >= divisor) raise(cpu, DE); // a zero divisor too
  divide128(cpu, high, load<u64>(cpu, S_RAX), divisor);
}

export function idiv8(cpu: usize, value: u32): void {
  const divisor = <i32>(<i8>value);
  if (divisor == 0) raise(cpu, DE);
  const dividend = <i32>load<i16>(cpu, S_RAX);
  const quotient = dividend / divisor;
  if (quotient != <i32>(<i8>quotient)) raise(cpu, DE);
  store<u16>(cpu, <u16>((quotient & 0xff) | ((dividend % divisor) << 8)), S_RAX);
}

export function idiv16(cpu: usize, value: u32): void {
  const divisor = <i64>(<i16>value);
  if (divisor == 0) raise(cpu, DE);
  const dividend = <i64>(<i32>(<u32>load<u16>(cpu, S_RAX) | ((<u32>load<u16>(cpu, S_RDX)) << 16)));
  const quotient = dividend / divisor;
  if (quotient != <i64>(<i16>quotient)) raise(cpu, DE);
  store<u16>(cpu, <u16>quotient, S_RAX);
  store<u16>(cpu, <u16>(dividend % divisor), S_RDX);
}

export function idiv32(cpu: usize, value: u32): void {
  const divisor = <i64>(<i32>value);
  if (divisor == 0) raise(cpu, DE);
  const dividend = <i64>(<u64>load<u32>(cpu, S_RAX) | ((<u64>load<u32>(cpu, S_RDX)) << 32));
  if (divisor == -1 && dividend == i64.MIN_VALUE) raise(cpu, DE);
  const quotient = dividend / divisor;
  if (quotient != <i64>(<i32>quotient)) raise(cpu, DE);
  store<u64>(cpu, <u64>(<u32>quotient), S_RAX);
  store<u64>(cpu, <u64>(<u32>(dividend % divisor)), S_RDX);
}

export function idiv64(cpu: usize, divisor: i64): void {
  if (divisor == 0) raise(cpu, DE);
  let high = load<u64>(cpu, S_RDX);
  let low = load<u64>(cpu, S_RAX);
  const negative = <i64>high < 0;
  if (negative) {
    low = ~low + 1;
    high = ~high + (low == 0 ? 1 : 0);
  }
  const size: u64 = divisor < 0 ? <u64>-divisor : <u64>divisor;
  if (high >= size) raise(cpu, DE);
  const rax = load<u64>(cpu, S_RAX);
  const rdx = load<u64>(cpu, S_RDX);
  divide128(cpu, high, low, size);
  const quotient = load<u64>(cpu, S_RAX);
  const minus = negative != divisor < 0;
  if (quotient > (minus ? (<u64>1) << 63 : <u64>i64.MAX_VALUE)) {
    store<u64>(cpu, rax, S_RAX);
    store<u64>(cpu, rdx, S_RDX);
    raise(cpu, DE);
  }
  if (minus) store<u64>(cpu, ~quotient + 1, S_RAX);
  if (negative) store<u64>(cpu, ~load<u64>(cpu, S_RDX) + 1, S_RDX);
}

// Decimal adjustment.

function adjustFlags(cpu: usize, al: u32, carry: bool, adjust: bool): void {
  const parity = ~popcnt<u32>(al) & 1;
  const zero: u32 = al == 0 ? ZF : 0;
  setArithmeticFlags(
    cpu,
    (carry ? CF : 0) | (parity << 2) | (adjust ? AF : 0) | zero | (al & 0x80),
  );
}

function decimalAdjust(cpu: usize, sign: i32): void {
  const flags = arithmeticFlags(cpu);
  const old = <i32>load<u8>(cpu, S_RAX);
  let al = old;
  let carry = (flags & CF) != 0;
  const adjust = (old & 15) > 9 || (flags & AF) != 0;
  if (adjust) {
    al += sign * 6;
    if (sign < 0 && old < 6) carry = true;
    if (sign > 0 && al > 0xff) carry = true;
  }
  if (old > 0x99 || (flags & CF) != 0) {
    al += sign * 0x60;
    carry = true;
  }
  store<u8>(cpu, <u8>al, S_RAX);
  adjustFlags(cpu, <u32>al & 0xff, carry, adjust);
}

export function daa(cpu: usize): void {
  decimalAdjust(cpu, 1);
}

export function das(cpu: usize): void {
  decimalAdjust(cpu, -1);
}

function asciiAdjust(cpu: usize, sign: i32): void {
  const flags = arithmeticFlags(cpu);
  let ax = <i32>load<u16>(cpu, S_RAX);
  const adjust = (ax & 15) > 9 || (flags & AF) != 0;
  if (adjust) ax += sign * 0x106;
  ax &= 0xff0f;
  store<u16>(cpu, <u16>ax, S_RAX);
  setArithmeticFlags(
    cpu,
    (adjust ? AF | CF : 0) |
      ((~popcnt<u32>(<u32>ax & 0xff) & 1) << 2) |
      ((ax & 0xff) == 0 ? ZF : 0),
  );
}

export function aaa(cpu: usize): void {
  asciiAdjust(cpu, 1);
}

export function aas(cpu: usize): void {
  asciiAdjust(cpu, -1);
}

export function aam(cpu: usize, base: u32): void {
  if (base == 0) raise(cpu, DE);
  const al = <u32>load<u8>(cpu, S_RAX);
  store<u16>(cpu, <u16>((al % base) | ((al / base) << 8)), S_RAX);
  adjustFlags(cpu, al % base, false, false);
}

/** The flags that the book calls undefined are those of the addition, as on Intel's parts. */
export function aad(cpu: usize, base: u32): void {
  const units = <u32>load<u8>(cpu, S_RAX);
  const tens = (<u32>load<u8>(cpu, S_RAX + 1) * base) & 0xff;
  const al = (units + tens) & 0xff;
  store<u16>(cpu, <u16>al, S_RAX);
  adjustFlags(cpu, al, units + tens > 0xff, ((units ^ tens ^ al) & AF) != 0);
  if (~(units ^ tens) & (units ^ al) & 0x80) setArithmeticFlags(cpu, arithmeticFlags(cpu) | OF);
}

// Rotation through CF: a ring of size * 8 + 1 bits.

function turns(count: u32, size: u32): u32 {
  return size >= 4 ? count : count % (size * 8 + 1);
}

function carryIn(cpu: usize): u64 {
  return load<u64>(cpu, S_FLAGS_AUX) >> 63;
}

function setCarryOverflow(cpu: usize, carry: u64, overflow: u64): void {
  const rest = load<u64>(cpu, S_FLAGS_AUX) & 0x3fff_ffff_ffff_ffff;
  store<u64>(cpu, rest | (carry << 63) | ((carry ^ overflow) << 62), S_FLAGS_AUX);
}

function shiftRight(value: u64, by: u32): u64 {
  return by > 63 ? 0 : value >> <u64>by;
}

function shiftLeft(value: u64, by: u32): u64 {
  return by > 63 ? 0 : value << (<u64>by);
}

function cut(value: u64, size: u32): u64 {
  return size == 8 ? value : value & (((<u64>1) << (<u64>size * 8)) - 1);
}

/** RCL, RCR: the turned value; CF, and OF as for a count of 1. Whole turns change nothing. */
export function rcl(cpu: usize, value: u64, count: u32, size: u32): u64 {
  const n = turns(count, size);
  if (n == 0) return value;
  const bits = size * 8;
  const old = carryIn(cpu);
  const carry = (value >> <u64>(bits - n)) & 1;
  setCarryOverflow(cpu, carry, ((value >> <u64>(bits - 1)) ^ (value >> <u64>(bits - 2))) & 1);
  const around = shiftRight(value, bits + 1 - n);
  return cut(shiftLeft(value, n) | shiftLeft(old, n - 1) | around, size);
}

export function rcr(cpu: usize, value: u64, count: u32, size: u32): u64 {
  const n = turns(count, size);
  if (n == 0) return value;
  const bits = size * 8;
  const old = carryIn(cpu);
  setCarryOverflow(cpu, (value >> <u64>(n - 1)) & 1, (value >> <u64>(bits - 1)) ^ old);
  const around = shiftLeft(value, bits + 1 - n);
  return cut(shiftRight(value, n) | shiftLeft(old, bits - n) | around, size);
}

// Bits and bytes.

/** Address of the operand that holds bit `index` of the bit string at `address`. */
export function bit_address(cpu: usize, address: u64, index: i64, size: u32): u64 {
  const shift: i64 = size == 8 ? 6 : size == 4 ? 5 : 4;
  const at = address + <u64>((index >> shift) * <i64>size);
  return load<u32>(cpu, S_KEY) & KEY_CODE64 ? at : at & 0xffff_ffff;
}

/** What four bits that leave the register put into it: reflected polynomial 82F63B78. */
const CRC32C: StaticArray<u32> = [
  0x0000_0000, 0x105e_c76f, 0x20bd_8ede, 0x30e3_49b1, 0x417b_1dbc, 0x5125_dad3, 0x61c6_9362,
  0x7198_540d, 0x82f6_3b78, 0x92a8_fc17, 0xa24b_b5a6, 0xb215_72c9, 0xc38d_26c4, 0xd3d3_e1ab,
  0xe330_a81a, 0xf36e_6f75,
];

/** CRC-32C. */
export function crc32c(cpu: usize, crc: u32, value: u64, size: u32): u32 {
  let sum = crc;
  for (let i: u32 = 0; i < size; i++) {
    sum ^= <u32>(value >> <u64>(i * 8)) & 0xff;
    sum = (sum >> 4) ^ unchecked(CRC32C[sum & 15]);
    sum = (sum >> 4) ^ unchecked(CRC32C[sum & 15]);
  }
  return sum;
}

export function cmpxchg16b(cpu: usize, address: u64): void {
  if (address & 15) raiseError(cpu, GP, 0);
  probeWrite(cpu, address, 16);
  const low = read64(cpu, address);
  const high = read64(cpu, address + 8);
  const equal = low == load<u64>(cpu, S_RAX) && high == load<u64>(cpu, S_RDX);
  write64(cpu, address, equal ? load<u64>(cpu, S_RBX) : low);
  write64(cpu, address + 8, equal ? load<u64>(cpu, S_RCX) : high);
  if (!equal) {
    store<u64>(cpu, low, S_RAX);
    store<u64>(cpu, high, S_RDX);
  }
  setArithmeticFlags(cpu, (arithmeticFlags(cpu) & ~ZF) | (equal ? ZF : 0));
}

// ENTER. SDM vol. 2: nesting level modulo 32.

function stackAt(cpu: usize, pointer: u64, size: u32, stackSize: u32, write: u32): u64 {
  if (stackSize == 8) return pointer;
  return seg_address(cpu, SEG_SS, pointer & (stackSize == 2 ? 0xffff : 0xffff_ffff), size, write);
}

function readStack(cpu: usize, pointer: u64, size: u32, stackSize: u32): u64 {
  const at = stackAt(cpu, pointer, size, stackSize, 0);
  if (size == 8) return read64(cpu, at);
  return size == 4 ? <u64>read32(cpu, at) : <u64>read16(cpu, at);
}

function writeStack(cpu: usize, pointer: u64, size: u32, stackSize: u32, value: u64): void {
  const at = stackAt(cpu, pointer, size, stackSize, 1);
  if (size == 8) write64(cpu, at, value);
  else if (size == 4) write32(cpu, at, <u32>value);
  else write16(cpu, at, <u32>value);
}

function setStack(cpu: usize, offset: usize, value: u64, size: u32): void {
  if (size == 8) store<u64>(cpu + offset, value);
  else if (size == 4) store<u64>(cpu + offset, value & 0xffff_ffff);
  else store<u16>(cpu + offset, <u16>value);
}

export function enter(cpu: usize, bytes: u32, nesting: u32, size: u32, stackSize: u32): void {
  const level = nesting & 31;
  const step = <u64>size;
  let sp = load<u64>(cpu, S_RSP) - step;
  const bp = load<u64>(cpu, S_RBP);
  writeStack(cpu, sp, size, stackSize, bp);
  const frame = sp;
  for (let i: u32 = 1; i < level; i++) {
    sp -= step;
    writeStack(cpu, sp, size, stackSize, readStack(cpu, bp - <u64>i * step, size, stackSize));
  }
  if (level > 0) {
    sp -= step;
    writeStack(cpu, sp, size, stackSize, frame);
  }
  sp -= <u64>bytes;
  // The new top of the stack must be writable (SDM vol. 2, ENTER).
  probeWrite(cpu, stackAt(cpu, sp, size, stackSize, 1), size);
  setStack(cpu, S_RSP, sp, stackSize);
  setStack(cpu, S_RBP, frame, size);
}

/** What this thread has written is seen by the others before it reads on: devices look at memory meanwhile. */
export function fence(cpu: usize): void {
  // Any atomic change does; asc's own fence does not validate.
  atomic.or<u32>(cpu + S_ATTENTION, 0);
}
