import {
  S_CPL,
  S_CR4,
  S_FPU_CONTROL,
  S_FPU_CS,
  S_FPU_DP,
  S_FPU_DS,
  S_FPU_EMPTY,
  S_FPU_IP,
  S_FPU_KEEPS_SELECTORS,
  S_FPU_OPCODE,
  S_FPU_REGS,
  S_FPU_STATUS,
  S_FPU_TOP,
  S_MXCSR,
  S_RAX,
  S_RCX,
  S_RDX,
  S_XCR0,
  S_XMM,
} from '../ir/state.ts';
import {
  probeWrite,
  read8,
  read16,
  read32,
  read64,
  write8,
  write16,
  write32,
  write64,
} from './access.ts';
import { summarize } from './f80-round.ts';
import { GP, raise, raiseError, UD } from './raise.ts';
import { x87_wait } from './x87-stack.ts';

// Saving and loading the x87 and SSE state. Source: Intel SDM vol. 1, 10.5 and 13.

const MXCSR_MASK: u32 = 0xffff;
const CR4_OSXSAVE: u64 = 1 << 18;
const XCR0_X87: u64 = 1;
const XCR0_SSE: u64 = 2;

/** The beginning of every MMX instruction: exceptions that wait; the registers are all valid and MM0 is R0 = ST(0). */
export function mmx_enter(cpu: usize): void {
  x87_wait(cpu);
  store<u32>(cpu, 0, S_FPU_TOP);
  store<u32>(cpu, 0, S_FPU_EMPTY);
}

export function fninit(cpu: usize): void {
  store<u32>(cpu, 0x37f, S_FPU_CONTROL);
  store<u32>(cpu, 0, S_FPU_STATUS);
  store<u32>(cpu, 0, S_FPU_TOP);
  store<u32>(cpu, 0xff, S_FPU_EMPTY);
  store<u32>(cpu, 0, S_FPU_OPCODE);
  store<u64>(cpu, 0, S_FPU_IP);
  store<u64>(cpu, 0, S_FPU_DP);
  setSelectors(cpu, 0, 0);
}

/** FCS and FDS, where the processor keeps them. */
export function setSelectors(cpu: usize, code: u32, data: u32): void {
  const isKept = load<u32>(cpu, S_FPU_KEEPS_SELECTORS) != 0;
  store<u32>(cpu, isKept ? code & 0xffff : 0, S_FPU_CS);
  store<u32>(cpu, isKept ? data & 0xffff : 0, S_FPU_DS);
}

/** Bits 6, 7 and 13-15 do not exist; 6 reads as 1. */
export function setControl(cpu: usize, control: u32): void {
  store<u32>(cpu, (control & 0x1f3f) | 0x40, S_FPU_CONTROL);
}

/** A status word with TOP in its place. ES and B follow the exceptions and the control word, which comes first. */
export function setStatus(cpu: usize, status: u32): void {
  store<u32>(cpu, (status >> 11) & 7, S_FPU_TOP);
  store<u32>(cpu, status & 0x477f, S_FPU_STATUS);
  summarize(cpu);
}

/** Status word with TOP in its place. */
export function x87_status(cpu: usize): u32 {
  return load<u32>(cpu, S_FPU_STATUS) | (load<u32>(cpu, S_FPU_TOP) << 11);
}

export function ldmxcsr(cpu: usize, value: u32): void {
  if (value & ~MXCSR_MASK) raiseError(cpu, GP, 0);
  store<u32>(cpu, value, S_MXCSR);
}

function saveX87(cpu: usize, at: u64, wide: bool): void {
  write16(cpu, at, load<u32>(cpu, S_FPU_CONTROL));
  write16(cpu, at + 2, x87_status(cpu));
  write8(cpu, at + 4, ~load<u32>(cpu, S_FPU_EMPTY) & 0xff);
  write8(cpu, at + 5, 0);
  write16(cpu, at + 6, load<u32>(cpu, S_FPU_OPCODE));
  if (wide) {
    write64(cpu, at + 8, load<u64>(cpu, S_FPU_IP));
    write64(cpu, at + 16, load<u64>(cpu, S_FPU_DP));
  } else {
    write32(cpu, at + 8, load<u32>(cpu, S_FPU_IP));
    write32(cpu, at + 12, load<u32>(cpu, S_FPU_CS));
    write32(cpu, at + 16, load<u32>(cpu, S_FPU_DP));
    write32(cpu, at + 20, load<u32>(cpu, S_FPU_DS));
  }
  const top = load<u32>(cpu, S_FPU_TOP);
  for (let i: u32 = 0; i < 8; i++) {
    const reg = cpu + S_FPU_REGS + ((top + i) & 7) * 16;
    write64(cpu, at + 32 + <u64>i * 16, load<u64>(reg));
    write64(cpu, at + 40 + <u64>i * 16, <u64>load<u16>(reg, 8));
  }
}

function loadX87(cpu: usize, at: u64, wide: bool): void {
  setControl(cpu, read16(cpu, at));
  setStatus(cpu, read16(cpu, at + 2));
  const top = load<u32>(cpu, S_FPU_TOP);
  store<u32>(cpu, ~read8(cpu, at + 4) & 0xff, S_FPU_EMPTY);
  store<u32>(cpu, read16(cpu, at + 6) & 0x7ff, S_FPU_OPCODE);
  store<u64>(cpu, wide ? read64(cpu, at + 8) : <u64>read32(cpu, at + 8), S_FPU_IP);
  store<u64>(cpu, wide ? read64(cpu, at + 16) : <u64>read32(cpu, at + 16), S_FPU_DP);
  if (wide) setSelectors(cpu, 0, 0);
  else setSelectors(cpu, read16(cpu, at + 12), read16(cpu, at + 20));
  for (let i: u32 = 0; i < 8; i++) {
    const reg = cpu + S_FPU_REGS + ((top + i) & 7) * 16;
    store<u64>(reg, read64(cpu, at + 32 + <u64>i * 16));
    store<u16>(reg, <u16>read16(cpu, at + 40 + <u64>i * 16), 8);
  }
}

