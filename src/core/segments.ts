import {
  KEY_CODE64,
  KEY_PROTECTED,
  KEY_VM86,
  REC_BASE,
  REC_DISP,
  REC_IMM,
  REC_INDEX,
  REC_SEG,
  REC_SHIFT,
  S_CPL,
  S_EA,
  S_GDT_BASE,
  S_GDT_LIMIT,
  S_IDT_BASE,
  S_IDT_LIMIT,
  S_INHIBIT,
  S_KEY,
  SEG_FS,
  SEG_GS,
  SEG_LDTR,
  SEG_SS,
  SEG_TR,
} from '../ir/state.ts';
import { INHIBIT_SS } from '../ir/state-system.ts';
import { read16, read32, read64, readSystem64, write16, write32, write64 } from './access.ts';
import {
  baseOf,
  code64,
  cplOf,
  descriptorAddress,
  dplOf,
  fetchDescriptor,
  fetchUpper,
  inTable,
  isCode,
  isConforming,
  isNull,
  isWritableData,
  limitOf,
  longMode,
  markAccessed,
  R_CODE,
  R_DB,
  R_EC,
  R_P,
  R_RW,
  R_S,
  raiseSelector,
  raiseZero,
  rightsOf,
  segBase,
  segLimit,
  segRights,
  segSelector,
  setBusy,
  setFromDescriptor,
  setNull,
  setSegment,
  TYPE_BUSY,
  TYPE_CALL,
  TYPE_CALL16,
  TYPE_LDT,
  TYPE_TASK_GATE,
  TYPE_TSS,
  TYPE_TSS16,
  typeOf,
} from './descriptor.ts';
import { arithmeticFlags, setArithmeticFlags, ZF } from './flags.ts';
import { updateKey } from './key.ts';
import { isCanonical } from './paging.ts';
import { GP, NP, raise, SS, UD } from './raise.ts';

// Loading and using segment registers. Source: Intel SDM vol. 2, MOV, LDS, LAR, LSL, VERR; vol. 3, chapter 5.

/** Present, DPL 3, writable data, accessed: every segment in virtual-8086 mode. */
const RIGHTS_VM86: u32 = 0xf3;
const RIGHTS_REAL: u32 = 0x93;

export function protectedMode(cpu: usize): bool {
  return (load<u32>(cpu, S_KEY) & KEY_PROTECTED) != 0;
}

export function vm86(cpu: usize): bool {
  return (load<u32>(cpu, S_KEY) & KEY_VM86) != 0;
}

/** Loads a segment register in real or virtual-8086 mode. Real mode keeps the limit: "unreal" mode lives on that. */
export function loadPlainSegment(cpu: usize, seg: u32, selector: u32): void {
  const base = <u64>(selector << 4);
  if (vm86(cpu)) {
    setSegment(cpu, seg, selector, base, 0xffff, RIGHTS_VM86);
    return;
  }
  const old = segRights(cpu, seg);
  const limit = old & R_P ? segLimit(cpu, seg) : 0xffff;
  setSegment(cpu, seg, selector, base, limit, RIGHTS_REAL | (old & R_DB));
}

/** Checks a selector and descriptor for SS at `cpl`: `vector` for what is wrong, #SS when not present. */
export function checkStackSegment(cpu: usize, selector: u32, d: u64, cpl: u32, vector: u32): void {
  const rights = rightsOf(d);
  if ((selector & 3) != cpl || !isWritableData(rights) || dplOf(rights) != cpl)
    raiseSelector(cpu, vector, selector);
  if (!(rights & R_P)) raiseSelector(cpu, SS, selector);
}

function loadStackSegment(cpu: usize, selector: u32): void {
  const cpl = cplOf(cpu);
  if (isNull(selector)) {
    if (!code64(cpu) || cpl == 3 || (selector & 3) != cpl) raiseZero(cpu, GP);
    setNull(cpu, SEG_SS, selector);
    return;
  }
  const d = fetchDescriptor(cpu, selector, GP);
  checkStackSegment(cpu, selector, d, cpl, GP);
  setFromDescriptor(cpu, SEG_SS, selector, markAccessed(cpu, selector, d));
}

