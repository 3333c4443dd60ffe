import type { BlockInfo, BlockView } from './block-view.ts';
import type { InsnTemplates } from './insn-templates.ts';
import type { CompiledRegion } from './region-compiler.ts';
import type { RegionBlock } from './region-planner.ts';

// Regions that outlive a run. One stands for code by its bytes, wherever in memory these lie: offsets are from its entry.

export interface KeptRegion {
  /** What of the processor's state the code was translated for (KEY_… in ir/state.ts). */
  readonly key: number;
  /** Where each block begins, the entry first, and its length. */
  readonly offsets: readonly number[];
  readonly lengths: readonly number[];
  /** The bytes of all blocks, one after another. */
  readonly code: Uint8Array;
  readonly pageOffsets: readonly number[];
  readonly insns: number;
}

/** A module of regions. A region that never came to life has no description. */
export interface KeptBatch {
  readonly wasm: Uint8Array<ArrayBuffer>;
  readonly module: WebAssembly.Module;
  readonly regions: readonly (KeptRegion | undefined)[];
}

/** One of a batch. */
export interface KeptPlace {
  readonly batch: KeptBatch;
  readonly index: number;
  readonly region: KeptRegion;
}

const PAGE_SHIFT = 12n;

function hashOf(bytes: Uint8Array, from: number, to: number, key: number): number {
  let hash = 0x811c9dc5 ^ key;
  for (let at = from; at < to; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
  return hash;
}

/** What a live region was made from, to be found again. */
export function describeRegion(view: BlockView, region: CompiledRegion): KeptRegion | undefined {
  const parts: Uint8Array[] = [];
  for (const { paddr, bytes } of region.blocks) {
    const at = view.hostOf(paddr);
    if (at === undefined) return undefined;
    parts.push(view.bytes.slice(at, at + bytes));
  }
  const code = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let end = 0;
  for (const part of parts) {
    code.set(part, end);
    end += part.length;
  }
  return {
    key: region.blocks[0]?.key ?? 0,
    offsets: region.blocks.map((b) => b.offset),
    lengths: region.blocks.map((b) => b.bytes),
    code,
    pageOffsets: region.pageOffsets,
    insns: region.insns,
  };
}

/** Regions of earlier runs, by the bytes of the block that they are entered at. */
export class KeptRegions {
  readonly #view: BlockView;
  readonly #byEntry = new Map<number, KeptPlace[]>();

  readonly #templates: InsnTemplates;

  constructor(view: BlockView, templates: InsnTemplates) {
    this.#view = view;
    this.#templates = templates;
  }

  get isEmpty(): boolean {
    return this.#byEntry.size === 0;
  }

  add(batch: KeptBatch): void {
    for (const [index, region] of batch.regions.entries()) {
      if (region === undefined) continue;
      const hash = hashOf(region.code, 0, region.lengths[0] ?? 0, region.key);
      this.#templates.addKept(hash);
      const places = this.#byEntry.get(hash);
      if (places === undefined) this.#byEntry.set(hash, [{ batch, index, region }]);
      else places.push({ batch, index, region });
    }
  }

  /** Regions that may be entered at code of `length` bytes at `host`, in linear memory. */
  at(host: number, length: number, key: number): readonly KeptPlace[] {
    if (this.isEmpty) return [];
    return this.#byEntry.get(hashOf(this.#view.bytes, host, host + length, key)) ?? [];
  }
}

/** Finds the block of code at a physical address, making it if need be; undefined if there can be none. */
export type BlockSource = (paddr: number, rip: bigint, key: number) => BlockInfo | undefined;

/**
 * The region for the code that is entered at `rip`, whose block is `entry`. `elsewhere`: its code is not this;
 * `unmapped`: part of it has not been fetched of late, so that it cannot be told.
 */
export function locateRegion(
  view: BlockView,
  region: KeptRegion,
  { entry, rip }: { readonly entry: BlockInfo; readonly rip: bigint },
  blockAt: BlockSource,
): CompiledRegion | 'elsewhere' | 'unmapped' {
  if (entry.key !== region.key) return 'elsewhere';
  const pages = new Map([[rip >> PAGE_SHIFT, entry.paddr >>> 12]]);
  for (const offset of [0, ...region.pageOffsets]) {
    const lin = view.linearOf(rip, offset, region.key);
    const page = view.codePage(lin, region.key);
    if (page === undefined) return 'unmapped';
    if (offset === 0 && page !== entry.paddr >>> 12) return 'unmapped';
    pages.set(lin >> PAGE_SHIFT, page);
  }
  const places = placesOf(view, region, rip, pages);
  if (places === undefined) return 'elsewhere';
  const blocks: RegionBlock[] = [];
  for (const [i, paddr] of places.entries()) {
    const offset = region.offsets[i] ?? 0;
    const block = blockAt(paddr, view.linearOf(rip, offset, region.key), region.key);
    if (block === undefined || block.bytes !== region.lengths[i]) return 'elsewhere';
    blocks.push({ ...block, offset });
  }
  return {
    rip,
    blocks,
    pageOffsets: region.pageOffsets,
    pages: region.pageOffsets.map(
      (offset) => pages.get(view.linearOf(rip, offset, region.key) >> PAGE_SHIFT) ?? 0,
    ),
    insns: region.insns,
  };
}

/** Physical addresses of the blocks, if the bytes there are theirs. */
function placesOf(
  view: BlockView,
  region: KeptRegion,
  rip: bigint,
  pages: ReadonlyMap<bigint, number>,
): number[] | undefined {
  const places: number[] = [];
  let from = 0;
  for (const [i, offset] of region.offsets.entries()) {
    const lin = view.linearOf(rip, offset, region.key);
    const page = pages.get(lin >> PAGE_SHIFT);
    const length = region.lengths[i] ?? 0;
    if (page === undefined || Number(lin & 0xfffn) + length > 4096) return undefined;
    const paddr = ((page << 12) | Number(lin & 0xfffn)) >>> 0;
    const host = view.hostOf(paddr);
    if (host === undefined || !view.holds(host, region.code, from, length)) return undefined;
    places.push(paddr);
    from += length;
  }
  return places;
}
