import {
  EXC_EXTERNAL,
  EXC_HAS_ERROR,
  EXC_SOFTWARE,
  REC_NEXT,
  REC_START,
  S_CR2,
  S_CR4,
  S_DR6,
  S_DR7,
  S_EFLAGS,
  S_EXC_ADDR,
  S_EXC_ERROR,
  S_EXC_FLAGS,
  S_EXC_VECTOR,
  S_HALTED,
  S_IDT_BASE,
  S_IDT_LIMIT,
  S_INHIBIT,
  S_REC,
  S_RIP,
  S_RSP,
  S_STAT_FAULTS,
  S_TF_ARMED,
  SEG_CS,
  SEG_DS,
  SEG_ES,
  SEG_FS,
  SEG_GS,
  SEG_SS,
  SEG_TR,
} from '../ir/state.ts';
import {
  EVENT_DELIVERY,
  S_DELIVERING,
  S_EVENT_ERROR,
  S_EVENT_FLAGS,
  S_EVENT_IMAGE,
  S_EVENT_RIP,
  S_EXT,
  S_FIRST_ERROR,
  S_FIRST_VECTOR,
  S_NEXT_RIP,
  S_NMI_BLOCKED,
  S_REPEATING,
  TRACE_INT,
  X87_FREEZE,
} from '../ir/state-system.ts';
import { readSystem8, readSystem16, readSystem64 } from './access.ts';
import { checkTarget } from './code-target.ts';
import {
  baseOf,
  cplOf,
  dplOf,
  fetchDescriptor,
  isCode,
  isConforming,
  isNull,
  limitOf,
  longMode,
  markAccessed,
  R_DB,
  R_L,
  R_P,
  raiseSelector,
  raiseZero,
  rightsOf,
  segBase,
  segLimit,
  segSelector,
  setNull,
  TYPE_INT,
  TYPE_INT16,
  TYPE_TASK_GATE,
  TYPE_TRAP,
  TYPE_TRAP16,
  typeOf,
} from './descriptor.ts';
import { enterCode, enterInner } from './far.ts';
import {
  AC,
  arithmeticFlags,
  eflags,
  IF,
  IOPL_SHIFT,
  NT,
  OF,
  RF,
  setEflags,
  TF,
  VIF,
  VM,
} from './flags.ts';
import {
  checkFrame,
  closeFrame,
  innerStack,
  innerStackSegment,
  MASK64,
  maskOf,
  openFrame,
  openHere,
  push,
  S_INNER_SP,
  tssPointer64,
} from './frame.ts';
import { iopl } from './iret.ts';
import { updateKey } from './key.ts';
import * as vectors from './raise.ts';
import { loadPlainSegment, protectedMode, vm86 } from './segments.ts';
import { pushTaskError, switchTask, TASK_INTERRUPT } from './task.ts';
import { traceEvent } from './trace.ts';

// Delivery of interrupts and exceptions. Source: Intel SDM vol. 3, chapter 6, and 20.3 for virtual-8086 mode.

const BENIGN: u32 = 0;
const CONTRIBUTORY: u32 = 1;
const PAGE_FAULT: u32 = 2;
const DOUBLE_FAULT: u32 = 3;

const CR4_VME: u64 = 1;
const DR7_GD: u64 = 1 << 13;
/** Exceptions whose handler returns to the faulting instruction: they push RF set (SDM vol. 3, 17.3.1.1). */
const FAULTS: u32 =
  (1 << 0) |
  (1 << 5) |
  (1 << 6) |
  (1 << 7) |
  (1 << 10) |
  (1 << 11) |
  (1 << 12) |
  (1 << 13) |
  (1 << 14) |
  (1 << 16) |
  (1 << 17) |
  (1 << 19);
/** #DE #TS #NP #SS #GP (SDM vol. 3, table 6-4). */
const CONTRIBUTORY_VECTORS: u32 = (1 << 0) | (1 << 10) | (1 << 11) | (1 << 12) | (1 << 13);

function classOf(vector: u32, flags: u32): u32 {
  if (flags & (EXC_SOFTWARE | EXC_EXTERNAL)) return BENIGN;
  if (vector == vectors.PF) return PAGE_FAULT;
  return vector < 32 && (CONTRIBUTORY_VECTORS >> vector) & 1 ? CONTRIBUTORY : BENIGN;
}

/**
 * The first thing after an unwind from running code: RIP becomes that of the faulting instruction. Then the run loop
 * calls `deliver_exception`, and again whenever that unwinds in turn.
 */