/** Checks and loads ES, DS, FS or GS at `cpl`; `vector` is #GP, or #TS in a task switch. */
export function loadDataSegment(cpu: usize, seg: u32, selector: u32, cpl: u32, vector: u32): void {
  if (isNull(selector)) {
    setNull(cpu, seg, selector);
    return;
  }
  const d = fetchDescriptor(cpu, selector, vector);
  const rights = rightsOf(d);
  const readable = (rights & R_S) != 0 && (!(rights & R_CODE) || (rights & R_RW) != 0);
  if (!readable) raiseSelector(cpu, vector, selector);
  const dpl = dplOf(rights);
  if (!isConforming(rights) && ((selector & 3) > dpl || cpl > dpl))
    raiseSelector(cpu, vector, selector);
  if (!(rights & R_P)) raiseSelector(cpu, NP, selector);
  setFromDescriptor(cpu, seg, selector, markAccessed(cpu, selector, d));
}

/** MOV and POP to a segment register other than CS, and the far pointer loads. */
export function load_segment(cpu: usize, seg: u32, value: u32): void {
  const selector = value & 0xffff;
  if (!protectedMode(cpu)) loadPlainSegment(cpu, seg, selector);
  else if (seg == SEG_SS) loadStackSegment(cpu, selector);
  else loadDataSegment(cpu, seg, selector, cplOf(cpu), GP);
  updateKey(cpu);
}

/** No interrupt and no debug trap before the next instruction has run: what MOV SS and POP SS leave. */
export function inhibit_stack(cpu: usize): void {
  store<u32>(cpu, INHIBIT_SS, S_INHIBIT);
  updateKey(cpu);
}

export function segment_selector(cpu: usize, seg: u32): u32 {
  return segSelector(cpu, seg) & 0xffff;
}

/** True when [offset, offset + size) is within the segment. */
export function withinLimit(limit: u32, rights: u32, offset: u64, size: u32): bool {
  const last = offset + size - 1;
  if ((rights & (R_S | R_CODE | R_EC)) != (R_S | R_EC)) return last <= <u64>limit;
  return offset > <u64>limit && last <= (rights & R_DB ? 0xffff_ffff : 0xffff);
}

function checkSegment(cpu: usize, seg: u32, offset: u64, size: u32, write: u32): void {
  const vector = seg == SEG_SS ? SS : GP;
  const rights = segRights(cpu, seg);
  if (protectedMode(cpu)) {
    if (!(rights & R_P)) raiseZero(cpu, vector);
    if (write ? !isWritableData(rights) : (rights & (R_CODE | R_RW)) == R_CODE) raiseZero(cpu, GP);
  }
  if (size != 0 && !withinLimit(segLimit(cpu, seg), rights, offset, size)) raiseZero(cpu, vector);
}

/**
 * Linear address of `offset` in a segment, after the checks of an access of `size` bytes; `size` 0 leaves out that of
 * the limit. #GP(0), or #SS(0) through SS.
 */
export function seg_address(cpu: usize, seg: u32, offset: u64, size: u32, write: u32): u64 {
  if (load<u32>(cpu, S_KEY) & KEY_CODE64) {
    const linear = seg == SEG_FS || seg == SEG_GS ? segBase(cpu, seg) + offset : offset;
    if (size != 0 && !(isCanonical(linear) && isCanonical(linear + size - 1)))
      raiseZero(cpu, seg == SEG_SS ? SS : GP);
    return linear;
  }
  checkSegment(cpu, seg, offset, size, write);
  return (segBase(cpu, seg) + offset) & 0xffff_ffff;
}

/** What the bit index of BT adds to its address: whole operands of `size` bytes. */
function bitOffset(cpu: usize, rec: usize, size: u32): u64 {
  const at = cpu + <usize>load<u8>(rec, REC_IMM + 5);
  const index = size == 8 ? load<i64>(at) : size == 4 ? <i64>load<i32>(at) : <i64>load<i16>(at);
  const shift: i64 = size == 8 ? 6 : size == 4 ? 5 : 4;
  return <u64>((index >> shift) * <i64>size);
}

