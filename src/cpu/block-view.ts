import {
  A_BLOCK_TABLE,
  A_JUMP_LOG,
  A_TLB_EXEC,
  B_BYTES,
  B_CHAIN,
  B_COUNT,
  B_HEAT,
  B_KEY,
  B_PADDR,
  B_PADDR2,
  B_PATCHED,
  B_RECORDS,
  BLOCK_BUCKETS,
  HEAT_START,
  HEAT_START_USER,
  JUMP_LOG_ENTRIES,
  KEY_CODE64,
  KEY_USER,
  S_AREA,
  S_RAM_HOST,
  S_RAM_SIZE,
  TLB_BYTES,
  TLB_ENTRIES,
} from '#ir/state.ts';

const PAGE_SHIFT = 12n;
/** Bits 27:0 of a TLB entry's last word. */
const TLB_PAGE = (1 << 28) - 1;
/** More blocks in a bucket than any has: the chain is being changed while it is read. */
const MAX_CHAIN = 1000;

/** A block of the cold tier, as read at one moment. */
export interface BlockInfo {
  readonly address: number;
  readonly paddr: number;
  readonly key: number;
  readonly count: number;
  readonly bytes: number;
  /** Some of its immediates are read when it runs. */
  readonly patched: boolean;
}

/** Entries after which a block is worth translating. */
export function startHeat(key: number): number {
  return (key & KEY_USER) === 0 ? HEAT_START : HEAT_START_USER;
}

/**
 * The blocks of a vCPU, read from any thread while the vCPU runs. What is read may be changing: whoever uses it asks
 * `isSame` on the vCPU's thread before anything comes of it.
 */
export class BlockView {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #cpu: number;

  constructor(memory: WebAssembly.Memory, cpu: number) {
    this.bytes = new Uint8Array(memory.buffer);
    this.#view = new DataView(memory.buffer);
    this.#words = new Int32Array(memory.buffer);
    this.#cpu = cpu;
  }

  /** The word at `at`, which is a multiple of 4; 0 beyond memory. */
  #get(at: number): number {
    return (this.#words[at >>> 2] ?? 0) >>> 0;
  }

  /** The block at `address`, if it is one that regions are made of: all in one page, and valid. */
  read(address: number): BlockInfo | undefined {
    const count = this.#get(address + B_COUNT);
    if (count === 0 || this.#get(address + B_PADDR2) !== 0) return undefined;
    return {
      address,
      paddr: this.#get(address + B_PADDR),
      key: this.#get(address + B_KEY),
      count,
      bytes: this.#get(address + B_BYTES),
      patched: (this.#get(address + B_RECORDS) & B_PATCHED) !== 0,
    };
  }

  isSame(block: BlockInfo): boolean {
    const now = this.read(block.address);
    return (
      now !== undefined &&
      now.paddr === block.paddr &&
      now.key === block.key &&
      now.bytes === block.bytes
    );
  }

  /** How often a block has been entered; at most `startHeat`. */
  entries(block: BlockInfo): number {
    return startHeat(block.key) - Math.max(0, this.#get(block.address + B_HEAT) | 0);
  }

  /** Whether a region is entered at a block. */
  hasRegion({ address }: Pick<BlockInfo, 'address'>): boolean {
    return (this.#get(address + B_HEAT) | 0) < 0;
  }

  find(paddr: number, key: number): BlockInfo | undefined {
    const hash = (paddr ^ (paddr >>> 13) ^ Math.imul(key, 0x9e35)) & (BLOCK_BUCKETS - 1);
    let at = this.#get(this.#get(this.#cpu + S_AREA) + A_BLOCK_TABLE + hash * 4);
    for (let i = 0; at !== 0 && i < MAX_CHAIN; i++) {
      const block = this.read(at);
      if (block?.paddr === paddr && block.key === key) return block;
      at = this.#get(at + B_CHAIN);
    }
    return undefined;
  }

  /** Where an indirect jump at the end of a block has gone of late, the commonest first. */
  targets(block: BlockInfo): bigint[] {
    const log = this.#get(this.#cpu + S_AREA) + A_JUMP_LOG;
    const counts = new Map<bigint, number>();
    const words = this.#words;
    for (let i = 0; i < JUMP_LOG_ENTRIES; i++) {
      const at = log + i * 16;
      if (words[at >>> 2] !== (block.address | 0)) continue;
      const rip = this.#view.getBigUint64(at + 8, true);
      counts.set(rip, (counts.get(rip) ?? 0) + 1);
    }
    return [...counts].sort(([, a], [, b]) => b - a).map(([rip]) => rip);
  }

  /** Physical page from which code at `lin` was last fetched, if the TLB still has it. */
  codePage(lin: bigint, key: number): number | undefined {
    const table =
      this.#get(this.#cpu + S_AREA) + A_TLB_EXEC + ((key & KEY_USER) !== 0 ? TLB_BYTES : 0);
    const entry = table + Number((lin >> PAGE_SHIFT) & BigInt(TLB_ENTRIES - 1)) * 16;
    if (this.#view.getBigUint64(entry, true) !== (lin >> PAGE_SHIFT) << PAGE_SHIFT)
      return undefined;
    return this.#get(entry + 12) & TLB_PAGE;
  }

  /** The linear address `offset` bytes from `rip`, as code with this key wraps. */
  linearOf(rip: bigint, offset: number, key: number): bigint {
    return BigInt.asUintN((key & KEY_CODE64) !== 0 ? 64 : 32, rip + BigInt(offset));
  }

  /** True when linear memory at `host` has the bytes of `code` from `from`. */
  holds(host: number, code: Uint8Array, from: number, length: number): boolean {
    for (let i = 0; i < length; i++) if (this.bytes[host + i] !== code[from + i]) return false;
    return true;
  }

  /** Where the bytes at `paddr` lie; undefined where there is no RAM. */
  hostOf(paddr: number): number | undefined {
    if (paddr >= this.#get(this.#cpu + S_RAM_SIZE)) return undefined;
    return this.#get(this.#cpu + S_RAM_HOST) + paddr;
  }
}
