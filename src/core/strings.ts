import {
  ATTN_INTERRUPT,
  KEY_CODE64,
  S_ATTENTION,
  S_EFLAGS,
  S_KEY,
  S_RAX,
  S_RCX,
  S_RDI,
  S_RDX,
  S_RSI,
  S_SEGS,
  S_TF_ARMED,
  SEG_BASE,
  SEG_ES,
  SEG_FS,
  SEG_LIMIT,
  SEG_RIGHTS,
  SEG_SIZE,
} from '../ir/state.ts';
import { S_REPEATING } from '../ir/state-system.ts';
import {
  hostRead,
  hostWrite,
  probeWrite,
  read8,
  read16,
  read32,
  read64,
  spanOf,
  watched,
  write8,
  write16,
  write32,
  write64,
} from './access.ts';
import { AF, CF, DF, setArithmeticFlags, ZF } from './flags.ts';
import { seg_address, withinLimit } from './segments.ts';
import { check_io, io_in, io_out } from './system.ts';

// String instructions. Source: Intel SDM vol. 2, REP and the instructions themselves.
//
// `sizes` is the element's size, and the address size shifted by 8; `seg` the segment of the source; `rep` 0, 1 (REP,
// REPE) or 2 (REPNE). Each returns 1 when the instruction is done, 0 when it is to run again: counts and pointers stand
// at the next element then, as they do when an element faults.

// How much a call does before it has the run loop look at time and interrupts: some 20 µs of any kind of work.
const MOST: u32 = 4096;
/** Of MOVS and STOS, which do a page at a time where they can. An element that goes alone counts as many bytes. */
const MOST_BYTES: u64 = 65536;
const ALONE: u64 = 16;
/** Of INS and OUTS. */
const MOST_PORTS: u32 = 64;

/** True when a debug exception may follow each element (SDM vol. 3, 17.3.1.1 and 17.3.1.4). */
function singly(cpu: usize): bool {
  return load<u32>(cpu, S_TF_ARMED) != 0 || watched(cpu);
}

function most(cpu: usize): u32 {
  return singly(cpu) ? 1 : MOST;
}

/** What a call returns that leaves elements for the next, behind what may wait. */
function unfinished(cpu: usize): u32 {
  store<u32>(cpu, 1, S_REPEATING);
  atomic.or<u32>(cpu + S_ATTENTION, ATTN_INTERRUPT);
  return 0;
}

function maskOf(addrSize: u32): u64 {
  return addrSize == 8 ? ~0 : addrSize == 4 ? 0xffff_ffff : 0xffff;
}

function index(cpu: usize, reg: usize, addrSize: u32): u64 {
  return load<u64>(cpu + reg) & maskOf(addrSize);
}

/** Writes the address-size part of a register: 32 bits clear the upper half, 16 leave the rest. */
function setIndex(cpu: usize, reg: usize, addrSize: u32, value: u64): void {
  if (addrSize == 2) store<u16>(cpu + reg, <u16>value);
  else store<u64>(cpu + reg, value & maskOf(addrSize));
}

function linear(cpu: usize, seg: u32, offset: u64, size: u32, write: u32): u64 {
  if (!(load<u32>(cpu, S_KEY) & KEY_CODE64)) return seg_address(cpu, seg, offset, size, write);
  return seg >= <u32>SEG_FS ? offset + load<u64>(cpu + seg * SEG_SIZE, S_SEGS + SEG_BASE) : offset;
}

function readElement(cpu: usize, vaddr: u64, size: u32): u64 {
  if (size == 1) return <u64>read8(cpu, vaddr);
  if (size == 2) return <u64>read16(cpu, vaddr);
  if (size == 4) return <u64>read32(cpu, vaddr);
  return read64(cpu, vaddr);
}

function writeElement(cpu: usize, vaddr: u64, size: u32, value: u64): void {
  if (size == 1) write8(cpu, vaddr, <u32>value);
  else if (size == 2) write16(cpu, vaddr, <u32>value);
  else if (size == 4) write32(cpu, vaddr, <u32>value);
  else write64(cpu, vaddr, value);
}

function step(cpu: usize, size: u32): u64 {
  return load<u32>(cpu, S_EFLAGS) & DF ? -(<u64>size) : <u64>size;
}

function advance(cpu: usize, reg: usize, addrSize: u32, by: u64): void {
  setIndex(cpu, reg, addrSize, load<u64>(cpu + reg) + by);
}

/** One element less to do; true when more are left. */
function more(cpu: usize, addrSize: u32): bool {
  const left = (index(cpu, S_RCX, addrSize) - 1) & maskOf(addrSize);
  setIndex(cpu, S_RCX, addrSize, left);
  return left != 0;
}

