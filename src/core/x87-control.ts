import {
  S_CR0,
  S_EFLAGS,
  S_FPU_CONTROL,
  S_FPU_CS,
  S_FPU_DP,
  S_FPU_DS,
  S_FPU_EMPTY,
  S_FPU_IP,
  S_FPU_OPCODE,
  S_FPU_REGS,
  S_FPU_STATUS,
  S_FPU_TOP,
} from '../ir/state.ts';
import { probeWrite, read16, read32, read64, write16, write32, write64 } from './access.ts';
import { classOf, NORMAL, ZERO } from './f80.ts';
import { summarize } from './f80-round.ts';
import { VM } from './flags.ts';
import { x87_wait } from './x87-stack.ts';
import { fninit, setControl, setSelectors, setStatus, x87_status } from './x87-state.ts';

// The environment and the whole state in the 8087's and the 387's formats. Source: Intel SDM vol. 1, 8.1.10, figures 8-9 to 8-12.

const TAG_VALID: u32 = 0;
const TAG_ZERO: u32 = 1;
const TAG_SPECIAL: u32 = 2;
const TAG_EMPTY: u32 = 3;
const CR0_PE: u64 = 1;
/** Bytes of the environment by operand size. */
const ENV16: u64 = 14;
const ENV32: u64 = 28;
const REGISTERS: u64 = 80;

function tagOf(cpu: usize, physical: u32): u32 {
  if ((load<u32>(cpu, S_FPU_EMPTY) >> physical) & 1) return TAG_EMPTY;
  const reg = cpu + S_FPU_REGS + physical * 16;
  const kind = classOf(load<u16>(reg, 8), load<u64>(reg));
  if (kind == NORMAL) return TAG_VALID;
  return kind == ZERO ? TAG_ZERO : TAG_SPECIAL;
}

function tagWord(cpu: usize): u32 {
  let tags: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) tags |= tagOf(cpu, i) << (i * 2);
  return tags;
}

function setTagWord(cpu: usize, tags: u32): void {
  let empty: u32 = 0;
  for (let i: u32 = 0; i < 8; i++) {
    if (((tags >> (i * 2)) & 3) == TAG_EMPTY) empty |= (<u32>1) << i;
  }
  store<u32>(cpu, empty, S_FPU_EMPTY);
}

function isProtected(cpu: usize): bool {
  return (load<u64>(cpu, S_CR0) & CR0_PE) != 0 && !(load<u32>(cpu, S_EFLAGS) & VM);
}

/** An address as real mode has it: the environment holds no selectors then. */
function linear(cpu: usize, offset: usize, selector: usize): u32 {
  return load<u32>(cpu + offset) + (load<u32>(cpu + selector) << 4);
}

function storeEnv16(cpu: usize, at: u64): void {
  const isSegmented = isProtected(cpu);
  const ip = isSegmented ? load<u32>(cpu, S_FPU_IP) : linear(cpu, S_FPU_IP, S_FPU_CS);
  const dp = isSegmented ? load<u32>(cpu, S_FPU_DP) : linear(cpu, S_FPU_DP, S_FPU_DS);
  const opcode = load<u32>(cpu, S_FPU_OPCODE);
  write16(cpu, at, load<u32>(cpu, S_FPU_CONTROL));
  write16(cpu, at + 2, x87_status(cpu));
  write16(cpu, at + 4, tagWord(cpu));
  write16(cpu, at + 6, ip & 0xffff);
  write16(cpu, at + 8, isSegmented ? load<u32>(cpu, S_FPU_CS) : ((ip >> 4) & 0xf000) | opcode);
  write16(cpu, at + 10, dp & 0xffff);
  write16(cpu, at + 12, isSegmented ? load<u32>(cpu, S_FPU_DS) : (dp >> 4) & 0xf000);
}

/** Upper halves of words of 16 bits are written as ones. */
const ONES: u32 = 0xffff_0000;

function storeEnv32(cpu: usize, at: u64): void {
  const opcode = load<u32>(cpu, S_FPU_OPCODE);
  write32(cpu, at, load<u32>(cpu, S_FPU_CONTROL) | ONES);
  write32(cpu, at + 4, x87_status(cpu) | ONES);
  write32(cpu, at + 8, tagWord(cpu) | ONES);
  if (isProtected(cpu)) {
    write32(cpu, at + 12, load<u32>(cpu, S_FPU_IP));
    write32(cpu, at + 16, load<u32>(cpu, S_FPU_CS) | (opcode << 16));
    write32(cpu, at + 20, load<u32>(cpu, S_FPU_DP));
    write32(cpu, at + 24, load<u32>(cpu, S_FPU_DS) | ONES);
  } else {
    const ip = linear(cpu, S_FPU_IP, S_FPU_CS);
    const dp = linear(cpu, S_FPU_DP, S_FPU_DS);
    write32(cpu, at + 12, ip | ONES);
    write32(cpu, at + 16, ((ip >> 4) & 0x0fff_f000) | opcode);
    write32(cpu, at + 20, dp | ONES);
    write32(cpu, at + 24, (dp >> 4) & 0x0fff_f000);
  }
}

