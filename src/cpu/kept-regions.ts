import type { BlockInfo, BlockView } from './block-view.ts';
import type { InsnTemplates } from './insn-templates.ts';
import type { CompiledRegion } from './region-compiler.ts';
import type { RegionBlock } from './region-planner.ts';

// Regions that outlive a run. One stands for code by its bytes, wherever in memory these lie: offsets are from its entry.

export interface KeptRegion {
  /** What of the processor's state the code was translated for (KEY_… in ir/state.ts). */
  readonly key: number;
  /** Where each block begins, the entry first, and its length. */
  readonly offsets: Float64Array;
  readonly lengths: Float64Array;
  /** The bytes of all blocks, one after another. */
  readonly code: Uint8Array;
  readonly pageOffsets: Float64Array;
  readonly insns: number;
}

/**
 * Descriptions of a module's regions, as they are posted and stored. `numbers` has for each: hash of its entry block,
 * key, instructions, blocks (0: it never came to life), other pages, bytes of code; then the numbers of KeptRegion.
 */
export interface PackedRegions {
  readonly count: number;
  readonly numbers: Float64Array;
  /** The code of all regions, one after another. */
  readonly code: Uint8Array;
}

/** A module of regions. */
export interface KeptBatch {
  readonly wasm: Uint8Array<ArrayBuffer>;
  readonly module: WebAssembly.Module;
  readonly regions: PackedRegions;
}

/** One of a batch: its index, and where its description begins. */
export interface KeptPlace {
  readonly batch: KeptBatch;
  readonly index: number;
  readonly number: number;
  readonly code: number;
}

const HEAD = 6;

export function packRegions(regions: readonly (KeptRegion | undefined)[]): PackedRegions {
  const numbers: number[] = [];
  const code: Uint8Array[] = [];
  for (const region of regions) {
    if (region === undefined) {
      numbers.push(0, 0, 0, 0, 0, 0);
      continue;
    }
    const { key, insns, offsets, lengths, pageOffsets } = region;
    const hash = hashOf(region.code, 0, lengths[0] ?? 0, key);
    numbers.push(hash, key, insns, offsets.length, pageOffsets.length, region.code.length);
    numbers.push(...offsets, ...lengths, ...pageOffsets);
    code.push(region.code);
  }
  const bytes = new Uint8Array(code.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of code) {
    bytes.set(part, at);
    at += part.length;
  }
  return { count: regions.length, numbers: Float64Array.from(numbers), code: bytes };
}

/** Where the descriptions of a batch's regions are, with the hashes of their entries; undefined where there is none. */
function* placesIn(batch: KeptBatch): Generator<[place: KeptPlace, hash: number] | undefined> {
  const { numbers } = batch.regions;
  let code = 0;
  for (let number = 0, index = 0; number < numbers.length; index++) {
    const [hash = 0, , , blocks = 0, pages = 0, bytes = 0] = numbers.subarray(
      number,
      number + HEAD,
    );
    yield blocks === 0 ? undefined : [{ batch, index, number, code }, hash];
    number += HEAD + 2 * blocks + pages;
    code += bytes;
  }
}

/** The descriptions of a batch, by index. */
export function unpackRegions(batch: KeptBatch): (KeptRegion | undefined)[] {
  return [...placesIn(batch)].map((found) => found && regionAt(found[0]));
}

/** The region that is described there. */
export function regionAt({ batch, number, code }: KeptPlace): KeptRegion {
  const { numbers } = batch.regions;
  const [, key = 0, insns = 0, blocks = 0, pages = 0, bytes = 0] = numbers.subarray(
    number,
    number + HEAD,
  );
  const offsets = number + HEAD;
  const lengths = offsets + blocks;
  const ends = lengths + blocks;
  return {
    key,
    insns,
    offsets: numbers.subarray(offsets, lengths),
    lengths: numbers.subarray(lengths, ends),
    pageOffsets: numbers.subarray(ends, ends + pages),
    code: batch.regions.code.subarray(code, code + bytes),
  };
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
    offsets: Float64Array.from(region.blocks, (b) => b.offset),
    lengths: Float64Array.from(region.blocks, (b) => b.bytes),
    code,
    pageOffsets: Float64Array.from(region.pageOffsets),
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
    for (const found of placesIn(batch)) {
      if (found === undefined) continue;
      const [place, hash] = found;
      this.#templates.addKept(hash);
      const places = this.#byEntry.get(hash);
      if (places === undefined) this.#byEntry.set(hash, [place]);
      else places.push(place);
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
    pageOffsets: [...region.pageOffsets],
    pages: Array.from(
      region.pageOffsets,
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
