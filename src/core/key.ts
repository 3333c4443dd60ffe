import {
  A_TLB,
  A_TLB_NONE,
  ATTN_STEP,
  KEY_ALIGN,
  KEY_CODE32,
  KEY_CODE64,
  KEY_FLAT,
  KEY_NO_FPU,
  KEY_NO_SSE,
  KEY_PROTECTED,
  KEY_STACK32,
  KEY_STACK64,
  KEY_STEP,
  KEY_USER,
  KEY_VM86,
  S_AREA,
  S_ATTENTION,
  S_CPL,
  S_CR0,
  S_CR4,
  S_DATA_MODE,
  S_DR7,
  S_EFER,
  S_EFLAGS,
  S_INHIBIT,
  S_KEY,
  S_REGS,
  S_SEGS,
  S_TF_ARMED,
  S_TLB_READ,
  S_TLB_WRITE,
  SEG_BASE,
  SEG_CS,
  SEG_DS,
  SEG_ES,
  SEG_LIMIT,
  SEG_RIGHTS,
  SEG_SIZE,
  SEG_SS,
  TLB_BYTES,
  TLB_MODE_SMAP,
  TLB_MODE_SUPERVISOR,
  TLB_MODE_USER,
} from '../ir/state.ts';
import { S_TRACE, TRACE_INSN } from '../ir/state-system.ts';
import { AC, TF, VM } from './flags.ts';
import { selectJumps } from './tlb.ts';

// Segment rights. Source: Intel SDM vol. 3, 3.4.5, with descriptor bit 40 as bit 0.
const RIGHTS_P: u32 = 1 << 7;
const RIGHTS_CODE: u32 = 1 << 3;
const RIGHTS_EXPAND_DOWN: u32 = 1 << 2;
const RIGHTS_RW: u32 = 1 << 1;
const RIGHTS_L: u32 = 1 << 13;
const RIGHTS_DB: u32 = 1 << 14;

const CR0_PE: u64 = 1;
const CR0_EM: u64 = 4;
const CR0_TS: u64 = 8;
const CR0_AM: u64 = 1 << 18;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_SMAP: u64 = 1 << 21;
const EFER_LMA: u64 = 1 << 10;

function rights(cpu: usize, seg: u32): u32 {
  return load<u32>(cpu + seg * SEG_SIZE, S_SEGS + SEG_RIGHTS);
}

/** A data segment that needs no check and no addition. */
function isFlat(cpu: usize, seg: u32): bool {
  const at = cpu + seg * SEG_SIZE;
  const want = RIGHTS_P | RIGHTS_RW;
  return (
    load<u64>(at, S_SEGS + SEG_BASE) == 0 &&
    load<u32>(at, S_SEGS + SEG_LIMIT) == 0xffff_ffff &&
    (rights(cpu, seg) & (want | RIGHTS_EXPAND_DOWN | RIGHTS_CODE)) == want
  );
}

function isFlatCode(cpu: usize): bool {
  const at = cpu + SEG_CS * SEG_SIZE;
  return (
    load<u64>(at, S_SEGS + SEG_BASE) == 0 &&
    load<u32>(at, S_SEGS + SEG_LIMIT) == 0xffff_ffff &&
    (rights(cpu, SEG_CS) & RIGHTS_RW) != 0
  );
}

/** KEY_ bits for the sizes of code and stack and for flat segments. */
function sizeBits(cpu: usize): u32 {
  const cs = rights(cpu, SEG_CS);
  if (load<u64>(cpu, S_EFER) & EFER_LMA && cs & RIGHTS_L)
    return KEY_CODE64 | KEY_STACK64 | KEY_FLAT;
  let key: u32 = 0;
  if (cs & RIGHTS_DB) key |= KEY_CODE32;
  if (rights(cpu, SEG_SS) & RIGHTS_DB) key |= KEY_STACK32;
  if (isFlat(cpu, SEG_DS) && isFlat(cpu, SEG_ES) && isFlat(cpu, SEG_SS) && isFlatCode(cpu))
    key |= KEY_FLAT;
  return key;
}

/** KEY_ bits for the mode, the privilege and the units that are off. */
function modeBits(cpu: usize, cpl: u32, flags: u32): u32 {
  const cr0 = load<u64>(cpu, S_CR0);
  let key: u32 = 0;
  if (flags & VM) key |= KEY_VM86;
  else if (cr0 & CR0_PE) key |= KEY_PROTECTED;
  if (cpl == 3) key |= KEY_USER;
  const off = (cr0 & (CR0_EM | CR0_TS)) != 0;
  if (off) key |= KEY_NO_FPU;
  if (off || !(load<u64>(cpu, S_CR4) & CR4_OSFXSR)) key |= KEY_NO_SSE;
  return key;
}

/** True while each instruction boundary must be looked at. */
function stepping(cpu: usize, flags: u32, breakpoints: bool): bool {
  if ((flags & TF) != 0 || breakpoints) return true;
  if ((load<u32>(cpu, S_TRACE) & TRACE_INSN) != 0) return true;
  return load<u32>(cpu, S_INHIBIT) != 0 || load<u32>(cpu, S_TF_ARMED) != 0;
}

/** Recomputes what translated code is specialised by, after a change of CPL, a segment, CR0, CR4, EFER, TF, AC, VM or DR7. */
export function updateKey(cpu: usize): void {
  const flags = load<u32>(cpu, S_EFLAGS);
  const cpl = load<u32>(cpu, S_CPL);
  let key = sizeBits(cpu) | modeBits(cpu, cpl, flags);
  const align = cpl == 3 && (load<u64>(cpu, S_CR0) & CR0_AM) != 0 && (flags & AC) != 0;
  if (align) key |= KEY_ALIGN;
  const breakpoints = (load<u64>(cpu, S_DR7) & 0xff) != 0;
  const step = stepping(cpu, flags, breakpoints);
  if (step) key |= KEY_STEP;
  if (load<u32>(cpu, S_KEY) & ~key & KEY_CODE64) clearUpperHalves(cpu);
  store<u32>(cpu, key, S_KEY);
  selectJumps(cpu);
  setAttention(cpu, step);
  selectTlb(cpu, cpl, load<u64>(cpu, S_CR4), flags, align || breakpoints);
}

/** Registers that 32-bit code has keep nothing above (SDM vol. 1, 3.4.1.1): translated code has locals of 32 bits for them. */
function clearUpperHalves(cpu: usize): void {
  for (let i: u32 = 0; i < 8; i++) store<u32>(cpu + i * 8, 0, S_REGS + 4);
}

function setAttention(cpu: usize, step: bool): void {
  if (step) atomic.or<u32>(cpu + S_ATTENTION, ATTN_STEP);
  else if (load<u32>(cpu, S_ATTENTION) & ATTN_STEP) atomic.and<u32>(cpu + S_ATTENTION, ~ATTN_STEP);
}

function selectTlb(cpu: usize, cpl: u32, cr4: u64, flags: u32, watched: bool): void {
  let mode: u32 = TLB_MODE_USER;
  if (cpl != 3) mode = cr4 & CR4_SMAP && !(flags & AC) ? TLB_MODE_SMAP : TLB_MODE_SUPERVISOR;
  store<u32>(cpu, mode, S_DATA_MODE);
  const area = load<u32>(cpu, S_AREA);
  const read = watched ? area + A_TLB_NONE : area + A_TLB + mode * 2 * TLB_BYTES;
  store<u32>(cpu, read, S_TLB_READ);
  store<u32>(cpu, watched ? read : read + TLB_BYTES, S_TLB_WRITE);
}
