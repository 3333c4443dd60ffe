import {
  A_ANY_KEPT,
  A_CODE_NODES,
  A_CODE_ROOTS,
  A_CODE_TEMPLATES,
  A_FALL_THROUGH,
  A_KEPT,
  A_NEW_HEAT,
  B_BYTES,
  B_CHAIN,
  B_COUNT,
  B_HEADER,
  B_HEAT,
  B_KEY,
  B_PADDR,
  B_PADDR2,
  B_RECORDS,
  BLOCK_INSNS,
  BLOCK_RECORDS,
  CODE_LEAF,
  CODE_NODE_BYTES,
  HEAT_KEPT,
  HEAT_START,
  HEAT_START_USER,
  KEPT_ENTRIES,
  KEY_CODE64,
  KEY_FLAT,
  KEY_STEP,
  KEY_USER,
  PAGE_RAM,
  PAGE_ROM,
  REC_DISP,
  REC_NEXT,
  REC_SIZE,
  REC_START,
  S_AREA,
  S_PAGE_MAP,
  S_RAM_HOST,
  T_ADD,
  T_AT,
  T_COUNT,
  T_DISP,
  T_ENDS,
  T_FROM_NEXT,
  T_HOW,
  T_IMM,
  T_KEY,
  T_LENGTH,
  T_RECORDS,
  T_SIGNED,
  T_SIZE,
  T_TO,
  T_UNIT,
  T_UNIT_SHIFT,
  T_WIDE,
  TEMPLATE_BYTES,
} from '../ir/state.ts';
import { learn_insn } from './host.ts';

// Predecodes code. It knows nothing of x86: cpu/insn-templates.ts has put what the predecoder made of an instruction under the
// bytes that say so, its displacement and its immediate aside, and an instruction that has not been met is asked for.

const HASH_BASIS: u32 = 0x811c9dc5;
const HASH_PRIME: u32 = 0x01000193;

/** What a block may take at most. */
export const BLOCK_BYTES: u32 = B_HEADER + BLOCK_RECORDS * REC_SIZE;

/** True where a block of code at `paddr` may be made from templates. */
function isPlain(cpu: usize, paddr: u32, key: u32): bool {
  if ((key & KEY_STEP) != 0 || (key & (KEY_CODE64 | KEY_FLAT)) == 0) return false;
  return (load<u8>(load<u32>(cpu, S_PAGE_MAP) + (paddr >> 12)) & (PAGE_RAM | PAGE_ROM)) == PAGE_RAM;
}

/** In place of the template of an instruction that goes on beyond the page, behind which there may be no memory. */
const CROSSES: usize = 1;

/** The template of the instruction at `at`; 0 where there is none, CROSSES where its bytes go on at `end`. */
function templateAt(area: usize, key: u32, at: usize, end: usize): usize {
  let child = <u32>load<u16>(area + A_CODE_ROOTS + (key & T_KEY) * 2);
  if (child == 0) return 0;
  do {
    if (at >= end) return CROSSES;
    child = load<u16>(area + A_CODE_NODES + child * CODE_NODE_BYTES + ((<u32>load<u8>(at++)) << 1));
    if (child == 0) return 0;
  } while (child < <u32>CODE_LEAF);
  return area + A_CODE_TEMPLATES + (child - CODE_LEAF) * TEMPLATE_BYTES;
}

/** The same, learnt when it has not been met; 0 where the instruction is not made from a template, or its unit is off. */
function templateOf(cpu: usize, key: u32, at: usize, end: usize): usize {
  const area = <usize>load<u32>(cpu, S_AREA);
  let template = templateAt(area, key, at, end);
  if (template == 0 && learn_insn(<u32>at, <u32>end, key) != 0)
    template = templateAt(area, key, at, end);
  if (template <= CROSSES) return template;
  return ((<u32>load<u8>(template, T_UNIT)) << T_UNIT_SHIFT) & key ? 0 : template;
}

/** The number in the code at `at`. */
function numberAt(at: usize, size: u32, isSigned: bool): i64 {
  if (size == 1) return isSigned ? load<i8>(at) : load<u8>(at);
  if (size == 2) return isSigned ? load<i16>(at) : load<u16>(at);
  if (size == 4) return isSigned ? load<i32>(at) : load<u32>(at);
  return load<i64>(at);
}

