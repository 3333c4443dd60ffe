import type { Inst, Slot } from '#ir/block.ts';
import { S_RAX, SEG_SS } from '#ir/state.ts';
import type { Lift, Lifter } from '../lifter.ts';

// Operating systems' instructions: most are one call of core/. After those that change what translated code is
// specialised by, the block ends.

/** A helper without arguments. */
function plain(helper: string): Lift {
  return (x) => {
    x.call(helper);
  };
}

function ending(lift: Lift): Lift {
  return (x) => {
    lift(x);
    x.endNext();
  };
}

/** A helper that takes the row's `arg` alone. */
function withArg(helper: string): Lift {
  return (x) => {
    x.call(helper, [x.const32(x.arg)]);
  };
}

/** A helper of ring 0 that takes a 16-bit operand: the privilege comes before what reading it may raise. */
function withWord(helper: string): Lift {
  return (x) => {
    x.call('require_ring0');
    x.call(helper, [x.read(0)]);
  };
}

function liftMovToSreg(x: Lifter): void {
  x.call('load_segment', [x.const32(x.arg), x.read(0)]);
  if (x.arg === SEG_SS) x.call('inhibit_stack');
  x.endNext();
}

/** Writes a 16-bit value, zero-extended where the operand is a wider register. */
function writeWord(x: Lifter, value: Inst): void {
  x.write(0, x.size === 8 ? x.to64(value) : value);
}

function liftMovFromSreg(x: Lifter): void {
  writeWord(x, x.call('segment_selector', [x.const32(x.arg)]));
}

function liftPushSreg(x: Lifter): void {
  const selector = x.call('segment_selector', [x.const32(x.arg)]);
  x.push(x.opSize === 8 ? x.to64(selector) : selector, x.opSize);
}

function liftPopSreg(x: Lifter): void {
  const value = x.top(2);
  x.call('load_segment', [x.const32(x.arg), value]);
  x.popped(x.opSize);
  if (x.arg === SEG_SS) x.call('inhibit_stack');
  x.endNext();
}

/** LDS and its kin: the segment can fault, so the register comes last. */
function liftLoadFar(x: Lifter): void {
  const at = x.address();
  const offset = x.load(at, x.opSize);
  const selector = x.load(x.op('i64.add', [at, x.const64(x.opSize)]), 2);
  x.call('load_segment', [x.const32(x.arg), selector]);
  x.write(0, offset);
  x.endNext();
}

function liftStoreSystem(x: Lifter): void {
  writeWord(x, x.call('store_system', [x.const32(x.arg)]));
}

function liftVerify(x: Lifter): void {
  x.call('verify_segment', [x.read(0), x.const32(x.arg)]);
}

function liftStoreTable(x: Lifter): void {
  x.call('store_table', [x.address(), x.const32(x.arg)]);
}

function liftLoadTable(x: Lifter): void {
  x.call('load_table', [x.address(), x.const32(x.opSize), x.const32(x.arg)]);
}

function destination(x: Lifter): Slot {
  const b = x.binding(0);
  if (b.kind !== 'reg') throw new Error(`lift ${x.cx.name}: destination is ${b.kind}`);
  return b.slot;
}

/** LAR and LSL: the helper leaves in ZF whether the destination is written. */
function examine(helper: 'lar' | 'lsl'): Lift {
  return (x) => {
    const slot = destination(x);
    const value = x.to64(x.call(helper, [x.read(1)]));
    const old = x.getSlot(slot, 8);
    const kept = x.op('i64.and', [old, x.const64(~0xffffn)]);
    const low = x.op('i64.and', [value, x.const64(0xffff)]);
    const written = x.size === 2 ? x.op('i64.or', [kept, low]) : value;
    x.setSlot(slot, 8, x.select(x.cond(4), written, old));
  };
}

function liftArpl(x: Lifter): void {
  const target = x.readForWrite(0);
  x.write(0, x.call('arpl', [target, x.read(1)]));
}

/** MOV from a control or debug register. */
function fromRegister(helper: string): Lift {
  return (x) => {
    const value = x.call(helper, [x.imm(1)]);
    x.write(0, x.size === 8 ? value : x.op('i32.wrap_i64', [value]));
  };
}