export function begin_exception(cpu: usize): void {
  const rec = load<u32>(cpu, S_REC);
  const rip = load<u64>(cpu, S_RIP);
  store<u64>(cpu, rip, S_NEXT_RIP);
  if (rec != 0) {
    store<u64>(cpu, rip + load<u16>(rec, REC_START), S_RIP);
    store<u64>(cpu, rip + load<u16>(rec, REC_NEXT), S_NEXT_RIP);
    store<u32>(cpu, 0, S_REC);
  }
  if (load<u32>(cpu, S_EXC_VECTOR) == X87_FREEZE) {
    store<u32>(cpu, 1, S_HALTED);
    return;
  }
  store<u32>(cpu, BENIGN, S_DELIVERING);
  store<u32>(cpu, load<u32>(cpu, S_EXC_VECTOR), S_FIRST_VECTOR);
  store<u32>(cpu, load<u32>(cpu, S_EXC_ERROR), S_FIRST_ERROR);
}

/** Delivers the exception in S_EXC_…; 1 means that it ends in a triple fault. */
export function deliver_exception(cpu: usize): u32 {
  let vector = load<u32>(cpu, S_EXC_VECTOR);
  let flags = load<u32>(cpu, S_EXC_FLAGS);
  let error = load<u32>(cpu, S_EXC_ERROR);
  if (vector == vectors.PF) store<u64>(cpu, load<u64>(cpu, S_EXC_ADDR), S_CR2);
  if (vector == vectors.DB && !(flags & EXC_SOFTWARE)) enterDebug(cpu);
  let rank = classOf(vector, flags);
  const first = load<u32>(cpu, S_DELIVERING);
  if (first == DOUBLE_FAULT && rank != BENIGN) return 1;
  const again =
    (first == CONTRIBUTORY && rank == CONTRIBUTORY) || (first == PAGE_FAULT && rank != BENIGN);
  if (again) {
    vector = vectors.DF;
    error = 0;
    flags = EXC_HAS_ERROR;
    rank = DOUBLE_FAULT;
  }
  store<u32>(cpu, rank, S_DELIVERING);
  if (vector < 32) {
    const count = cpu + vector * 4;
    store<u32>(count, load<u32>(count, S_STAT_FAULTS) + 1, S_STAT_FAULTS);
  }
  const software = (flags & EXC_SOFTWARE) != 0;
  deliver(cpu, vector, flags, error, software ? load<u64>(cpu, S_NEXT_RIP) : load<u64>(cpu, S_RIP));
  store<u32>(cpu, BENIGN, S_DELIVERING);
  return 0;
}

/** Entering #DB adds to DR6 and switches general detection off (SDM vol. 3, 17.2.4). */
function enterDebug(cpu: usize): void {
  store<u64>(cpu, load<u64>(cpu, S_DR6) | load<u64>(cpu, S_EXC_ADDR), S_DR6);
  store<u64>(cpu, load<u64>(cpu, S_DR7) & ~DR7_GD, S_DR7);
}

/** Delivers an interrupt at an instruction boundary; `flags` are EXC_…. When it unwinds, `deliver_exception` follows. */
export function deliver_event(cpu: usize, vector: u32, flags: u32, error: u32): void {
  store<u32>(cpu, BENIGN, S_DELIVERING);
  // Between the elements of a string the instruction goes on with RF set (SDM vol. 3, 17.3.1.1).
  if (load<u32>(cpu, S_REPEATING)) store<u32>(cpu, load<u32>(cpu, S_EFLAGS) | RF, S_EFLAGS);
  store<u32>(cpu, 0, S_REPEATING);
  deliver(cpu, vector, flags, error, load<u64>(cpu, S_RIP));
  if (vector == 2 && flags & EXC_EXTERNAL) store<u32>(cpu, 1, S_NMI_BLOCKED);
}