/** Puts one part of the instruction at `at`, which ends at `next` in the block, into its records. */
function putPart(part: usize, at: usize, next: u32, rec: usize, add: i32): void {
  const size = <u32>load<u8>(part, T_SIZE);
  if (size == 0) return;
  const how = <u32>load<u8>(part, T_HOW);
  const value = numberAt(at + load<u8>(part, T_AT), size, (how & T_SIGNED) != 0);
  const to = rec + load<u8>(part, T_TO);
  if (how & T_WIDE) store<i64>(to, value);
  else store<i32>(to, <i32>value + add + (how & T_FROM_NEXT ? next : 0));
}

/** Lays the records of one instruction, at `offset` in the block, at `rec`; returns where the next go. */
function putInsn(template: usize, at: usize, offset: u32, rec: usize): usize {
  const next = offset + load<u8>(template, T_LENGTH);
  const count = <u32>load<u8>(template, T_COUNT);
  let to = rec;
  for (let i: u32 = 0; i < count; i++) {
    memory.copy(to, template + T_RECORDS + i * REC_SIZE, REC_SIZE);
    store<u16>(to, <u16>offset + load<u16>(to, REC_START), REC_START);
    store<u16>(to, <u16>next, REC_NEXT);
    to += REC_SIZE;
  }
  putPart(template + T_DISP, at, next, rec, load<i32>(template, T_ADD));
  putPart(template + T_IMM, at, next, rec, 0);
  return to;
}

/** Whether a region of an earlier run may be entered at the code. The hash is that of cpu/kept-regions.ts. */
function mayBeKept(area: usize, from: usize, to: usize, key: u32): bool {
  let hash = HASH_BASIS ^ key;
  for (let at = from; at < to; at++) hash = (hash ^ load<u8>(at)) * HASH_PRIME;
  if (hash == 0) hash = 1;
  let i = hash;
  let found: u32;
  do {
    found = load<u32>(area + A_KEPT + (i++ & (KEPT_ENTRIES - 1)) * 4);
  } while (found != hash && found != 0);
  return found != 0;
}

function heatOf(area: usize, from: usize, to: usize, key: u32): i32 {
  const heat = load<i32>(area, A_NEW_HEAT);
  if (heat != HEAT_START) return heat;
  const start = key & KEY_USER ? HEAT_START_USER : HEAT_START;
  if (load<u32>(area, A_ANY_KEPT) == 0) return start;
  return mayBeKept(area, from, to, key) ? HEAT_KEPT : start;
}

/**
 * Makes the block of the code at `paddr` for `key` at `block`, where BLOCK_BYTES are free. Returns its records; 0 where the
 * predecoder has to make it.
 */
export function block_of_templates(cpu: usize, paddr: u32, key: u32, block: usize): u32 {
  if (!isPlain(cpu, paddr, key)) return 0;
  const area = <usize>load<u32>(cpu, S_AREA);
  const start = <usize>load<u32>(cpu, S_RAM_HOST) + paddr;
  const end = start + 4096 - (paddr & 0xfff);
  let at = start;
  let rec = block + B_HEADER;
  let insns: u32 = 0;
  let ends = false;
  while (!ends && at < end && insns < <u32>BLOCK_INSNS) {
    const template = templateOf(cpu, key, at, end);
    if (template == 0) return 0;
    if (template == CROSSES || at + load<u8>(template, T_LENGTH) > end) {
      if (insns == 0) return 0;
      break;
    }
    const length = <u32>load<u8>(template, T_LENGTH);
    rec = putInsn(template, at, <u32>(at - start), rec);
    ends = load<u8>(template, T_ENDS) != 0;
    at += length;
    insns++;
  }
  const bytes = <u32>(at - start);
  memory.copy(rec, area + A_FALL_THROUGH, REC_SIZE);
  store<u16>(rec, <u16>bytes, REC_START);
  store<u16>(rec, <u16>bytes, REC_NEXT);
  store<u32>(rec, bytes, REC_DISP);
  const records = <u32>(rec + REC_SIZE - block - B_HEADER) / REC_SIZE;
  store<u32>(block, paddr, B_PADDR);
  store<u32>(block, key, B_KEY);
  store<u32>(block, insns, B_COUNT);
  store<u32>(block, 0, B_CHAIN);
  store<u32>(block, records, B_RECORDS);
  store<u32>(block, 0, B_PADDR2);
  store<u32>(block, bytes, B_BYTES);
  store<i32>(block, heatOf(area, start, at, key), B_HEAT);
  return records;
}
