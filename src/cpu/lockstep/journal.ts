import { S_AREA, S_RAM_HOST, TLB_BYTES, TLB_ENTRIES, TLB_ENTRY_SIZE } from '#ir/state.ts';

const PAGE = 4096;
const PAGE_NUMBER = (1 << 28) - 1;
/** Pages that one run may write; more are not undone. */
const MOST_PAGES = 512;
/** Pages whose TLB entries for writing outlive a run: each costs a copy at the next. */
const MOST_OPEN = 6;
const MOST_ENTRIES = 64;
/** Tables of data accesses in a vCPU's area: a mode's for reads, then the one for writes. */
const DATA_TABLES = 6;
/** Accessed and dirty, in the first byte of a page-table entry (SDM vol. 3, 4.8). */
const ACCESSED = 0x20;
const MARKS = 0x60;

/** What the journal calls of core/. */
export interface BulkMemory {
  copy_bytes(to: number, from: number, size: number): void;
  first_difference(a: number, b: number, size: number): number;
  restore_bytes(to: number, from: number, size: number): void;
}

/** `aside`: nothing is kept; `first`: what is written is kept; `second`: what was not written the first time is, too. */
export type Pass = 'aside' | 'first' | 'second';

/** A byte of memory that is not the same after both passes. */
export interface ByteDifference {
  readonly paddr: number;
  readonly first: number;
  readonly second: number;
}

/**
 * Copies of the pages that a run of guest code writes, so that it can be undone and compared with a second run. A page is
 * copied before its entry for writing comes into the TLB: stores that find one there are as fast as ever.
 */
export class Journal {
  readonly #bulk: BulkMemory;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #cpu: number;
  /** Where the copies begin: MOST_PAGES as they were before, and as many as the first run left them. */
  readonly #before: number;
  readonly #after: number;
  /** Physical page → its place among the copies. */
  readonly #copied = new Map<number, number>();
  /** Pages with entries for writing, and these entries. */
  readonly #open = new Set<number>();
  #openEntries: number[] = [];
  /** Entries of any table that came in the first pass. */
  #filled: number[] = [];
  /** Page-table entries that walks have marked. */
  readonly #marked = new Set<number>();
  /** The second pass may have to walk where the first had an entry. */
  #lostEntries = false;
  #pass: Pass = 'aside';
  #overflow = false;

  /** `at`: where MOST_PAGES * 2 pages of linear memory are free. */
  constructor(memory: WebAssembly.Memory, cpu: number, bulk: BulkMemory, at: number) {
    this.#bulk = bulk;
    this.#words = new Int32Array(memory.buffer);
    this.#bytes = new Uint8Array(memory.buffer);
    this.#cpu = cpu;
    this.#before = at;
    this.#after = at + MOST_PAGES * PAGE;
  }

  static readonly bytes = 2 * MOST_PAGES * PAGE;

  /** More pages were written than are kept: the first run cannot be undone. */
  get overflow(): boolean {
    return this.#overflow;
  }

  begin(): void {
    this.#copied.clear();
    this.#marked.clear();
    this.#filled = [];
    this.#lostEntries = false;
    this.#overflow = false;
    if (this.#open.size > MOST_OPEN || this.#openEntries.length > MOST_ENTRIES) {
      for (const entry of this.#openEntries) this.#clear(entry);
      this.#openEntries = [];
      this.#open.clear();
    }
    this.#pass = 'first';
    for (const page of this.#open) this.#keep(page);
  }

  /** Everything is as before the first pass; begins the second. */
  undo(): void {
    for (const entry of this.#filled) this.#clear(entry);
    for (const [page, place] of this.#copied) {
      const now = this.#host(page);
      const before = this.#before + place * PAGE;
      this.#bulk.copy_bytes(this.#after + place * PAGE, now, PAGE);
      this.#bulk.restore_bytes(now, before, PAGE);
    }
    this.#pass = 'second';
  }

  end(): void {
    this.#pass = 'aside';
  }

  /** A TLB entry is being filled: `table` counts from the start of the vCPU's area, `page` is the entry's last word. */
  filled(table: number, vaddr: bigint, page: number): void {
    const index = Number((vaddr >> 12n) & BigInt(TLB_ENTRIES - 1));
    const area = this.#words[(this.#cpu + S_AREA) >> 2] ?? 0;
    const entry = area + table * TLB_BYTES + index * TLB_ENTRY_SIZE;
    if (this.#pass === 'first') {
      this.#lostEntries ||= !this.#isEmpty(entry);
      this.#filled.push(entry);
    }
    if (table >= DATA_TABLES || (table & 1) === 0) return;
    this.#openEntries.push(entry);
    this.#open.add(page & PAGE_NUMBER);
    this.#keep(page & PAGE_NUMBER);
  }

  /** A write that makes no entry is about to come. */
  stored(paddr: number): void {
    this.#keep(Math.floor(paddr / PAGE));
  }

  /** The TLB has been emptied. */
  flushed(): void {
    this.#lostEntries = true;
  }

  /**
   * A walk marks a page-table entry: translated code that gives an instruction up may have looked up its pages before,
   * as any processor may. It may not leave out Dirty.
   */
  marked(paddr: number): void {
    if (this.#pass !== 'aside') this.#marked.add(paddr);
  }

  #keep(page: number): void {
    if (this.#pass === 'aside' || this.#copied.has(page)) return;
    const place = this.#copied.size;
    if (place === MOST_PAGES) {
      this.#overflow = true;
      return;
    }
    this.#copied.set(page, place);
    this.#bulk.copy_bytes(this.#before + place * PAGE, this.#host(page), PAGE);
    // What the first pass did not write it left as it is now.
    if (this.#pass === 'second')
      this.#bulk.copy_bytes(this.#after + place * PAGE, this.#host(page), PAGE);
  }

  #host(page: number): number {
    return (this.#words[(this.#cpu + S_RAM_HOST) >> 2] ?? 0) + page * PAGE;
  }

  #isEmpty(entry: number): boolean {
    return (((this.#words[entry >> 2] ?? 0) >> 12) & 1) !== ((entry / TLB_ENTRY_SIZE) & 1);
  }

  /** Makes an entry empty: a tag whose bit 12 is not that of its index (ir/state.ts). */
  #clear(entry: number): void {
    this.#words[entry >> 2] = (~(entry / TLB_ENTRY_SIZE) & 1) << 12;
    this.#words[(entry >> 2) + 1] = 0;
  }

  /**
   * Marks that need not be the same: those that translated code has set besides, and Accessed, as the interpreter alone
   * looks for the block behind the last instruction.
   */
  #freeMarks(first: number): number {
    return this.#lostEntries ? MARKS : MARKS & (first | ACCESSED);
  }

  /** The first bytes, at most `most`, that the second pass has left otherwise than the first. */
  differences(most: number): ByteDifference[] {
    const found: ByteDifference[] = [];
    for (const [page, place] of this.#copied) {
      const now = this.#host(page);
      const after = this.#after + place * PAGE;
      let at = this.#bulk.first_difference(now, after, PAGE);
      for (; at < PAGE && found.length < most; at++) {
        const first = this.#bytes[after + at] ?? 0;
        const second = this.#bytes[now + at] ?? 0;
        const paddr = page * PAGE + at;
        const free = this.#marked.has(paddr) ? this.#freeMarks(first) : 0;
        if (((first ^ second) & ~free) !== 0) found.push({ paddr, first, second });
      }
    }
    return found;
  }
}
