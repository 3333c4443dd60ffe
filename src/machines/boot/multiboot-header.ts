import { BootError } from './boot-error.ts';
import { isElf, parseElf, physicalEntry, placeSegments, segmentsEnd } from './elf.ts';
import type { Placement } from './plan-types.ts';

// What a Multiboot kernel says of itself. Source: Multiboot specification 0.6.96, 3.1.

const MAGIC = 0x1badb002;
const SEARCHED_BYTES = 8192;
/** Page-aligned modules and a memory map it gets anyway; without a display no video mode can be had. */
const KNOWN_REQUIREMENTS = 0b111;
const REQUIREMENTS = 0xffff;
const HAS_ADDRESSES = 1 << 16;

export interface MultibootImage {
  readonly writes: readonly Placement[];
  readonly entry: number;
  readonly end: number;
}

/** Where the header lies, or undefined when it is no Multiboot kernel. */
export function findMultiboot(kernel: Uint8Array): number | undefined {
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  const end = Math.min(SEARCHED_BYTES, kernel.length) - 12;
  for (let at = 0; at <= end; at += 4) {
    if (view.getUint32(at, true) !== MAGIC) continue;
    const sum = MAGIC + view.getUint32(at + 4, true) + view.getUint32(at + 8, true);
    if (sum >>> 0 === 0) return at;
  }
  return undefined;
}

/** Places the kernel whose header lies `at` there. @throws {BootError} */
export function placeMultiboot(kernel: Uint8Array, at: number): MultibootImage {
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  const flags = view.getUint32(at + 4, true);
  const unknown = flags & REQUIREMENTS & ~KNOWN_REQUIREMENTS;
  if (unknown !== 0) {
    throw new BootError(
      'unsupported',
      `the Multiboot kernel requires what is not known here (flags 0x${unknown.toString(16)})`,
    );
  }
  if (flags & HAS_ADDRESSES) return placeByAddresses(kernel, at);
  if (!isElf(kernel)) {
    throw new BootError(
      'unsupported',
      'the Multiboot kernel is no ELF file and its header has no addresses; link it as ELF',
    );
  }
  const elf = parseElf(kernel);
  const entry = physicalEntry(elf);
  if (entry >= 2n ** 32n)
    throw new BootError('unsupported', 'the Multiboot kernel has an entry beyond 4 GiB');
  return { writes: placeSegments(elf), entry: Number(entry), end: segmentsEnd(elf) };
}

/** 3.1.3: the address fields say what part of the file lies where. */
function placeByAddresses(kernel: Uint8Array, at: number): MultibootImage {
  if (at + 32 > kernel.length)
    throw new BootError('truncated', 'the kernel ends inside its Multiboot header; get it anew');
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  const field = (index: number) => view.getUint32(at + 12 + index * 4, true);
  const [headerPaddr, load, loadEnd, bssEnd, entry] = [0, 1, 2, 3, 4].map(field) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const start = at - (headerPaddr - load);
  const fileBytes = loadEnd === 0 ? kernel.length - start : loadEnd - load;
  if (load > headerPaddr || start < 0 || fileBytes < 0 || (bssEnd !== 0 && bssEnd < load)) {
    throw new BootError(
      'unsupported',
      'the addresses in the Multiboot header contradict each other; link the kernel as ELF',
    );
  }
  if (start + fileBytes > kernel.length)
    throw new BootError('truncated', 'the kernel ends before its load address does; get it anew');
  const spanBytes = Math.max(fileBytes, bssEnd - load);
  const bytes = kernel.subarray(start, start + fileBytes);
  return { writes: [{ paddr: load, bytes, spanBytes }], entry, end: load + spanBytes };
}
