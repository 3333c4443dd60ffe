import { BootError } from './boot-error.ts';
import { E820_RAM, memoryMap } from './e820.ts';
import type { Placement } from './plan-types.ts';

const PAGE = 4096;
const MIB = 2 ** 20;

const hex = (value: number) => `0x${value.toString(16)}`;

function span({ bytes, spanBytes }: Placement): number {
  return Math.max(bytes.length, spanBytes ?? 0);
}

/**
 * Checks that everything lies in RAM and nothing on anything else: addresses come from the kernel's file.
 * @throws {BootError} `too-large` beyond the memory, `unsupported` elsewhere.
 */
export function checkPlacements(writes: readonly Placement[], memoryBytes: number): void {
  const ram = memoryMap(memoryBytes).filter((range) => range.type === E820_RAM);
  const sorted = writes.filter((w) => span(w) > 0).sort((a, b) => a.paddr - b.paddr);
  let taken = 0;
  for (const write of sorted) {
    const end = write.paddr + span(write);
    if (end > 2 ** 32) {
      throw new BootError(
        'unsupported',
        write.paddr < 2 ** 32
          ? `a part of the kernel at ${hex(write.paddr)} reaches beyond 4 GiB; give a smaller one`
          : `the kernel is to lie at ${hex(write.paddr)}, beyond 4 GiB; give one that is linked lower`,
      );
    }
    if (end > memoryBytes) {
      throw new BootError(
        'too-large',
        `the kernel needs ${Math.ceil(end / MIB)} MiB of memory; give more`,
        { field: 'memory' },
      );
    }
    if (!ram.some((r) => write.paddr >= r.paddr && end <= r.paddr + r.bytes)) {
      throw new BootError(
        'unsupported',
        `the kernel is to lie at ${hex(write.paddr)}, which is no RAM; link it to 1 MiB or above`,
      );
    }
    if (write.paddr < taken) {
      throw new BootError(
        'unsupported',
        `parts of the kernel, or what it is given, overlap at ${hex(write.paddr)}; link it to 1 MiB or above`,
      );
    }
    taken = end;
  }
}

/**
 * As high as it can lie below `top`: page-aligned, behind the kernel.
 * @throws {BootError} `too-large` where there is no room.
 */
export function placeInitrd(initrd: Uint8Array, top: number, kernelEnd: number): Placement {
  const paddr = Math.floor((top - initrd.length) / PAGE) * PAGE;
  if (paddr < kernelEnd) {
    const need = Math.ceil((kernelEnd + initrd.length) / MIB) + 1;
    throw new BootError('too-large', `kernel and initrd need ${need} MiB of memory; give more`, {
      field: 'initrd',
    });
  }
  return { paddr, bytes: initrd };
}

/** A string as C has it. */
export function cString(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}
