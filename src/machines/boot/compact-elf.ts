import { PT_LOAD, parseElf, placeSegments, type Segment } from './elf.ts';

const PAGE = 4096;
/** Zeros that are worth a segment of their own. */
const WORTH_BYTES = 16 * PAGE;
const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const MOST_SEGMENTS = 4096;

/** A 64-bit ELF program that loads what `bytes` loads, without its zeros and what is not loaded; undefined for others. */
export function compactElf(bytes: Uint8Array): Uint8Array | undefined {
  const elf = parseElf(bytes);
  placeSegments(elf); // a segment larger than its memory is refused
  const pieces = elf.segments
    .filter((s) => s.type === PT_LOAD)
    .flatMap((segment) => piecesOf(segment, bytes));
  if (!elf.is64 || pieces.length > MOST_SEGMENTS) return undefined;
  const dataAt = HEADER_BYTES + pieces.length * PROGRAM_HEADER_BYTES;
  const compact = new Uint8Array(pieces.reduce((sum, p) => sum + p.fileBytes, dataAt));
  compact.set(bytes.subarray(0, HEADER_BYTES));
  const view = new DataView(compact.buffer);
  view.setBigUint64(32, BigInt(HEADER_BYTES), true); // e_phoff
  view.setUint16(54, PROGRAM_HEADER_BYTES, true);
  view.setUint16(56, pieces.length, true);
  let at = dataAt;
  for (const [i, piece] of pieces.entries()) {
    writeHeader(view, HEADER_BYTES + i * PROGRAM_HEADER_BYTES, { ...piece, offset: at });
    compact.set(bytes.subarray(piece.offset, piece.offset + piece.fileBytes), at);
    at += piece.fileBytes;
  }
  return compact;
}

/** A segment cut where its zeros begin: they follow the bytes of each piece, as those of .bss do. */
function piecesOf(segment: Segment, bytes: Uint8Array): Segment[] {
  const pieces: Segment[] = [];
  const { offset, fileBytes } = segment;
  let from = 0;
  let zerosFrom: number | undefined;
  const cut = (to: number) => {
    pieces.push({
      ...segment,
      offset: offset + from,
      vaddr: segment.vaddr + BigInt(from),
      paddr: segment.paddr + from,
      fileBytes: (zerosFrom ?? Math.min(to, fileBytes)) - from,
      memoryBytes: to - from,
    });
    from = to;
  };
  for (let at = 0; at < fileBytes; at += PAGE) {
    const isZero = isZeroAt(bytes, offset + at, Math.min(PAGE, fileBytes - at));
    if (isZero) zerosFrom ??= at;
    else {
      if (zerosFrom !== undefined && at - zerosFrom >= WORTH_BYTES) cut(at);
      zerosFrom = undefined;
    }
  }
  cut(segment.memoryBytes);
  return pieces;
}

function isZeroAt(bytes: Uint8Array, at: number, length: number): boolean {
  for (let i = at; i < at + length; i++) if (bytes[i] !== 0) return false;
  return true;
}

/** Elf64_Phdr; flags and alignment are nothing to a loader. */
function writeHeader(view: DataView, at: number, segment: Segment): void {
  view.setUint32(at, segment.type, true);
  view.setBigUint64(at + 8, BigInt(segment.offset), true);
  view.setBigUint64(at + 16, segment.vaddr, true);
  view.setBigUint64(at + 24, BigInt(segment.paddr), true);
  view.setBigUint64(at + 32, BigInt(segment.fileBytes), true);
  view.setBigUint64(at + 40, BigInt(segment.memoryBytes), true);
}
