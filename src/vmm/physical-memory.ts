import type { MemoryLayout } from '#cpu/layout.ts';
import { PAGE_RAM, S_ROM_HOST, S_ROM_PADDR } from '#ir/state.ts';

const PAGE = 4096;

/** Guest-physical memory as it lies in the VM's linear memory: RAM and ROM, nothing of devices. */
export class PhysicalMemory {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #layout: MemoryLayout;

  constructor(memory: WebAssembly.Memory, layout: MemoryLayout) {
    this.#bytes = new Uint8Array(memory.buffer);
    this.#view = new DataView(memory.buffer);
    this.#layout = layout;
  }

  /** The `length` bytes at `paddr`, not a copy, cut off at the end of the page and empty where no memory is. */
  inPage(paddr: number, length: number): Uint8Array {
    const count = Math.min(length, PAGE - (paddr % PAGE));
    const host = this.#hostOf(paddr);
    return host < 0 ? new Uint8Array(0) : this.#bytes.subarray(host, host + count);
  }

  /** A page-table entry; undefined where no memory is. */
  word(paddr: number, bytes: 4 | 8): bigint | undefined {
    const host = this.#hostOf(paddr);
    if (host < 0) return undefined;
    return bytes === 8
      ? this.#view.getBigUint64(host, true)
      : BigInt(this.#view.getUint32(host, true));
  }

  /** Address in linear memory, or -1. */
  #hostOf(paddr: number): number {
    if (!(paddr >= 0 && paddr < 2 ** 32)) return -1;
    const { pageMap, ram, cpus } = this.#layout;
    if (((this.#bytes[pageMap + Math.floor(paddr / PAGE)] ?? 0) & PAGE_RAM) === 0) return -1;
    const cpu = cpus[0] ?? 0;
    const rom = this.#view.getUint32(cpu + S_ROM_PADDR, true);
    if (rom !== 0 && paddr >= rom)
      return this.#view.getUint32(cpu + S_ROM_HOST, true) + (paddr - rom);
    return ram + paddr;
  }
}
