import type { Inst } from '#ir/block.ts';
import { S_EFLAGS, S_RAX } from '#ir/state.ts';
import type { Lift, Lifter } from '../lifter.ts';

const AH = S_RAX + 1;
const DF = 1 << 10;
const CARRY = 1n << 63n;
/** SF ZF AF PF CF: what LAHF and SAHF move. */
const AH_FLAGS = 0xd5;

/** Sets CF (i32, 0 or 1) and leaves the other flags: OF is the difference of AUX's top bits. */
function setCarry(x: Lifter, carry: Inst): void {
  const old = x.op('get_flags_aux');
  const wanted = x.op('i64.shl', [x.to64(carry), x.const64(63)]);
  const change = x.op('i64.and', [x.op('i64.xor', [old, wanted]), x.const64(CARRY)]);
  const rest = x.op('i64.and', [old, x.const64(CARRY - 1n)]);
  const moved = x.op('i64.xor', [rest, x.op('i64.shr_u', [change, x.const64(1)])]);
  x.op('set_flags_raw', [x.op('get_flags_res'), x.op('i64.or', [moved, wanted])]);
}

/** BT and its kin. A register index reaches beyond the operand in memory: the address moves by whole operands. */
function bitTest(change: 'bt' | 'bts' | 'btr' | 'btc'): Lift {
  return (x) => {
    const { size } = x;
    const index = x.read(1, size);
    const at = x.bin('and', index, x.const(size * 8 - 1, size), size);
    if (!x.isMem(0)) {
      const value = x.readForWrite(0);
      if (change !== 'bt') x.write(0, changed(x, change, value, at));
      setCarry(x, tested(x, value, at));
      return;
    }
    const moves = x.binding(1).kind === 'reg' && x.cx.bitsAdded !== true;
    const address = moves
      ? x.call('bit_address', [x.address(), x.signExtend(index, size, 8), x.const32(size)])
      : x.address();
    const value = change === 'bt' ? x.load(address, size) : x.loadw(address, size);
    if (change !== 'bt') x.store(address, size, changed(x, change, value, at));
    setCarry(x, tested(x, value, at));
  };
}

function tested(x: Lifter, value: Inst, at: Inst): Inst {
  const shifted = x.bin('shr_u', value, at, x.size);
  const low = x.size === 8 ? x.op('i32.wrap_i64', [shifted]) : shifted;
  return x.op('i32.and', [low, x.const32(1)]);
}

function changed(x: Lifter, change: 'bts' | 'btr' | 'btc', value: Inst, at: Inst): Inst {
  const { size } = x;
  const mask = x.bin('shl', x.const(1, size), at, size);
  if (change === 'bts') return x.or(value, mask);
  if (change === 'btc') return x.xor(value, mask);
  return x.and(value, x.bin('xor', mask, x.const(-1, size), size));
}

/** BSF, BSR: of zero they set ZF and leave the destination. PF is that of the result and the rest clear, as Intel's parts have it. */
function bitScan(forward: boolean): Lift {
  return (x) => {
    const { size } = x;
    const value = x.read(1);
    const type = size === 8 ? 'i64' : 'i32';
    const zero = x.op(`${type}.eqz`, [value]);
    const counted = x.op(`${type}.${forward ? 'ctz' : 'clz'}`, [value]);
    const found = forward
      ? counted
      : x.op(`${type}.sub`, [x.const(size === 8 ? 63 : 31, size), counted]);
    const binding = x.binding(0);
    if (size === 4 && binding.kind === 'reg') {
      // Written whole, so that the upper half of the destination stays when nothing is found.
      const { slot } = binding;
      x.setSlot(slot, 8, x.select(zero, x.getSlot(slot, 8), x.to64(found)));
    } else {
      x.write(0, x.select(zero, x.read(0), found));
    }
    const result = x.op('i64.or', [x.to64(found), x.const64(0x100)]);
    x.op('set_flags_raw', [x.select(zero, x.const64(0), result), x.const64(0)]);
  };
}