/** A zero count does nothing; 32-bit address size then still leaves RCX alone. */
function nothing(cpu: usize, addrSize: u32, rep: u32): bool {
  return rep != 0 && index(cpu, S_RCX, addrSize) == 0;
}

/** Bytes of the elements left, at most what a call does, and short of where the index wraps. */
function wanted(cpu: usize, size: u32, addrSize: u32, offset: u64): u64 {
  const toWrap = maskOf(addrSize) - offset;
  const most = toWrap < MOST_BYTES ? toWrap : MOST_BYTES;
  const left = index(cpu, S_RCX, addrSize);
  return left < MOST_BYTES && left * <u64>size < most ? left * <u64>size : most;
}

/** True when an access that begins in the segment may go on for `bytes`. */
function fits(cpu: usize, seg: u32, offset: u64, bytes: u64): bool {
  if (load<u32>(cpu, S_KEY) & KEY_CODE64) return true;
  const at = cpu + seg * SEG_SIZE;
  const rights = load<u32>(at, S_SEGS + SEG_RIGHTS);
  return withinLimit(load<u32>(at, S_SEGS + SEG_LIMIT), rights, offset, <u32>bytes);
}

/** Those bytes are done. */
function less(cpu: usize, size: u32, addrSize: u32, bytes: u64): void {
  setIndex(cpu, S_RCX, addrSize, index(cpu, S_RCX, addrSize) - (bytes >> ctz(<u64>size)));
}

function moveOne(cpu: usize, size: u32, addrSize: u32, seg: u32): void {
  const from = linear(cpu, seg, index(cpu, S_RSI, addrSize), size, 0);
  const value = readElement(cpu, from, size);
  writeElement(cpu, linear(cpu, SEG_ES, index(cpu, S_RDI, addrSize), size, 1), size, value);
  const by = step(cpu, size);
  advance(cpu, S_RSI, addrSize, by);
  advance(cpu, S_RDI, addrSize, by);
}

function copyElement(target: usize, source: usize, size: u32): void {
  if (size == 1) store<u8>(target, load<u8>(source));
  else if (size == 2) store<u16>(target, load<u16>(source));
  else if (size == 4) store<u32>(target, load<u32>(source));
  else store<u64>(target, load<u64>(source));
}

/** From here on a part that does not reach its own source is worth a copy of its own. */
const WORTH_COPYING: usize = 64;

/** Copies upwards. Onto bytes yet to be read that repeats a pattern, as element by element would. */
function copy(target: usize, source: usize, size: u32, bytes: usize): void {
  const ahead = target - source;
  if (target <= source || ahead >= bytes) {
    memory.copy(target, source, bytes);
    return;
  }
  let at: usize = 0;
  if (ahead >= WORTH_COPYING) {
    const part = ahead & ~(<usize>size - 1);
    for (; bytes - at > part; at += part) memory.copy(target + at, source + at, part);
    memory.copy(target + at, source + at, bytes - at);
    return;
  }
  for (; at < bytes; at += size) copyElement(target + at, source + at, size);
}

/** Copies what lies in one piece on both sides; returns the bytes done, 0 when elements must go one by one. */
function moveRun(cpu: usize, size: u32, addrSize: u32, seg: u32): u64 {
  if (load<u32>(cpu, S_EFLAGS) & DF || singly(cpu)) return 0;
  const si = index(cpu, S_RSI, addrSize);
  const di = index(cpu, S_RDI, addrSize);
  const from = linear(cpu, seg, si, size, 0);
  const least = <u64>size * 2;
  const most = wanted(cpu, size, addrSize, si);
  if (most < least || 4096 - (from & 0xfff) < least) return 0;
  const source = hostRead(cpu, from);
  const to = linear(cpu, SEG_ES, di, size, 1);
  const toWrap = maskOf(addrSize) - di;
  if (source == 0 || 4096 - (to & 0xfff) < least) return 0;
  const target = hostWrite(cpu, to);
  if (target == 0) return 0;
  const ofSource = spanOf(cpu, from, source, toWrap < most ? toWrap : most, 0);
  const bytes = spanOf(cpu, to, target, ofSource, 1) & ~(<u64>size - 1);
  if (bytes == 0 || !fits(cpu, seg, si, bytes) || !fits(cpu, SEG_ES, di, bytes)) return 0;
  copy(target, source, size, <usize>bytes);
  advance(cpu, S_RSI, addrSize, bytes);
  advance(cpu, S_RDI, addrSize, bytes);
  less(cpu, size, addrSize, bytes);
  return bytes;
}