function toRegister(helper: string): Lift {
  return (x) => {
    x.call(helper, [x.imm(0), x.to64(x.read(1))]);
    x.endNext();
  };
}

function liftSmsw(x: Lifter): void {
  const value = x.call('smsw');
  x.write(0, x.resize(value, 8, x.size));
}

function liftInvlpg(x: Lifter): void {
  x.call('invlpg', [x.address()]);
  x.endNext();
}

function liftInvpcid(x: Lifter): void {
  x.call('invpcid', [x.to64(x.read(0)), x.address()]);
  x.endNext();
}

function liftReadBase(x: Lifter): void {
  const value = x.call('read_segment_base', [x.const32(x.arg)]);
  x.write(0, x.resize(value, 8, x.size));
}

function liftWriteBase(x: Lifter): void {
  x.call('write_segment_base', [x.const32(x.arg), x.to64(x.read(0))]);
}

function liftPushf(x: Lifter): void {
  const value = x.call('pushf_value', [x.const32(x.opSize)]);
  x.push(x.resize(value, 8, x.opSize), x.opSize);
}

/** POPF. Its own checks come after the read of the stack and before RSP moves. */
function liftPopf(x: Lifter): void {
  const value = x.resize(x.top(x.opSize), x.opSize, 4);
  x.call('popf', [value, x.const32(x.opSize)]);
  x.popped(x.opSize);
  x.endNext();
}

/** IN and OUT know no operand of 8 bytes. */
function portSize(x: Lifter): number {
  if (x.arg === 1) return 1;
  return x.opSize === 2 ? 2 : 4;
}

function liftIn(x: Lifter): void {
  const size = portSize(x);
  x.setReg(S_RAX, size, x.call('io_in', [x.read(0), x.const32(size)]));
}

function liftOut(x: Lifter): void {
  const size = portSize(x);
  x.call('io_out', [x.read(0), x.const32(size), x.reg(S_RAX, size)]);
}

/** RDRAND and RDSEED always succeed: CF is set, the other flags cleared. */
function liftRandom(x: Lifter): void {
  x.write(0, x.resize(x.call('random64'), 8, x.size));
  x.call('set_arithmetic_flags', [x.const32(1)]);
}

export const SYSTEM_LIFTS: Readonly<Record<string, Lift>> = {
  mov_to_sreg: liftMovToSreg,
  mov_from_sreg: liftMovFromSreg,
  push_sreg: liftPushSreg,
  pop_sreg: liftPopSreg,
  load_far: liftLoadFar,
  store_system: liftStoreSystem,
  lldt: withWord('lldt'),
  ltr: withWord('ltr'),
  verify_segment: liftVerify,
  store_table: liftStoreTable,
  load_table: liftLoadTable,
  lar: examine('lar'),
  lsl: examine('lsl'),
  arpl: liftArpl,
  mov_from_cr: fromRegister('mov_from_cr'),
  mov_from_dr: fromRegister('mov_from_dr'),
  mov_to_cr: toRegister('mov_to_cr'),
  mov_to_dr: toRegister('mov_to_dr'),
  smsw: liftSmsw,
  lmsw: ending(withWord('lmsw')),
  clts: ending(plain('clts')),
  invlpg: liftInvlpg,
  invpcid: liftInvpcid,
  wrmsr: ending(plain('wrmsr')),
  rdmsr: plain('rdmsr'),
  swapgs: plain('swapgs'),
  read_segment_base: liftReadBase,
  write_segment_base: liftWriteBase,
  pushf: liftPushf,
  popf: liftPopf,
  cli: plain('cli'),
  sti: ending(plain('sti')),
  set_ac: withArg('set_ac'),
  hlt: ending(plain('hlt')),
  in: liftIn,
  out: liftOut,
  rdtsc: plain('rdtsc'),
  rdtscp: plain('rdtscp'),
  rdpmc: plain('rdpmc'),
  cpuid: plain('cpuid'),
  random: liftRandom,
  cache: plain('require_ring0'),
  monitor: plain('monitor'),
  mwait: plain('mwait'),
};