/** All flags but ZF are cleared. */
function liftPopcnt(x: Lifter): void {
  const value = x.read(1);
  x.write(0, x.op(x.size === 8 ? 'i64.popcnt' : 'i32.popcnt', [value]));
  // RES is 1 or 0; AUX corrects the parity of 0, which is even.
  const zero = x.to64(x.op(x.size === 8 ? 'i64.eqz' : 'i32.eqz', [value]));
  const result = x.op('i64.xor', [zero, x.const64(1)]);
  x.op('set_flags_raw', [result, x.op('i64.shl', [zero, x.const64(8)])]);
}

function liftBswap(x: Lifter): void {
  const { size } = x;
  // Of a 16-bit register Intel's parts make zero.
  if (size === 2) x.write(0, x.const32(0));
  else if (size === 4) x.write(0, swapped(x, x.read(0)));
  else {
    const value = x.read(0);
    const low = x.to64(swapped(x, x.op('i32.wrap_i64', [value])));
    const upper = x.op('i32.wrap_i64', [x.op('i64.shr_u', [value, x.const64(32)])]);
    const high = x.to64(swapped(x, upper));
    x.write(0, x.op('i64.or', [x.op('i64.shl', [low, x.const64(32)]), high]));
  }
}

/** Four bytes in reverse: odd and even ones come to their places by one rotation each. */
function swapped(x: Lifter, value: Inst): Inst {
  const even = x.op('i32.and', [x.op('i32.rotl', [value, x.const32(8)]), x.const32(0x00ff00ff)]);
  const odd = x.op('i32.and', [x.op('i32.rotr', [value, x.const32(8)]), x.const32(0xff00ff00)]);
  return x.op('i32.or', [even, odd]);
}

function liftCrc32(x: Lifter): void {
  const size = x.binding(1).size;
  const crc = x.resize(x.read(0), x.size, 4);
  const sum = x.call('crc32c', [crc, x.to64(x.read(1)), x.const32(size)]);
  x.write(0, x.resize(sum, 4, x.size));
}

function liftSahf(x: Lifter): void {
  const kept = x.op('i32.and', [x.call('arithmetic_flags'), x.const32(0x800)]);
  const moved = x.op('i32.and', [x.reg(AH, 1), x.const32(AH_FLAGS)]);
  x.call('set_arithmetic_flags', [x.op('i32.or', [kept, moved])]);
}

function liftLahf(x: Lifter): void {
  const flags = x.op('i32.and', [x.call('arithmetic_flags'), x.const32(AH_FLAGS)]);
  x.setReg(AH, 1, x.op('i32.or', [flags, x.const32(2)]));
}

function liftDirection(set: boolean): Lift {
  return (x) => {
    const flags = x.reg(S_EFLAGS, 4);
    const changedFlags = set
      ? x.op('i32.or', [flags, x.const32(DF)])
      : x.op('i32.and', [flags, x.const32(~DF)]);
    x.op('set32', [changedFlags], { slot: { fixed: S_EFLAGS } });
  };
}

export const BITS_LIFTS: Record<string, Lift> = {
  bt: bitTest('bt'),
  bts: bitTest('bts'),
  btr: bitTest('btr'),
  btc: bitTest('btc'),
  bsf: bitScan(true),
  bsr: bitScan(false),
  popcnt: liftPopcnt,
  bswap: liftBswap,
  crc32: liftCrc32,
  cmc: (x) => setCarry(x, x.cond(3)),
  clc: (x) => setCarry(x, x.const32(0)),
  stc: (x) => setCarry(x, x.const32(1)),
  sahf: liftSahf,
  lahf: liftLahf,
  cld: liftDirection(false),
  std: liftDirection(true),
  salc: (x) => x.setReg(S_RAX, 1, x.mask(x.op('i32.sub', [x.const32(0), x.cond(2)]), 1)),
};
