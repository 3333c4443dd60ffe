import { BootError } from './boot-error.ts';
import type { Placement } from './plan-types.ts';

// ELF executables. Source: System V ABI, chapters 4 and 5; AMD64 supplement.

const MAGIC = 0x464c457f;
const CLASS64 = 2;
const LITTLE_ENDIAN = 1;
const MACHINE_386 = 3;
const MACHINE_X86_64 = 62;
const ET_REL = 1;
const ET_CORE = 4;
export const PT_LOAD = 1;
const PT_INTERP = 3;
const PT_NOTE = 4;
const PT_TLS = 7;

export interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly vaddr: bigint;
  readonly paddr: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
}

export interface Elf {
  readonly is64: boolean;
  /** What it is when it is certainly no kernel: for one that says otherwise, by a note or a header, it says nothing. */
  readonly foreign: string | undefined;
  readonly entry: bigint;
  readonly segments: readonly Segment[];
  readonly bytes: Uint8Array;
}

export function isElf(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && viewOf(bytes).getUint32(0, true) === MAGIC;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function need(bytes: Uint8Array, offset: number, count: number, what: string): void {
  if (offset + count > bytes.length) {
    throw new BootError(
      'truncated',
      `the ELF file ends inside its ${what}; it is cut off, get it anew`,
    );
  }
}

/** @throws {BootError} for another architecture, or a file that is cut off. */
export function parseElf(bytes: Uint8Array): Elf {
  need(bytes, 0, 52, 'header');
  const view = viewOf(bytes);
  const is64 = bytes[4] === CLASS64;
  const machine = view.getUint16(18, true);
  if (bytes[5] !== LITTLE_ENDIAN || machine !== (is64 ? MACHINE_X86_64 : MACHINE_386)) {
    throw new BootError('unsupported', 'the ELF file is for another processor; give one for x86');
  }
  if (is64) need(bytes, 0, 64, 'header');
  const table = is64 ? Number(view.getBigUint64(32, true)) : view.getUint32(28, true);
  const entryBytes = view.getUint16(is64 ? 54 : 42, true);
  const count = view.getUint16(is64 ? 56 : 44, true);
  need(bytes, table, entryBytes * count, 'program headers');
  if (entryBytes < (is64 ? 56 : 32))
    throw new BootError('unsupported', 'the ELF file has no usable program headers');
  const segments = Array.from({ length: count }, (_, i) =>
    segmentAt(bytes, table + i * entryBytes, is64),
  );
  const entry = is64 ? view.getBigUint64(24, true) : BigInt(view.getUint32(24, true));
  return {
    is64,
    foreign: foreignKind(view.getUint16(16, true), segments),
    entry,
    segments: segments.filter((s) => s.type === PT_LOAD || s.type === PT_NOTE),
    bytes,
  };
}

/** Programs have an interpreter when they are linked dynamically, and storage for each thread when not. */
function foreignKind(type: number, segments: readonly Segment[]): string | undefined {
  if (type === ET_REL) return 'an object file that is not linked';
  if (type === ET_CORE) return 'a core dump';
  const isProgram = segments.some((s) => s.type === PT_INTERP || s.type === PT_TLS);
  return isProgram ? 'a program for a running system' : undefined;
}

function segmentAt(bytes: Uint8Array, at: number, is64: boolean): Segment {
  const view = viewOf(bytes);
  const word = (offset: number) => view.getUint32(at + offset, true);
  const long = (offset: number) => Number(view.getBigUint64(at + offset, true));
  const segment = is64
    ? {
        type: word(0),
        offset: long(8),
        vaddr: view.getBigUint64(at + 16, true),
        paddr: long(24),
        fileBytes: long(32),
        memoryBytes: long(40),
      }
    : {
        type: word(0),
        offset: word(4),
        vaddr: BigInt(word(8)),
        paddr: word(12),
        fileBytes: word(16),
        memoryBytes: word(20),
      };
  if (segment.type === PT_LOAD) need(bytes, segment.offset, segment.fileBytes, 'segments');
  return segment;
}

/** @throws {BootError} when there are none. */
function loadable(elf: Elf): Segment[] {
  const list = elf.segments.filter((s) => s.type === PT_LOAD);
  if (list.length > 0) return list;
  throw new BootError(
    'unsupported',
    'the ELF file has no segments to load; give one that is linked as an executable',
  );
}

/** The segments to be loaded. @throws {BootError} without any, or where one has more bytes in the file than in memory. */
export function placeSegments(elf: Elf): Placement[] {
  return loadable(elf).map((s) => {
    if (s.fileBytes > s.memoryBytes)
      throw new BootError('unsupported', 'the ELF file has a segment larger than its memory');
    const bytes = elf.bytes.subarray(s.offset, s.offset + s.fileBytes);
    return { paddr: s.paddr, bytes, spanBytes: s.memoryBytes };
  });
}

/** Where the highest segment ends. */
export function segmentsEnd(elf: Elf): number {
  return loadable(elf).reduce((end, s) => Math.max(end, s.paddr + s.memoryBytes), 0);
}

function isInside(entry: bigint, start: bigint, { memoryBytes }: Segment): boolean {
  return entry >= start && entry < start + BigInt(memoryBytes);
}

/** The entry as a physical address: some linkers write that, some the virtual one. @throws {BootError} */
export function physicalEntry(elf: Elf, entry = elf.entry): bigint {
  const list = loadable(elf);
  if (list.some((s) => isInside(entry, BigInt(s.paddr), s))) return entry;
  const segment = list.find((s) => isInside(entry, s.vaddr, s));
  if (segment !== undefined) return entry - segment.vaddr + BigInt(segment.paddr);
  const at = `0x${entry.toString(16)}`;
  throw new BootError(
    'unsupported',
    `the ELF file's entry ${at} lies in none of its segments; link it with an entry in its code`,
  );
}

/** The entry as a virtual address, where a segment has it. @throws {BootError} */
export function virtualEntry(elf: Elf): bigint {
  const { entry } = elf;
  const list = loadable(elf);
  if (list.some((s) => isInside(entry, s.vaddr, s))) return entry;
  const segment = list.find((s) => isInside(entry, BigInt(s.paddr), s));
  return segment === undefined ? entry : entry - BigInt(segment.paddr) + segment.vaddr;
}

const XEN_ELFNOTE_PHYS32_ENTRY = 18; // Xen public/elfnote.h
const XEN_NAME = 0x006e6558; // "Xen"
const MAX_NOTE_BYTES = 65536;

/** The 32-bit entry of the PVH boot protocol, where the file has one. */
export function pvhEntry(elf: Elf): number | undefined {
  for (const { type, offset, fileBytes } of elf.segments) {
    if (type !== PT_NOTE) continue;
    const bytes = elf.bytes.subarray(offset, offset + Math.min(fileBytes, MAX_NOTE_BYTES));
    const entry = pvhNote(viewOf(bytes));
    if (entry !== undefined) return entry;
  }
  return undefined;
}

function pvhNote(notes: DataView): number | undefined {
  const NOTE_HEADER = 12;
  const align = (value: number) => Math.ceil(value / 4) * 4;
  let at = 0;
  while (at + NOTE_HEADER <= notes.byteLength) {
    const nameBytes = notes.getUint32(at, true);
    const dataBytes = notes.getUint32(at + 4, true);
    const type = notes.getUint32(at + 8, true);
    const data = at + NOTE_HEADER + align(nameBytes);
    const isEntry = type === XEN_ELFNOTE_PHYS32_ENTRY && nameBytes === 4 && dataBytes >= 4;
    if (isEntry && data + 4 <= notes.byteLength && notes.getUint32(data - 4, true) === XEN_NAME)
      return notes.getUint32(data, true);
    at = data + align(dataBytes);
  }
  return undefined;
}
