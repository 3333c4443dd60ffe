import type { SegmentState, VcpuState } from '#accel/accel.ts';
import type { MappedRange } from './address-space.ts';

// The head of an ELF core file, as QEMU's dump-guest-memory writes it: what gdb, crash and volatility open. Sources: System V
// ABI, chapter 4 and its AMD64 supplement; Linux include/uapi/linux/elfcore.h; QEMU target/i386/arch_dump.c for its note.

const ELF_HEADER = 64;
const PROGRAM_HEADER = 56;
const ET_CORE = 4;
const EM_X86_64 = 62;
const PT_LOAD = 1;
const PT_NOTE = 4;
const NT_PRSTATUS = 1;
const PRSTATUS_BYTES = 336;
const PRSTATUS_PID = 32;
const PRSTATUS_REGS = 112;
const QEMU_NOTE_BYTES = 440;
const READ_WRITE_EXECUTE = 7;
const PAGE = 4096;
// Numbers of general registers, in the encoding's order.
const [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI] = [0, 1, 2, 3, 4, 5, 6, 7];
const [ES, CS, SS, DS, FS, GS] = [0, 1, 2, 3, 4, 5];

/** Guest-physical memory that the file holds. */
export interface PhysicalRange {
  readonly paddr: number;
  readonly bytes: number;
}

export interface CoreHead {
  readonly bytes: Uint8Array;
  /** Where guest-physical address 0 would lie in the file; a multiple of 4096. */
  readonly memoryAt: number;
}

/**
 * The head of a core file of one virtual CPU. `ranges` says what lies at which linear address: debuggers go by it;
 * `physical` is all that the file holds.
 */
export function coreHead(
  state: VcpuState,
  kernelGsBase: bigint,
  ranges: readonly MappedRange[],
  physical: readonly PhysicalRange[],
): CoreHead {
  const notes = [
    note('CORE', NT_PRSTATUS, prstatus(state)),
    note('QEMU', 0, qemuState(state, kernelGsBase)),
  ];
  const noteBytes = notes.reduce((sum, bytes) => sum + bytes.length, 0);
  const inside = ranges.flatMap((range) => clip(range, physical));
  const count = 1 + inside.length + physical.length;
  const notesAt = ELF_HEADER + count * PROGRAM_HEADER;
  const memoryAt = Math.ceil((notesAt + noteBytes) / PAGE) * PAGE;
  const bytes = new Uint8Array(memoryAt);
  const view = new DataView(bytes.buffer);
  elfHeader(view, count);
  let at = ELF_HEADER;
  const header = (type: number, segment: Segment) => {
    programHeader(view, at, type, segment);
    at += PROGRAM_HEADER;
  };
  header(PT_NOTE, { offset: notesAt, vaddr: 0n, paddr: 0, bytes: BigInt(noteBytes) });
  for (const range of inside) header(PT_LOAD, { ...range, offset: memoryAt + range.paddr });
  for (const { paddr, bytes: size } of physical)
    header(PT_LOAD, { offset: memoryAt + paddr, vaddr: BigInt(paddr), paddr, bytes: BigInt(size) });
  let to = notesAt;
  for (const data of notes) {
    bytes.set(data, to);
    to += data.length;
  }
  return { bytes, memoryAt };
}

/** What of a range has memory behind it. */
function clip(range: MappedRange, physical: readonly PhysicalRange[]): MappedRange[] {
  const end = range.paddr + Number(range.bytes);
  return physical.flatMap(({ paddr, bytes }) => {
    const from = Math.max(paddr, range.paddr);
    const to = Math.min(paddr + bytes, end);
    if (from >= to) return [];
    return [
      { vaddr: range.vaddr + BigInt(from - range.paddr), paddr: from, bytes: BigInt(to - from) },
    ];
  });
}