function saveXmm(cpu: usize, at: u64, count: u32): void {
  for (let i: u32 = 0; i < count * 2; i++)
    write64(cpu, at + 160 + <u64>i * 8, load<u64>(cpu + i * 8, S_XMM));
}

function loadXmm(cpu: usize, at: u64, count: u32): void {
  for (let i: u32 = 0; i < count * 2; i++)
    store<u64>(cpu + i * 8, read64(cpu, at + 160 + <u64>i * 8), S_XMM);
}

/** `mode`: bit 0: 64-bit operand size (FXSAVE64), bit 1: 64-bit code, in which there are 16 XMM registers. */
export function fxsave(cpu: usize, at: u64, mode: u32): void {
  if (at & 15) raiseError(cpu, GP, 0);
  probeWrite(cpu, at, 512);
  saveX87(cpu, at, (mode & 1) != 0);
  write32(cpu, at + 24, load<u32>(cpu, S_MXCSR));
  write32(cpu, at + 28, MXCSR_MASK);
  saveXmm(cpu, at, mode & 2 ? 16 : 8);
}

export function fxrstor(cpu: usize, at: u64, mode: u32): void {
  if (at & 15) raiseError(cpu, GP, 0);
  read8(cpu, at + 511);
  const mxcsr = read32(cpu, at + 24);
  if (mxcsr & ~MXCSR_MASK) raiseError(cpu, GP, 0);
  loadX87(cpu, at, (mode & 1) != 0);
  store<u32>(cpu, mxcsr, S_MXCSR);
  loadXmm(cpu, at, mode & 2 ? 16 : 8);
}

function requireXsave(cpu: usize): void {
  if (!(load<u64>(cpu, S_CR4) & CR4_OSXSAVE)) raise(cpu, UD);
}

function requested(cpu: usize): u64 {
  return (
    (<u64>load<u32>(cpu, S_RAX) | ((<u64>load<u32>(cpu, S_RDX)) << 32)) & load<u64>(cpu, S_XCR0)
  );
}

/** XSAVE, and XSAVEOPT, which may save all. */
export function xsave(cpu: usize, at: u64, mode: u32): void {
  requireXsave(cpu);
  if (at & 63) raiseError(cpu, GP, 0);
  probeWrite(cpu, at, 576);
  const mask = requested(cpu);
  const header = read64(cpu, at + 512);
  if (mask & XCR0_X87) saveX87(cpu, at, (mode & 1) != 0);
  if (mask & XCR0_SSE) {
    write32(cpu, at + 24, load<u32>(cpu, S_MXCSR));
    write32(cpu, at + 28, MXCSR_MASK);
    saveXmm(cpu, at, mode & 2 ? 16 : 8);
  }
  write64(cpu, at + 512, header | mask);
}

export function xrstor(cpu: usize, at: u64, mode: u32): void {
  requireXsave(cpu);
  if (at & 63) raiseError(cpu, GP, 0);
  const present = read64(cpu, at + 512);
  if (present & ~load<u64>(cpu, S_XCR0) || read64(cpu, at + 520) != 0 || read64(cpu, at + 528) != 0)
    raiseError(cpu, GP, 0);
  const mask = requested(cpu);
  if (mask & XCR0_SSE) {
    const mxcsr = read32(cpu, at + 24);
    if (mxcsr & ~MXCSR_MASK) raiseError(cpu, GP, 0);
    store<u32>(cpu, mxcsr, S_MXCSR);
  }
  if (mask & XCR0_X87) {
    if (present & XCR0_X87) loadX87(cpu, at, (mode & 1) != 0);
    else {
      fninit(cpu);
      memory.fill(cpu + S_FPU_REGS, 0, 128);
    }
  }
  if (mask & XCR0_SSE) {
    if (present & XCR0_SSE) loadXmm(cpu, at, mode & 2 ? 16 : 8);
    else memory.fill(cpu + S_XMM, 0, mode & 2 ? 256 : 128);
  }
}

export function xgetbv(cpu: usize): void {
  requireXsave(cpu);
  if (load<u32>(cpu, S_RCX) > 0) raiseError(cpu, GP, 0);
  store<u64>(cpu, load<u64>(cpu, S_XCR0) & 0xffff_ffff, S_RAX);
  store<u64>(cpu, load<u64>(cpu, S_XCR0) >> 32, S_RDX);
}

export function xsetbv(cpu: usize): void {
  requireXsave(cpu);
  const value = <u64>load<u32>(cpu, S_RAX) | ((<u64>load<u32>(cpu, S_RDX)) << 32);
  const known = XCR0_X87 | XCR0_SSE;
  if (
    load<u32>(cpu, S_CPL) != 0 ||
    load<u32>(cpu, S_RCX) != 0 ||
    !(value & XCR0_X87) ||
    value & ~known
  ) {
    raiseError(cpu, GP, 0);
  }
  store<u64>(cpu, value, S_XCR0);
}