/** FNSTENV: `size` is 2, or 4 for more. All exceptions are masked then; whether one waits is looked at anew. */
export function fnstenv(cpu: usize, at: u64, size: u32): void {
  probeWrite(cpu, at, size == 2 ? <u32>ENV16 : <u32>ENV32);
  if (size == 2) storeEnv16(cpu, at);
  else storeEnv32(cpu, at);
  store<u32>(cpu, load<u32>(cpu, S_FPU_CONTROL) | 0x3f, S_FPU_CONTROL);
  summarize(cpu);
}

/** Reads all of the environment before anything changes. */
export function fldenv(cpu: usize, at: u64, size: u32): void {
  x87_wait(cpu);
  const step: u64 = size == 2 ? 2 : 4;
  const control = read16(cpu, at);
  const status = read16(cpu, at + step);
  const tags = read16(cpu, at + step * 2);
  const ip = size == 2 ? read16(cpu, at + 6) : read32(cpu, at + 12);
  const selector = size == 2 ? read16(cpu, at + 8) : read32(cpu, at + 16);
  const dp = size == 2 ? read16(cpu, at + 10) : read32(cpu, at + 20);
  const data = size == 2 ? read16(cpu, at + 12) : read32(cpu, at + 24);
  if (isProtected(cpu)) {
    store<u64>(cpu, ip, S_FPU_IP);
    store<u64>(cpu, dp, S_FPU_DP);
    store<u32>(cpu, size == 2 ? 0 : (selector >> 16) & 0x7ff, S_FPU_OPCODE);
    setSelectors(cpu, selector, data);
  } else {
    store<u64>(cpu, (ip & 0xffff) | ((selector & 0x0fff_f000) << 4), S_FPU_IP);
    store<u64>(cpu, (dp & 0xffff) | ((data & 0x0fff_f000) << 4), S_FPU_DP);
    store<u32>(cpu, selector & 0x7ff, S_FPU_OPCODE);
    setSelectors(cpu, 0, 0);
  }
  setTagWord(cpu, tags);
  setControl(cpu, control);
  setStatus(cpu, status);
}

export function fnsave(cpu: usize, at: u64, size: u32): void {
  const env = size == 2 ? ENV16 : ENV32;
  probeWrite(cpu, at, <u32>(env + REGISTERS));
  if (size == 2) storeEnv16(cpu, at);
  else storeEnv32(cpu, at);
  const top = load<u32>(cpu, S_FPU_TOP);
  for (let i: u32 = 0; i < 8; i++) {
    const reg = cpu + S_FPU_REGS + ((top + i) & 7) * 16;
    write64(cpu, at + env + <u64>i * 10, load<u64>(reg));
    write16(cpu, at + env + <u64>i * 10 + 8, <u32>load<u16>(reg, 8));
  }
  fninit(cpu);
}

export function frstor(cpu: usize, at: u64, size: u32): void {
  x87_wait(cpu);
  const env = size == 2 ? ENV16 : ENV32;
  // The last byte first: what comes between is in the same two pages.
  read16(cpu, at + env + REGISTERS - 2);
  fldenv(cpu, at, size);
  const top = load<u32>(cpu, S_FPU_TOP);
  for (let i: u32 = 0; i < 8; i++) {
    const reg = cpu + S_FPU_REGS + ((top + i) & 7) * 16;
    store<u64>(reg, read64(cpu, at + env + <u64>i * 10));
    store<u16>(reg, <u16>read16(cpu, at + env + <u64>i * 10 + 8), 8);
  }
}

export function fnclex(cpu: usize): void {
  store<u32>(cpu, load<u32>(cpu, S_FPU_STATUS) & 0x7f00, S_FPU_STATUS);
}

/** FLDCW: an exception that was masked until now may wait after it. */
export function x87_load_control(cpu: usize, control: u32): void {
  x87_wait(cpu);
  setControl(cpu, control);
  summarize(cpu);
}