export function movs(cpu: usize, sizes: u32, seg: u32, rep: u32): u32 {
  const size = sizes & 0xff;
  const addrSize = sizes >> 8;
  if (rep == 0) {
    moveOne(cpu, size, addrSize, seg);
    return 1;
  }
  const limit: u64 = singly(cpu) ? 1 : MOST_BYTES;
  for (let done: u64 = 0; done < limit; ) {
    if (nothing(cpu, addrSize, rep)) return 1;
    const bytes = moveRun(cpu, size, addrSize, seg);
    done += bytes;
    if (bytes != 0) continue;
    moveOne(cpu, size, addrSize, seg);
    if (!more(cpu, addrSize)) return 1;
    done += ALONE;
  }
  return unfinished(cpu);
}

/** An element's bytes, as often as eight bytes have room. */
function repeated(size: u32, value: u64): u64 {
  if (size == 1) return (value & 0xff) * 0x0101_0101_0101_0101;
  if (size == 2) return (value & 0xffff) * 0x0001_0001_0001_0001;
  return size == 4 ? (value & 0xffff_ffff) * 0x0000_0001_0000_0001 : value;
}

function fill(target: usize, size: u32, value: u64, bytes: usize): void {
  const eight = repeated(size, value);
  if (eight == rotl(eight, 8)) {
    memory.fill(target, <u8>value, bytes);
    return;
  }
  const end = target + bytes;
  let at = target;
  for (const sixteen = i64x2.splat(eight); at + 16 <= end; at += 16) v128.store(at, sixteen);
  for (; at < end; at += size) {
    if (size == 8) store<u64>(at, value);
    else if (size == 4) store<u32>(at, <u32>value);
    else store<u16>(at, <u16>value);
  }
}

function storeOne(cpu: usize, size: u32, addrSize: u32): void {
  const to = linear(cpu, SEG_ES, index(cpu, S_RDI, addrSize), size, 1);
  writeElement(cpu, to, size, load<u64>(cpu, S_RAX));
  advance(cpu, S_RDI, addrSize, step(cpu, size));
}

function storeRun(cpu: usize, size: u32, addrSize: u32): u64 {
  if (load<u32>(cpu, S_EFLAGS) & DF || singly(cpu)) return 0;
  const di = index(cpu, S_RDI, addrSize);
  const to = linear(cpu, SEG_ES, di, size, 1);
  const least = <u64>size * 2;
  const most = wanted(cpu, size, addrSize, di);
  if (most < least || 4096 - (to & 0xfff) < least) return 0;
  const target = hostWrite(cpu, to);
  if (target == 0) return 0;
  const bytes = spanOf(cpu, to, target, most, 1) & ~(<u64>size - 1);
  if (bytes == 0 || !fits(cpu, SEG_ES, di, bytes)) return 0;
  fill(target, size, load<u64>(cpu, S_RAX), <usize>bytes);
  advance(cpu, S_RDI, addrSize, bytes);
  less(cpu, size, addrSize, bytes);
  return bytes;
}

export function stos(cpu: usize, sizes: u32, seg: u32, rep: u32): u32 {
  const size = sizes & 0xff;
  const addrSize = sizes >> 8;
  if (rep == 0) {
    storeOne(cpu, size, addrSize);
    return 1;
  }
  const limit: u64 = singly(cpu) ? 1 : MOST_BYTES;
  for (let done: u64 = 0; done < limit; ) {
    if (nothing(cpu, addrSize, rep)) return 1;
    const bytes = storeRun(cpu, size, addrSize);
    done += bytes;
    if (bytes != 0) continue;
    storeOne(cpu, size, addrSize);
    if (!more(cpu, addrSize)) return 1;
    done += ALONE;
  }
  return unfinished(cpu);
}

export function lods(cpu: usize, sizes: u32, seg: u32, rep: u32): u32 {
  const size = sizes & 0xff;
  const addrSize = sizes >> 8;
  if (nothing(cpu, addrSize, rep)) return 1;
  const limit = most(cpu);
  for (let done: u32 = 0; done < limit; done++) {
    const value = readElement(cpu, linear(cpu, seg, index(cpu, S_RSI, addrSize), size, 0), size);
    if (size == 8) store<u64>(cpu, value, S_RAX);
    else if (size == 4) store<u64>(cpu, value & 0xffff_ffff, S_RAX);
    else if (size == 2) store<u16>(cpu, <u16>value, S_RAX);
    else store<u8>(cpu, <u8>value, S_RAX);
    advance(cpu, S_RSI, addrSize, step(cpu, size));
    if (rep == 0 || !more(cpu, addrSize)) return 1;
  }
  return unfinished(cpu);
}

