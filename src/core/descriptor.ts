import {
  KEY_CODE64,
  S_CPL,
  S_EFER,
  S_GDT_BASE,
  S_GDT_LIMIT,
  S_KEY,
  S_SEGS,
  SEG_BASE,
  SEG_LDTR,
  SEG_LIMIT,
  SEG_RIGHTS,
  SEG_SELECTOR,
  SEG_SIZE,
} from '../ir/state.ts';
import { S_EXT } from '../ir/state-system.ts';
import { readSystem8, readSystem64, writeSystem8 } from './access.ts';
import { GP, raiseError } from './raise.ts';

// Segment descriptors and the hidden parts of segment registers. Source: Intel SDM vol. 3, 3.4 and 3.5.

// Rights: descriptor bits 40-55 with the limit's bits masked out.
const R_ACCESSED: u32 = 1;
export const R_RW: u32 = 2; // data: writable; code: readable
export const R_EC: u32 = 4; // data: expand-down; code: conforming
export const R_CODE: u32 = 8;
export const R_S: u32 = 16; // code or data, not a system descriptor
export const R_P: u32 = 128;
export const R_L: u32 = 1 << 13;
export const R_DB: u32 = 1 << 14;
export const R_G: u32 = 1 << 15;
const R_MASK: u32 = 0xf0ff;

// Types of system descriptors (SDM vol. 3, table 3-2).
export const TYPE_TSS16: u32 = 1;
export const TYPE_LDT: u32 = 2;
export const TYPE_CALL16: u32 = 4;
export const TYPE_TASK_GATE: u32 = 5;
export const TYPE_INT16: u32 = 6;
export const TYPE_TRAP16: u32 = 7;
export const TYPE_TSS: u32 = 9;
export const TYPE_CALL: u32 = 12;
export const TYPE_INT: u32 = 14;
export const TYPE_TRAP: u32 = 15;
/** Of a TSS. */
export const TYPE_BUSY: u32 = 2;

const EFER_LMA: u64 = 1 << 10;

/** IA-32e mode: 64-bit or compatibility. */
export function longMode(cpu: usize): bool {
  return (load<u64>(cpu, S_EFER) & EFER_LMA) != 0;
}

export function code64(cpu: usize): bool {
  return (load<u32>(cpu, S_KEY) & KEY_CODE64) != 0;
}

export function cplOf(cpu: usize): u32 {
  return load<u32>(cpu, S_CPL);
}

export function segBase(cpu: usize, seg: u32): u64 {
  return load<u64>(cpu + seg * SEG_SIZE, S_SEGS + SEG_BASE);
}

export function segLimit(cpu: usize, seg: u32): u32 {
  return load<u32>(cpu + seg * SEG_SIZE, S_SEGS + SEG_LIMIT);
}

export function segRights(cpu: usize, seg: u32): u32 {
  return load<u32>(cpu + seg * SEG_SIZE, S_SEGS + SEG_RIGHTS);
}

export function segSelector(cpu: usize, seg: u32): u32 {
  return load<u32>(cpu + seg * SEG_SIZE, S_SEGS + SEG_SELECTOR);
}

export function setSegBase(cpu: usize, seg: u32, base: u64): void {
  store<u64>(cpu + seg * SEG_SIZE, base, S_SEGS + SEG_BASE);
}

export function setSegment(
  cpu: usize,
  seg: u32,
  selector: u32,
  base: u64,
  limit: u32,
  rights: u32,
): void {
  const at = cpu + seg * SEG_SIZE;
  store<u64>(at, base, S_SEGS + SEG_BASE);
  store<u32>(at, limit, S_SEGS + SEG_LIMIT);
  store<u32>(at, rights, S_SEGS + SEG_RIGHTS);
  store<u32>(at, selector, S_SEGS + SEG_SELECTOR);
}

/** Loads a segment register and its hidden part from an 8-byte descriptor. */
export function setFromDescriptor(cpu: usize, seg: u32, selector: u32, d: u64): void {
  setSegment(cpu, seg, selector, <u64>baseOf(d), limitOf(d), rightsOf(d));
}

/** A register that holds a null selector: every access through it faults. */
export function setNull(cpu: usize, seg: u32, selector: u32): void {
  setSegment(cpu, seg, selector, 0, 0, 0);
}

