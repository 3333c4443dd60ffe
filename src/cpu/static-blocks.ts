import {
  A_ARENA,
  A_BLOCK_TABLE,
  A_TLB_EXEC,
  B_CHAIN,
  B_HEADER,
  B_KEY,
  B_PADDR,
  BLOCK_BUCKETS,
  KEY_CODE32,
  KEY_CODE64,
  KEY_FLAT,
  KEY_PROTECTED,
  KEY_STACK32,
  KEY_STACK64,
  PAGE_RAM,
  REC_SIZE,
  S_AREA,
  S_KEY,
  S_PAGE_MAP,
  S_RAM_HOST,
  S_RAM_SIZE,
  S_RIP,
  S_SEGS,
  SEG_CS,
  SEG_LIMIT,
  SEG_SIZE,
  TLB_ENTRIES,
} from '#ir/state.ts';
import type { Feature } from '#isa/x86/insn.ts';
import { type BlockInfo, BlockView } from './block-view.ts';
import type { HandlerMap } from './handlers.ts';
import { layOut } from './layout.ts';
import { type BlockStore, Predecoder } from './predecode.ts';

/** Bits of the code: what a mode is called by. */
export type CodeMode = 16 | 32 | 64;

/** As boot loaders leave the processor in each mode. */
const KEYS: Readonly<Record<CodeMode, number>> = {
  16: 0,
  32: KEY_CODE32 | KEY_STACK32 | KEY_FLAT | KEY_PROTECTED,
  64: KEY_CODE64 | KEY_STACK64 | KEY_FLAT | KEY_PROTECTED,
};
const PAGE = 4096;
/** Pages of code at most: blocks of them are looked at one by one. */
const MOST_PAGES = 1024;
/** Where the first page of code comes to lie. */
const FIRST_PADDR = PAGE;

/** Code that does not run. */
export interface CodeSource {
  /** The 4096 bytes at an address, zeros where there is no code; undefined where all is none. */
  readPage(vaddr: bigint): Uint8Array | undefined;
  /** Where the code that goes on at an address ends; undefined where there is none. */
  endOf(vaddr: bigint): bigint | undefined;
}

/** Thrown where there is no code. */
const NO_CODE = new Error('there is no code');

/** Blocks of code that does not run: made as the predecoder makes them, where the region planner finds them. */
export class StaticBlocks implements BlockStore {
  readonly memory: WebAssembly.Memory;
  readonly view: BlockView;
  readonly key: number;
  readonly #data: DataView;
  readonly #cpu: number;
  readonly #area: number;
  readonly #ram: number;
  readonly #predecoder: Predecoder;
  readonly #source: CodeSource;
  readonly #pages = new Map<bigint, number>();
  readonly #known = new Map<bigint, BlockInfo | undefined>();
  #next: number;