/** Flags of a - b for elements of `size` bytes. */
function compareFlags(cpu: usize, left: u64, right: u64, size: u32): void {
  const shift = <u64>(64 - size * 8);
  const a = left << shift;
  const b = right << shift;
  const difference = a - b;
  const low = <u32>((difference >> shift) & 0xff);
  const overflow = <u32>(((a ^ b) & (a ^ difference)) >> 63);
  setArithmeticFlags(
    cpu,
    (a < b ? CF : 0) |
      ((~popcnt<u32>(low) & 1) << 2) |
      (<u32>(left ^ right ^ (left - right)) & AF) |
      (difference == 0 ? ZF : 0) |
      ((<u32>(difference >> 63)) << 7) |
      (overflow << 11),
  );
}

function cutTo(value: u64, size: u32): u64 {
  return value & (~(<u64>0) >> <u64>(64 - size * 8));
}

/** After a comparison: true when it is the last. Flags are set then alone, so that a fault between leaves the old ones. */
function compared(cpu: usize, a: u64, b: u64, sizes: u32, rep: u32): bool {
  const left = rep != 0 && more(cpu, sizes >> 8);
  if (left && (a == b) == (rep == 1)) return false;
  compareFlags(cpu, a, b, sizes & 0xff);
  return true;
}

export function cmps(cpu: usize, sizes: u32, seg: u32, rep: u32): u32 {
  const size = sizes & 0xff;
  const addrSize = sizes >> 8;
  if (nothing(cpu, addrSize, rep)) return 1;
  const limit = most(cpu);
  for (let done: u32 = 0; done < limit; done++) {
    const a = readElement(cpu, linear(cpu, seg, index(cpu, S_RSI, addrSize), size, 0), size);
    const b = readElement(cpu, linear(cpu, SEG_ES, index(cpu, S_RDI, addrSize), size, 0), size);
    const by = step(cpu, size);
    advance(cpu, S_RSI, addrSize, by);
    advance(cpu, S_RDI, addrSize, by);
    if (compared(cpu, a, b, sizes, rep)) return 1;
  }
  return unfinished(cpu);
}

export function scas(cpu: usize, sizes: u32, seg: u32, rep: u32): u32 {
  const size = sizes & 0xff;
  const addrSize = sizes >> 8;
  if (nothing(cpu, addrSize, rep)) return 1;
  const a = cutTo(load<u64>(cpu, S_RAX), size);
  const limit = most(cpu);
  for (let done: u32 = 0; done < limit; done++) {
    const b = readElement(cpu, linear(cpu, SEG_ES, index(cpu, S_RDI, addrSize), size, 0), size);
    advance(cpu, S_RDI, addrSize, step(cpu, size));
    if (compared(cpu, a, b, sizes, rep)) return 1;
  }
  return unfinished(cpu);
}

export function ins(cpu: usize, sizes: u32, seg: u32, rep: u32): u32 {
  const size = sizes & 0xff;
  const addrSize = sizes >> 8;
  const port = <u32>load<u16>(cpu, S_RDX);
  if (nothing(cpu, addrSize, rep)) return 1;
  check_io(cpu, port, size);
  const limit: u32 = singly(cpu) ? 1 : MOST_PORTS;
  for (let done: u32 = 0; done < limit; done++) {
    const to = linear(cpu, SEG_ES, index(cpu, S_RDI, addrSize), size, 1);
    // What the port gives is lost when the store faults, so the store is tried first.
    probeWrite(cpu, to, size);
    writeElement(cpu, to, size, <u64>io_in(cpu, port, size));
    advance(cpu, S_RDI, addrSize, step(cpu, size));
    if (rep == 0 || !more(cpu, addrSize)) return 1;
  }
  return unfinished(cpu);
}

export function outs(cpu: usize, sizes: u32, seg: u32, rep: u32): u32 {
  const size = sizes & 0xff;
  const addrSize = sizes >> 8;
  const port = <u32>load<u16>(cpu, S_RDX);
  if (nothing(cpu, addrSize, rep)) return 1;
  check_io(cpu, port, size);
  const limit: u32 = singly(cpu) ? 1 : MOST_PORTS;
  for (let done: u32 = 0; done < limit; done++) {
    const value = readElement(cpu, linear(cpu, seg, index(cpu, S_RSI, addrSize), size, 0), size);
    io_out(cpu, port, size, <u32>value);
    advance(cpu, S_RSI, addrSize, step(cpu, size));
    if (rep == 0 || !more(cpu, addrSize)) return 1;
  }
  return unfinished(cpu);
}