function elfHeader(view: DataView, segments: number): void {
  // Class 64, little-endian, version 1.
  for (const [i, byte] of [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1].entries()) view.setUint8(i, byte);
  view.setUint16(16, ET_CORE, true);
  view.setUint16(18, EM_X86_64, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(32, BigInt(ELF_HEADER), true);
  view.setUint16(52, ELF_HEADER, true);
  view.setUint16(54, PROGRAM_HEADER, true);
  view.setUint16(56, segments, true);
}

interface Segment {
  readonly offset: number;
  readonly vaddr: bigint;
  readonly paddr: number;
  readonly bytes: bigint;
}

function programHeader(view: DataView, at: number, type: number, segment: Segment): void {
  const { offset, vaddr, paddr, bytes } = segment;
  view.setUint32(at, type, true);
  view.setUint32(at + 4, type === PT_LOAD ? READ_WRITE_EXECUTE : 0, true);
  view.setBigUint64(at + 8, BigInt(offset), true);
  view.setBigUint64(at + 16, vaddr, true);
  view.setBigUint64(at + 24, BigInt(paddr), true);
  view.setBigUint64(at + 32, bytes, true);
  view.setBigUint64(at + 40, bytes, true);
}

function note(name: string, type: number, data: Uint8Array): Uint8Array {
  const HEADER = 12;
  const NAME_BYTES = 8; // four letters and NUL, padded
  const bytes = new Uint8Array(HEADER + NAME_BYTES + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, name.length + 1, true);
  view.setUint32(4, data.length, true);
  view.setUint32(8, type, true);
  bytes.set(new TextEncoder().encode(name), HEADER);
  bytes.set(data, HEADER + NAME_BYTES);
  return bytes;
}

/** struct elf_prstatus: the registers in the order of struct user_regs_struct. */
function prstatus(state: VcpuState): Uint8Array {
  const view = new DataView(new ArrayBuffer(PRSTATUS_BYTES));
  const { regs, segments } = state;
  const reg = (number: number) => regs[number] ?? 0n;
  const selector = (number: number) => BigInt(segments[number]?.selector ?? 0);
  const base = (number: number) => segments[number]?.base ?? 0n;
  const values = [
    ...[15, 14, 13, 12, RBP, RBX, 11, 10, 9, 8, RAX, RCX, RDX, RSI, RDI].map(reg),
    0xffff_ffff_ffff_ffffn, // orig_rax: in no system call
    state.rip,
    selector(CS),
    state.rflags,
    reg(RSP),
    selector(SS),
    base(FS),
    base(GS),
    ...[DS, ES, FS, GS].map(selector),
  ];
  view.setUint32(PRSTATUS_PID, 1, true);
  for (const [i, value] of values.entries()) view.setBigUint64(PRSTATUS_REGS + i * 8, value, true);
  return new Uint8Array(view.buffer);
}

/** QEMUCPUState, version 1. */
function qemuState(state: VcpuState, kernelGsBase: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(QEMU_NOTE_BYTES));
  view.setUint32(0, 1, true);
  view.setUint32(4, QEMU_NOTE_BYTES, true);
  let at = 8;
  const long = (value: bigint) => {
    view.setBigUint64(at, value, true);
    at += 8;
  };
  const order = [RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, 8, 9, 10, 11, 12, 13, 14, 15];
  for (const number of order) long(state.regs[number] ?? 0n);
  long(state.rip);
  long(state.rflags);
  const none: SegmentState = { selector: 0, base: 0n, limit: 0, rights: 0 };
  const tables = [state.gdtr, state.idtr].map((t) => ({ ...none, base: t.base, limit: t.limit }));
  const segments = [CS, DS, ES, FS, GS, SS].map((i) => state.segments[i] ?? none);
  for (const s of [...segments, state.ldtr, state.tr, ...tables]) {
    view.setUint32(at, s.selector, true);
    view.setUint32(at + 4, s.limit, true);
    view.setUint32(at + 8, s.rights << 8, true);
    at += 16;
    long(s.base);
  }
  for (const cr of [state.cr0, 0n, state.cr2, state.cr3, state.cr4]) long(cr);
  long(kernelGsBase);
  return new Uint8Array(view.buffer);
}
