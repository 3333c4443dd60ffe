import type { MemoryLayout } from '#cpu/layout.ts';
import type { GuestMemory } from '#hw/guest-memory.ts';
import { PAGE_CODE, PAGE_RAM } from '#ir/state.ts';

const PAGE = 4096;
const LOW_BYTES = 0x10_0000;
/** Guests have the same pages filled again and again; a power of two. */
const KEPT_PAGES = 4096;

/** Guest RAM for devices. Below 1 MiB not all is memory. */
export class VmMemory implements GuestMemory {
  readonly #ram: Uint8Array;
  readonly #pageMap: Uint8Array;
  readonly #stale: (page: number) => void;
  /** Views of whole pages, each where the low bits of its number say: a request of a MiB has 256. */
  readonly #pages: (Uint8Array | undefined)[] = Array(KEPT_PAGES).fill(undefined);

  /** `stale` hears of pages with translated code that a device has written to. */
  constructor(
    memory: WebAssembly.Memory,
    layout: MemoryLayout,
    ramBytes: number,
    stale: (page: number) => void,
  ) {
    this.#ram = new Uint8Array(memory.buffer, layout.ram, ramBytes);
    this.#pageMap = new Uint8Array(memory.buffer, layout.pageMap, ramBytes / PAGE);
    this.#stale = stale;
  }

  bytes(paddr: number, lengthBytes: number): Uint8Array | undefined {
    const end = paddr + lengthBytes;
    if (!(paddr >= 0 && lengthBytes >= 0 && end <= this.#ram.length)) return undefined;
    for (let page = Math.floor(paddr / PAGE); page * PAGE < Math.min(end, LOW_BYTES); page++)
      if (((this.#pageMap[page] ?? 0) & PAGE_RAM) === 0) return undefined;
    return lengthBytes === PAGE && paddr % PAGE === 0
      ? this.#page(paddr)
      : this.#ram.subarray(paddr, end);
  }

  #page(paddr: number): Uint8Array {
    const place = (paddr / PAGE) & (KEPT_PAGES - 1);
    const kept = this.#pages[place];
    if (kept?.byteOffset === this.#ram.byteOffset + paddr) return kept;
    const page = this.#ram.subarray(paddr, paddr + PAGE);
    this.#pages[place] = page;
    return page;
  }

  wrote(paddr: number, lengthBytes: number): void {
    const last = Math.ceil((paddr + lengthBytes) / PAGE);
    for (let page = Math.floor(paddr / PAGE); page < last; page++)
      if (Atomics.load(this.#pageMap, page) & PAGE_CODE) this.#stale(page);
  }
}