/** An address record in its general form: what REC_IMM holds is said in ir/state.ts. */
export function ea_segmented(cpu: usize, rec: usize): void {
  const base = load<u64>(cpu + <usize>load<u8>(rec, REC_BASE));
  const index = load<u64>(cpu + <usize>load<u8>(rec, REC_INDEX)) << (<u64>load<u8>(rec, REC_SHIFT));
  let offset = base + index + <u64>(<i64>load<i32>(rec, REC_DISP));
  const bits = load<u8>(rec, REC_IMM + 4);
  if (bits != 0) offset += bitOffset(cpu, rec, bits);
  const addressSize = load<u8>(rec, REC_IMM + 2);
  if (addressSize == 2) offset &= 0xffff;
  else if (addressSize == 4) offset &= 0xffff_ffff;
  if (!load<u8>(rec, REC_IMM + 3)) {
    offset = seg_address(
      cpu,
      load<u8>(rec, REC_SEG),
      offset,
      load<u8>(rec, REC_IMM),
      load<u8>(rec, REC_IMM + 1),
    );
  }
  store<u64>(cpu, offset, S_EA);
}

function requireProtected(cpu: usize): void {
  if (!protectedMode(cpu)) raise(cpu, UD);
}

function requireRing0(cpu: usize): void {
  if (load<u32>(cpu, S_CPL) != 0) raiseZero(cpu, GP);
}

export function lldt(cpu: usize, value: u32): void {
  requireProtected(cpu);
  requireRing0(cpu);
  const selector = value & 0xffff;
  if (isNull(selector)) {
    setNull(cpu, SEG_LDTR, selector);
    return;
  }
  loadLdt(cpu, selector, GP, NP);
}

/** Checks and loads LDTR; the vectors are those of LLDT or of a task switch. */
export function loadLdt(cpu: usize, selector: u32, vector: u32, absent: u32): void {
  if (selector & 4) raiseSelector(cpu, vector, selector);
  const d = fetchDescriptor(cpu, selector, vector);
  if (typeOf(rightsOf(d)) != TYPE_LDT) raiseSelector(cpu, vector, selector);
  const upper = longMode(cpu) ? fetchUpper(cpu, selector, vector) : 0;
  if (!(rightsOf(d) & R_P)) raiseSelector(cpu, absent, selector);
  const base = <u64>baseOf(d) | (upper << 32);
  if (!isCanonical(base)) raiseZero(cpu, vector);
  setSegment(cpu, SEG_LDTR, selector, base, limitOf(d), rightsOf(d));
}

export function ltr(cpu: usize, value: u32): void {
  requireProtected(cpu);
  requireRing0(cpu);
  const selector = value & 0xffff;
  if (isNull(selector)) raiseZero(cpu, GP);
  if (selector & 4) raiseSelector(cpu, GP, selector);
  const d = fetchDescriptor(cpu, selector, GP);
  const type = typeOf(rightsOf(d));
  const available = type == TYPE_TSS || (type == TYPE_TSS16 && !longMode(cpu));
  if (!available) raiseSelector(cpu, GP, selector);
  const upper = longMode(cpu) ? fetchUpper(cpu, selector, GP) : 0;
  if (!(rightsOf(d) & R_P)) raiseSelector(cpu, NP, selector);
  const base = <u64>baseOf(d) | (upper << 32);
  if (!isCanonical(base)) raiseZero(cpu, GP);
  setBusy(cpu, selector, true);
  setSegment(cpu, SEG_TR, selector, base, limitOf(d), rightsOf(d) | TYPE_BUSY);
}

/** SLDT and STR. */
export function store_system(cpu: usize, seg: u32): u32 {
  requireProtected(cpu);
  return segSelector(cpu, seg) & 0xffff;
}

function setZero(cpu: usize, zero: bool): void {
  const flags = arithmeticFlags(cpu);
  setArithmeticFlags(cpu, zero ? flags | ZF : flags & ~ZF);
}

/** The descriptor when the selector is of a visible one, else 0. No descriptor that may be asked for is 0. */
function visible(cpu: usize, selector: u32): u64 {
  if (isNull(selector) || !inTable(cpu, selector, 8)) return 0;
  const d = readSystem64(cpu, descriptorAddress(cpu, selector));
  const rights = rightsOf(d);
  if (isConforming(rights)) return d;
  const dpl = dplOf(rights);
  return cplOf(cpu) > dpl || (selector & 3) > dpl ? 0 : d;
}

