import { BootError } from './boot-error.ts';

// ELF executables. Source: System V ABI, chapters 4 and 5; AMD64 supplement.

const MAGIC = 0x464c457f;
const CLASS64 = 2;
const LITTLE_ENDIAN = 1;
const MACHINE_386 = 3;
const MACHINE_X86_64 = 62;
const PT_LOAD = 1;
const PT_NOTE = 4;

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
    entry,
    segments: segments.filter((s) => s.type === PT_LOAD || s.type === PT_NOTE),
    bytes,
  };
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

/** The segments to be loaded. */
export function loadable(elf: Elf): Segment[] {
  return elf.segments.filter((s) => s.type === PT_LOAD);
}

const XEN_ELFNOTE_PHYS32_ENTRY = 18; // Xen public/elfnote.h

/** The 32-bit entry of the PVH boot protocol, where the file has one. */
export function pvhEntry(elf: Elf): number | undefined {
  const view = viewOf(elf.bytes);
  for (const { type, offset, fileBytes } of elf.segments) {
    if (type !== PT_NOTE) continue;
    const end = Math.min(offset + fileBytes, elf.bytes.length);
    let at = offset;
    while (at + 12 <= end) {
      const nameBytes = view.getUint32(at, true);
      const dataBytes = view.getUint32(at + 4, true);
      const data = at + 12 + ((nameBytes + 3) & ~3);
      const isXen = nameBytes === 4 && view.getUint32(at + 12, true) === 0x006e6558;
      if (isXen && view.getUint32(at + 8, true) === XEN_ELFNOTE_PHYS32_ENTRY && data + 4 <= end)
        return view.getUint32(data, true);
      at = data + ((dataBytes + 3) & ~3);
    }
  }
  return undefined;
}