function deliver(cpu: usize, vector: u32, flags: u32, error: u32, rip: u64): void {
  store<u32>(cpu, flags & EXC_SOFTWARE ? 0 : 1, S_EXT);
  let image = eflags(cpu);
  // A breakpoint's #DB finds RF clear, and a trap what its instruction left: 1 between the elements of a string.
  if (flags & EXC_SOFTWARE) image &= ~RF;
  const fault =
    !(flags & (EXC_SOFTWARE | EXC_EXTERNAL)) && vector < 32 && ((FAULTS >> vector) & 1) != 0;
  if (fault) image |= RF;
  store<u64>(cpu, rip, S_EVENT_RIP);
  store<u32>(cpu, image, S_EVENT_IMAGE);
  store<u32>(cpu, flags, S_EVENT_FLAGS);
  store<u32>(cpu, error, S_EVENT_ERROR);
  traceEvent(cpu, TRACE_INT, EVENT_DELIVERY, vector, error);
  if (protectedMode(cpu) || vm86(cpu)) throughIdt(cpu, vector);
  else throughVectorTable(cpu, vector);
  store<u32>(cpu, 0, S_EXT);
  store<u32>(cpu, 0, S_HALTED);
  store<u32>(cpu, 0, S_INHIBIT);
  store<u32>(cpu, 0, S_TF_ARMED);
  updateKey(cpu);
}

/** Real mode: a table of far pointers, and no error codes. */
function throughVectorTable(cpu: usize, vector: u32): void {
  const at = vector * 4;
  if (at + 3 > load<u32>(cpu, S_IDT_LIMIT)) raiseIdt(cpu, vectors.GP, vector);
  jumpToVector(
    cpu,
    load<u64>(cpu, S_IDT_BASE) + at,
    load<u64>(cpu, S_EVENT_RIP),
    load<u32>(cpu, S_EVENT_IMAGE),
  );
  store<u32>(cpu, load<u32>(cpu, S_EFLAGS) & ~(IF | TF | AC | RF), S_EFLAGS);
}

/** Pushes FLAGS, CS and IP and loads CS:IP from the table entry at `at`. */
function jumpToVector(cpu: usize, at: u64, rip: u64, image: u32): void {
  const offset = readSystem16(cpu, at);
  const selector = readSystem16(cpu, at + 2);
  openHere(cpu, 3, 2);
  if (offset > segLimit(cpu, SEG_CS)) raiseZero(cpu, vectors.GP);
  push(cpu, image, 2);
  push(cpu, <u64>segSelector(cpu, SEG_CS), 2);
  push(cpu, rip, 2);
  closeFrame(cpu);
  loadPlainSegment(cpu, SEG_CS, selector);
  store<u64>(cpu, <u64>offset, S_RIP);
  store<u32>(cpu, 0, S_REC);
}

/** Error code that names an entry of the IDT. The mask of `raiseSelector` keeps bits 15:2, so IDT (bit 1) is added here. */
function raiseIdt(cpu: usize, fault: u32, vector: u32): void {
  vectors.raiseError(cpu, fault, (vector << 3) | 2 | load<u32>(cpu, S_EXT));
}

/** The gate of `vector`, checked but for what it leads to. In IA-32e mode its lower half. */
function fetchGate(cpu: usize, vector: u32, long: bool): u64 {
  const at = vector << (long ? 4 : 3);
  if (at + (long ? 15 : 7) > load<u32>(cpu, S_IDT_LIMIT)) raiseIdt(cpu, vectors.GP, vector);
  const gate = readSystem64(cpu, load<u64>(cpu, S_IDT_BASE) + at);
  const rights = rightsOf(gate);
  const type = typeOf(rights);
  const legacy = type == TYPE_INT16 || type == TYPE_TRAP16 || type == TYPE_TASK_GATE;
  if (!isWide(type) && (long || !legacy)) raiseIdt(cpu, vectors.GP, vector);
  const software = (load<u32>(cpu, S_EVENT_FLAGS) & EXC_SOFTWARE) != 0;
  if (software && dplOf(rights) < cplOf(cpu)) raiseIdt(cpu, vectors.GP, vector);
  if (!(rights & R_P)) raiseIdt(cpu, vectors.NP, vector);
  return gate;
}

function isWide(type: u32): bool {
  return type == TYPE_INT || type == TYPE_TRAP;
}

function throughIdt(cpu: usize, vector: u32): void {
  const long = longMode(cpu);
  const gate = fetchGate(cpu, vector, long);
  const type = typeOf(rightsOf(gate));
  if (type == TYPE_TASK_GATE) {
    switchTask(cpu, <u32>(gate >> 16) & 0xffff, TASK_INTERRUPT, load<u64>(cpu, S_EVENT_RIP));
    if (hasError(cpu)) pushTaskError(cpu, load<u32>(cpu, S_EVENT_ERROR));
    return;
  }
  const size: u32 = long ? 8 : isWide(type) ? 4 : 2;
  throughGate(cpu, gate, size, long ? load64Upper(cpu, vector << 4) : 0);
  let now = load<u32>(cpu, S_EFLAGS) & ~(TF | NT | RF | VM);
  if (type == TYPE_INT || type == TYPE_INT16) now &= ~IF;
  store<u32>(cpu, now, S_EFLAGS);
}