/** Bit t of the masks: system type t is valid for the instruction (SDM vol. 2, tables 3-53 and 3-56). */
function hasType(cpu: usize, rights: u32, gates: bool): bool {
  if (rights & R_S) return true;
  const type = typeOf(rights);
  const tss = (type & ~TYPE_BUSY) == TYPE_TSS;
  if (type == TYPE_LDT || tss) return true;
  if (type == TYPE_CALL) return gates;
  if (longMode(cpu)) return false;
  if ((type & ~TYPE_BUSY) == TYPE_TSS16) return true;
  return gates && (type == TYPE_CALL16 || type == TYPE_TASK_GATE);
}

/** LAR: the access rights, with ZF set; 0 and ZF clear when they may not be seen. */
export function lar(cpu: usize, value: u32): u32 {
  requireProtected(cpu);
  const d = visible(cpu, value & 0xffff);
  const ok = d != 0 && hasType(cpu, rightsOf(d), true);
  setZero(cpu, ok);
  return ok ? <u32>(d >> 32) & 0x00ff_ff00 : 0;
}

/** LSL: the limit in bytes, with ZF set. */
export function lsl(cpu: usize, value: u32): u32 {
  requireProtected(cpu);
  const d = visible(cpu, value & 0xffff);
  const ok = d != 0 && hasType(cpu, rightsOf(d), false);
  setZero(cpu, ok);
  return ok ? limitOf(d) : 0;
}

/** VERR, or VERW when `write`. */
export function verify_segment(cpu: usize, value: u32, write: u32): void {
  requireProtected(cpu);
  const d = visible(cpu, value & 0xffff);
  const rights = rightsOf(d);
  const usable = write
    ? isWritableData(rights)
    : (rights & R_S) != 0 && (!isCode(rights) || (rights & R_RW) != 0);
  setZero(cpu, d != 0 && usable);
}

/** ARPL: the destination with its RPL raised to that of `source`. */
export function arpl(cpu: usize, target: u32, source: u32): u32 {
  requireProtected(cpu);
  const raised = (target & 3) < (source & 3);
  setZero(cpu, raised);
  return raised ? (target & 0xfffc) | (source & 3) : target;
}

/** SGDT, or SIDT when `idt`. */
export function store_table(cpu: usize, address: u64, idt: u32): void {
  const base = idt ? load<u64>(cpu, S_IDT_BASE) : load<u64>(cpu, S_GDT_BASE);
  const limit = idt ? load<u32>(cpu, S_IDT_LIMIT) : load<u32>(cpu, S_GDT_LIMIT);
  // The base first: a fault on it then leaves nothing written but, at worst, itself.
  if (code64(cpu)) write64(cpu, address + 2, base);
  else write32(cpu, address + 2, <u32>base);
  write16(cpu, address, limit);
}

/** LGDT, or LIDT when `idt`. `size` is the operand size. */
export function load_table(cpu: usize, address: u64, size: u32, idt: u32): void {
  requireRing0(cpu);
  const limit = read16(cpu, address);
  let base: u64;
  if (code64(cpu)) base = read64(cpu, address + 2);
  else base = <u64>(read32(cpu, address + 2) & (size == 2 ? 0x00ff_ffff : 0xffff_ffff));
  if (!isCanonical(base) && code64(cpu)) raiseZero(cpu, GP);
  if (idt) {
    store<u64>(cpu, base, S_IDT_BASE);
    store<u32>(cpu, limit, S_IDT_LIMIT);
  } else {
    store<u64>(cpu, base, S_GDT_BASE);
    store<u32>(cpu, limit, S_GDT_LIMIT);
  }
}

/** Present, DPL 3, writable data, accessed: what every segment is in virtual-8086 mode. */
export function setVm86Segment(cpu: usize, seg: u32, selector: u32): void {
  setSegment(cpu, seg, selector, <u64>(selector << 4), 0xffff, 0xf3);
}
