import { RequestError } from '#base/errors.ts';
import type { ExplainRequest } from '#control/explain.ts';
import { BootError } from '#machines/boot/boot-error.ts';
import { isBzImage, unpackBzImage } from '#machines/boot/bzimage.ts';
import { isElf, parseElf, virtualEntry } from '#machines/boot/elf.ts';
import { findMultiboot, placeMultiboot } from '#machines/boot/multiboot-header.ts';
import { DECOMPRESS } from './decompress.ts';

/** More than any kernel takes when it is unpacked. */
const MOST_UNPACKED_BYTES = 512 * 1024 * 1024;
const PAGE = 4096n;

/** A piece of code and where it lies. */
interface Piece {
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

/** Code as a file has it, by address. */
export interface CodeImage {
  readonly mode: 16 | 32 | 64;
  readonly entry: bigint;
  /** The file that names may come from: a kernel unpacked. */
  readonly file: Uint8Array | undefined;
  readonly pieces: readonly Piece[];
}

/** @throws {RequestError} */
export function openCode({ kernel, raw, mode }: ExplainRequest): CodeImage {
  if (raw !== undefined) {
    const pieces = [{ address: raw.base, bytes: raw.bytes }];
    return { mode: mode ?? 64, entry: raw.base, file: undefined, pieces };
  }
  if (kernel === undefined)
    throw new RequestError('there is nothing to explain; give a kernel or code');
  try {
    const image = openKernel(kernel);
    return mode === undefined ? image : { ...image, mode };
  } catch (error) {
    if (error instanceof BootError)
      throw new RequestError(error.message, 'kernel', { cause: error });
    throw error;
  }
}

function openKernel(kernel: Uint8Array): CodeImage {
  if (isBzImage(kernel)) {
    const vmlinux = unpackBzImage(kernel, MOST_UNPACKED_BYTES, DECOMPRESS);
    if (vmlinux === undefined || !isElf(vmlinux))
      throw new RequestError('its payload cannot be unpacked; give the vmlinux in it', 'kernel');
    return openElf(vmlinux);
  }
  const header = findMultiboot(kernel);
  if (header !== undefined && !isElf(kernel)) {
    const { writes, entry } = placeMultiboot(kernel, header);
    const pieces = writes.map(({ paddr, bytes }) => ({ address: BigInt(paddr), bytes }));
    return { mode: 32, entry: BigInt(entry), file: undefined, pieces };
  }
  if (!isElf(kernel))
    throw new RequestError(
      'it is neither a bzImage nor an ELF or Multiboot file; code without a format is no kernel',
      'kernel',
    );
  return openElf(kernel);
}

const PT_LOAD = 1;

/** By virtual addresses, as the code will run. */
function openElf(file: Uint8Array): CodeImage {
  const elf = parseElf(file);
  const pieces = elf.segments
    .filter((s) => s.type === PT_LOAD && s.fileBytes > 0)
    .map((s) => ({ address: s.vaddr, bytes: file.subarray(s.offset, s.offset + s.fileBytes) }));
  return { mode: elf.is64 ? 64 : 32, entry: virtualEntry(elf), file, pieces };
}

/** Where the code that has `vaddr` ends, over all pieces that touch; undefined where there is none. */
export function codeEnd(image: CodeImage, vaddr: bigint): bigint | undefined {
  const endOf = ({ address, bytes }: Piece) => address + BigInt(bytes.length);
  let end: bigint | undefined;
  for (;;) {
    const at = end ?? vaddr;
    const piece = image.pieces.find((p) => p.address <= at && at < endOf(p));
    if (piece === undefined) return end;
    end = endOf(piece);
  }
}

/** The page at `vaddr`, zeros where only a part of it is there; undefined where nothing is. */
export function readCodePage(image: CodeImage, vaddr: bigint): Uint8Array | undefined {
  let page: Uint8Array | undefined;
  for (const { address, bytes } of image.pieces) {
    const end = address + BigInt(bytes.length);
    if (end <= vaddr || address >= vaddr + PAGE) continue;
    page ??= new Uint8Array(Number(PAGE));
    const skipped = address < vaddr ? Number(vaddr - address) : 0;
    const at = address > vaddr ? Number(address - vaddr) : 0;
    page.set(bytes.subarray(skipped, skipped + Number(PAGE) - at), at);
  }
  return page;
}