/** Offset bits 63:32 of a 64-bit gate, in place. */
function load64Upper(cpu: usize, at: u32): u64 {
  return (readSystem64(cpu, load<u64>(cpu, S_IDT_BASE) + at + 8) & 0xffff_ffff) << 32;
}

/** Interrupt and trap gates. */
function throughGate(cpu: usize, gate: u64, size: u32, upper: u64): void {
  const selector = <u32>(gate >> 16) & 0xffff;
  let target = gate & 0xffff;
  if (size != 2) target |= <u64>(<u32>(gate >> 32) & 0xffff_0000) | upper;
  if (isNull(selector)) raiseZero(cpu, vectors.GP);
  const code = fetchDescriptor(cpu, selector, vectors.GP);
  const level = checkHandler(cpu, selector, rightsOf(code), size == 8);
  if (size == 8) enterLong(cpu, selector, code, target, level, <u32>(gate >> 32) & 7);
  else if (level == cplOf(cpu)) enterSame(cpu, selector, code, target, size);
  else enterNewStack(cpu, selector, code, target, level, size);
}

/** Checks a handler's code segment; gives the privilege that it runs at. */
function checkHandler(cpu: usize, selector: u32, rights: u32, long: bool): u32 {
  const cpl = cplOf(cpu);
  const dpl = dplOf(rights);
  if (!isCode(rights) || dpl > cpl) raiseSelector(cpu, vectors.GP, selector);
  if (long && (rights & (R_L | R_DB)) != R_L) raiseSelector(cpu, vectors.GP, selector);
  if (!(rights & R_P)) raiseSelector(cpu, vectors.NP, selector);
  const level = isConforming(rights) ? cpl : dpl;
  if (load<u32>(cpu, S_EFLAGS) & VM && level != 0) raiseSelector(cpu, vectors.GP, selector);
  return level;
}

function hasError(cpu: usize): u32 {
  return load<u32>(cpu, S_EVENT_FLAGS) & EXC_HAS_ERROR ? 1 : 0;
}

function enterSame(cpu: usize, selector: u32, code: u64, target: u64, size: u32): void {
  openHere(cpu, 3 + hasError(cpu), size);
  checkTarget(cpu, code, target);
  pushReturn(cpu, size);
  const marked = markAccessed(cpu, selector, code);
  closeFrame(cpu);
  enterCode(cpu, selector, marked, cplOf(cpu), target);
}

function pushReturn(cpu: usize, size: u32): void {
  push(cpu, load<u32>(cpu, S_EVENT_IMAGE), size);
  push(cpu, <u64>segSelector(cpu, SEG_CS), size);
  push(cpu, load<u64>(cpu, S_EVENT_RIP), size);
  if (hasError(cpu)) push(cpu, load<u32>(cpu, S_EVENT_ERROR), size);
}

/** To a more privileged level outside IA-32e mode: the stack comes from the TSS; from virtual-8086 mode with all segments. */
function enterNewStack(
  cpu: usize,
  selector: u32,
  code: u64,
  target: u64,
  level: u32,
  size: u32,
): void {
  const from86 = (load<u32>(cpu, S_EFLAGS) & VM) != 0;
  const ss = innerStack(cpu, level);
  let stack = innerStackSegment(cpu, ss, level);
  const rights = rightsOf(stack);
  openFrame(cpu, <u64>baseOf(stack), load<u64>(cpu, S_INNER_SP), maskOf(rights), level);
  checkFrame(cpu, limitOf(stack), rights, (from86 ? 9 : 5) + hasError(cpu), size, ss);
  checkTarget(cpu, code, target);
  if (from86) {
    push(cpu, <u64>segSelector(cpu, SEG_GS), size);
    push(cpu, <u64>segSelector(cpu, SEG_FS), size);
    push(cpu, <u64>segSelector(cpu, SEG_DS), size);
    push(cpu, <u64>segSelector(cpu, SEG_ES), size);
  }
  push(cpu, <u64>segSelector(cpu, SEG_SS), size);
  push(cpu, load<u64>(cpu, S_RSP), size);
  pushReturn(cpu, size);
  const marked = markAccessed(cpu, selector, code);
  stack = markAccessed(cpu, ss, stack);
  if (from86) {
    setNull(cpu, SEG_GS, 0);
    setNull(cpu, SEG_FS, 0);
    setNull(cpu, SEG_DS, 0);
    setNull(cpu, SEG_ES, 0);
  }
  enterInner(cpu, ss, stack, level);
  enterCode(cpu, selector, marked, level, target);
}