export function baseOf(d: u64): u32 {
  return (<u32>(d >> 16) & 0xff_ffff) | (<u32>(d >> 32) & 0xff00_0000);
}

export function limitOf(d: u64): u32 {
  const raw = (<u32>d & 0xffff) | (<u32>(d >> 32) & 0xf_0000);
  return (d >> 55) & 1 ? (raw << 12) | 0xfff : raw;
}

export function rightsOf(d: u64): u32 {
  return <u32>(d >> 40) & R_MASK;
}

export function dplOf(rights: u32): u32 {
  return (rights >> 5) & 3;
}

/** Type and S: equal to a TYPE_… for system descriptors. */
export function typeOf(rights: u32): u32 {
  return rights & 31;
}

export function isNull(selector: u32): bool {
  return (selector & 0xfffc) == 0;
}

export function isCode(rights: u32): bool {
  return (rights & (R_S | R_CODE)) == (R_S | R_CODE);
}

export function isConforming(rights: u32): bool {
  return (rights & (R_S | R_CODE | R_EC)) == (R_S | R_CODE | R_EC);
}

export function isWritableData(rights: u32): bool {
  return (rights & (R_S | R_CODE | R_RW)) == (R_S | R_RW);
}

/** An exception whose error code is a selector. Does not return. */
export function raiseSelector(cpu: usize, vector: u32, selector: u32): void {
  raiseError(cpu, vector, (selector & 0xfffc) | load<u32>(cpu, S_EXT));
}

/** An exception whose error code is 0, or EXT. Does not return. */
export function raiseZero(cpu: usize, vector: u32): void {
  raiseError(cpu, vector, load<u32>(cpu, S_EXT));
}

/** True when the descriptor of `selector` lies wholly within its table. */
export function inTable(cpu: usize, selector: u32, bytes: u32): bool {
  const last = (selector & 0xfff8) + bytes - 1;
  if (!(selector & 4)) return last <= load<u32>(cpu, S_GDT_LIMIT);
  return (segRights(cpu, SEG_LDTR) & R_P) != 0 && last <= segLimit(cpu, SEG_LDTR);
}

export function descriptorAddress(cpu: usize, selector: u32): u64 {
  const table = selector & 4 ? segBase(cpu, SEG_LDTR) : load<u64>(cpu, S_GDT_BASE);
  const at = table + (selector & 0xfff8);
  return longMode(cpu) ? at : at & 0xffff_ffff;
}

/** The descriptor; `vector` with the selector when it is out of its table. */
export function fetchDescriptor(cpu: usize, selector: u32, vector: u32): u64 {
  if (!inTable(cpu, selector, 8)) raiseSelector(cpu, vector, selector);
  return readSystem64(cpu, descriptorAddress(cpu, selector));
}

/**
 * Upper half of a 16-byte system descriptor of IA-32e mode. Its type field must be 0 (SDM vol. 3, 7.2.3), so that it is
 * no descriptor of its own.
 */
export function fetchUpper(cpu: usize, selector: u32, vector: u32): u64 {
  if (!inTable(cpu, selector, 16)) raiseSelector(cpu, vector, selector);
  const upper = readSystem64(cpu, descriptorAddress(cpu, selector) + 8);
  if (<u32>(upper >> 40) & 31) raiseSelector(cpu, vector, selector);
  return upper;
}

/** Sets the accessed bit in memory and gives the descriptor with it set. */
export function markAccessed(cpu: usize, selector: u32, d: u64): u64 {
  if ((d >> 40) & 1) return d;
  const at = descriptorAddress(cpu, selector) + 5;
  writeSystem8(cpu, at, readSystem8(cpu, at) | R_ACCESSED);
  return d | ((<u64>1) << 40);
}

/** Sets or clears the busy bit of the TSS descriptor of `selector`. */
export function setBusy(cpu: usize, selector: u32, busy: bool): void {
  const at = descriptorAddress(cpu, selector) + 5;
  const type = readSystem8(cpu, at);
  writeSystem8(cpu, at, busy ? type | TYPE_BUSY : type & ~TYPE_BUSY);
}

/** A 64-bit mode code segment has L and not D; both together are reserved (SDM vol. 3, 5.2.1). */
export function checkLongCode(cpu: usize, selector: u32, rights: u32): void {
  if (longMode(cpu) && rights & R_L && rights & R_DB) raiseSelector(cpu, GP, selector);
}