  constructor(
    parts: { readonly handlers: HandlerMap; readonly features: ReadonlySet<Feature> },
    mode: CodeMode,
    source: CodeSource,
  ) {
    const ramBytes = FIRST_PADDR + MOST_PAGES * PAGE;
    const layout = layOut(1, ramBytes, 0);
    this.memory = new WebAssembly.Memory({ initial: layout.pages });
    this.key = KEYS[mode];
    this.#cpu = layout.cpus[0] ?? 0;
    this.#area = layout.areas[0] ?? 0;
    this.#ram = layout.ram;
    this.#source = source;
    this.#data = new DataView(this.memory.buffer);
    const set = (field: number, value: number) =>
      this.#data.setUint32(this.#cpu + field, value, true);
    set(S_AREA, this.#area);
    set(S_PAGE_MAP, layout.pageMap);
    set(S_RAM_HOST, layout.ram);
    set(S_RAM_SIZE, ramBytes);
    set(S_KEY, this.key);
    set(S_SEGS + SEG_CS * SEG_SIZE + SEG_LIMIT, 0xffffffff);
    new Uint8Array(this.memory.buffer).fill(
      PAGE_RAM,
      layout.pageMap,
      layout.pageMap + ramBytes / PAGE,
    );
    this.view = new BlockView(this.memory, this.#cpu);
    this.#next = this.#area + A_ARENA;
    const { handlers, features } = parts;
    this.#predecoder = new Predecoder(this.memory, this.#cpu, this, handlers, features);
    // Nothing of this code has run, and all of it is wanted.
    this.#predecoder.heatOf = () => 0;
  }

  /** The block at an address, made when it is first asked for; undefined where no whole instruction lies in one page. */
  at(vaddr: bigint): BlockInfo | undefined {
    if (!this.#known.has(vaddr)) this.#known.set(vaddr, this.#make(vaddr));
    return this.#known.get(vaddr);
  }

  #make(vaddr: bigint): BlockInfo | undefined {
    this.#data.setBigUint64(this.#cpu + S_RIP, vaddr, true);
    try {
      const room = this.#room(vaddr);
      if (room === 0) return undefined;
      const paddr = Number(this.fetch_address(this.#cpu, vaddr));
      return this.view.read(this.#predecoder.predecode(paddr, vaddr, this.key, room));
    } catch (error) {
      if (error === NO_CODE) return undefined;
      throw error;
    }
  }

  /** Bytes of code from an address on, which is none beyond those of the mode. */
  #room(vaddr: bigint): number {
    const end = this.#source.endOf(vaddr) ?? vaddr;
    const last = 1n << ((this.key & KEY_CODE64) === 0 ? 32n : 64n);
    return Number((end < last ? end : last) - vaddr);
  }

  /** The code at an address, in whatever pages, at most `most` bytes. */
  bytesAt(vaddr: bigint, most: number): Uint8Array {
    const bytes = new Uint8Array(Math.min(most, this.#room(vaddr)));
    for (let i = 0; i < bytes.length; i++) {
      const paddr = Number(this.fetch_address(this.#cpu, this.view.linearOf(vaddr, i, this.key)));
      bytes[i] = this.view.bytes[this.#ram + paddr] ?? 0;
    }
    return bytes;
  }

  raise_error(): never {
    throw NO_CODE;
  }

  fetch_address(_cpu: number, lin: bigint): bigint {
    const vpage = BigInt.asUintN(64, lin) >> 12n;
    const page = this.#pages.get(vpage) ?? this.#load(vpage);
    return (BigInt(page) << 12n) | (lin & 0xfffn);
  }

  /** Puts a page of code into memory, and tells the planner by the TLB. */
  #load(vpage: bigint): number {
    const bytes = this.#pages.size < MOST_PAGES ? this.#source.readPage(vpage << 12n) : undefined;
    if (bytes === undefined) throw NO_CODE;
    const page = FIRST_PADDR / PAGE + this.#pages.size;
    this.#pages.set(vpage, page);
    this.view.bytes.set(bytes, this.#ram + page * PAGE);
    const entry = this.#area + A_TLB_EXEC + Number(vpage & BigInt(TLB_ENTRIES - 1)) * 16;
    this.#data.setBigUint64(entry, vpage << 12n, true);
    this.#data.setUint32(entry + 12, page, true);
    return page;
  }

  new_block(_cpu: number, records: number): number {
    const block = this.#next;
    this.#next += (B_HEADER + records * REC_SIZE + 7) & ~7;
    return block;
  }

  /** Into the table where `BlockView.find` looks. */
  add_block(_cpu: number, block: number): void {
    const paddr = this.#data.getUint32(block + B_PADDR, true);
    const key = this.#data.getUint32(block + B_KEY, true);
    const hash = (paddr ^ (paddr >>> 13) ^ Math.imul(key, 0x9e35)) & (BLOCK_BUCKETS - 1);
    const bucket = this.#area + A_BLOCK_TABLE + hash * 4;
    this.#data.setUint32(block + B_CHAIN, this.#data.getUint32(bucket, true), true);
    this.#data.setUint32(bucket, block, true);
  }
}