/** IA-32e mode: SS:RSP is always pushed, on a stack aligned to 16 bytes (SDM vol. 3, 6.14). */
function enterLong(cpu: usize, selector: u32, code: u64, target: u64, level: u32, ist: u32): void {
  const inner = level != cplOf(cpu);
  let sp = load<u64>(cpu, S_RSP);
  if (ist != 0) sp = tssPointer64(cpu, 28 + ist * 8);
  else if (inner) sp = tssPointer64(cpu, 4 + level * 8);
  openFrame(cpu, 0, sp & ~15, MASK64, level);
  checkFrame(cpu, 0, 0, 5 + hasError(cpu), 8, 0);
  checkTarget(cpu, code, target);
  push(cpu, <u64>segSelector(cpu, SEG_SS), 8);
  push(cpu, load<u64>(cpu, S_RSP), 8);
  pushReturn(cpu, 8);
  const marked = markAccessed(cpu, selector, code);
  if (inner) setNull(cpu, SEG_SS, level);
  closeFrame(cpu);
  enterCode(cpu, selector, marked, level, target);
}

/** INT n. In virtual-8086 mode IOPL and, with CR4.VME, the redirection bitmap decide (SDM vol. 3, 20.3 and 20.4). */
export function software_interrupt(cpu: usize, vector: u32, next: u64): void {
  if (vm86(cpu)) {
    if (load<u64>(cpu, S_CR4) & CR4_VME) {
      if (redirected(cpu, vector)) {
        interrupt86(cpu, vector, next);
        return;
      }
    }
    if (iopl(cpu) != 3) raiseZero(cpu, vectors.GP);
  }
  trap_interrupt(cpu, vector, EXC_SOFTWARE, next);
}

/**
 * INT3 and INTO (`flags` EXC_SOFTWARE): neither IOPL nor the bitmap counts. INT1 (`flags` 0): no DPL is checked either.
 * All push `next`; a fault on the way leaves RIP at the instruction itself.
 */
export function trap_interrupt(cpu: usize, vector: u32, flags: u32, next: u64): void {
  if (vector < 32) {
    const count = cpu + vector * 4;
    store<u32>(count, load<u32>(count, S_STAT_FAULTS) + 1, S_STAT_FAULTS);
  }
  deliver(cpu, vector, flags, 0, next);
}

/** INTO. */
export function overflow_interrupt(cpu: usize, next: u64): void {
  if (arithmeticFlags(cpu) & OF) {
    trap_interrupt(cpu, vectors.OF, EXC_SOFTWARE, next);
  } else {
    store<u64>(cpu, next, S_RIP);
    store<u32>(cpu, 0, S_REC);
  }
}

/** True when the redirection bitmap, the 32 bytes below the I/O bitmap, sends INT `vector` to the 8086 program. */
function redirected(cpu: usize, vector: u32): bool {
  const base = segBase(cpu, SEG_TR);
  const limit = segLimit(cpu, SEG_TR);
  if (limit < 103) raiseZero(cpu, vectors.GP);
  const offset = readSystem16(cpu, base + 102) - 32 + (vector >> 3);
  if (offset > limit) raiseZero(cpu, vectors.GP);
  return ((readSystem8(cpu, base + offset) >> (vector & 7)) & 1) == 0;
}

/** INT n to the 8086 program's own handler, with VIF in the place of IF below IOPL 3. */
function interrupt86(cpu: usize, vector: u32, next: u64): void {
  let image = eflags(cpu);
  const extended = iopl(cpu) != 3;
  store<u64>(cpu, next, S_EVENT_RIP);
  store<u32>(cpu, EXC_SOFTWARE, S_EVENT_FLAGS);
  traceEvent(cpu, TRACE_INT, EVENT_DELIVERY, vector, 0);
  if (extended) {
    image = (image | (3 << IOPL_SHIFT)) & ~IF;
    if (image & VIF) image |= IF;
  }
  jumpToVector(cpu, <u64>(vector * 4), next, image);
  setEflags(cpu, eflags(cpu) & ~(extended ? TF | VIF : TF | IF));
  updateKey(cpu);
}
