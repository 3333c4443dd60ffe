import type { Region } from '#codegen/region.ts';
import { REGION_TYPE, RegionBuilder } from '#codegen/region-builder.ts';
import { importsOf } from '#codegen/region-helpers.ts';
import { ModuleWriter } from '#codegen/wasm.ts';
import type { Feature } from '#isa/x86/insn.ts';
import { HELPERS } from '#translate/x86/helpers.ts';
import { type BlockInfo, BlockView } from './block-view.ts';
import { HotLifter } from './hot-lift.ts';
import { FEWEST_PAGES } from './layout.ts';
import { betterEntry } from './region-entry.ts';
import { type RegionBlock, type RegionPlan, RegionPlanner } from './region-planner.ts';

const MAX_MEMORY_PAGES = 65536;

/** A block that has become hot. */
export interface RegionRequest {
  /** Its address in linear memory, and RIP where it was met. */
  readonly block: number;
  readonly rip: bigint;
  /** It is to be entered at this block, and at no better one: that was tried. */
  readonly here: boolean;
  /** The blocks of its region, which gave up too often: it is made again of these, so that it serves misses (`Region`). */
  readonly again?: readonly number[] | undefined;
}

/** The function of a region, and what it was made of. */
export interface CompiledRegion {
  readonly rip: bigint;
  /** The entry first. */
  readonly blocks: readonly RegionBlock[];
  /** Pages besides that of the entry: offset of an address in each, and their physical numbers. */
  readonly pageOffsets: readonly number[];
  readonly pages: readonly number[];
  readonly insns: number;
}

export interface CompiledBatch {
  /** A module; empty when there are no regions. */
  readonly wasm: Uint8Array<ArrayBuffer>;
  /** In the order of the module's globals: `slots` `0`, `1` … are to hold their places in the table of regions. */
  readonly regions: readonly CompiledRegion[];
  /** Blocks that do not make a region. */
  readonly refused: number;
  /** Blocks that are in a region which is entered elsewhere. */
  readonly elsewhere: readonly number[];
  /** Blocks that lie in a region made for another one: a region of their own is worth it if they stay hot beside it. */
  readonly covered: readonly number[];
}

/** Regions of which it is remembered what they were made of. */
const MOST_MADE = 1024;

/** Instructions of a region that calls within another one go to, rather than have them there once more. */
const LARGE = 50;

interface MadeRegion {
  /** Addresses of its blocks. */
  readonly blocks: ReadonlySet<number>;
  readonly insns: number;
}

interface Planned {
  readonly region: Region;
  readonly compiled: CompiledRegion;
}

/** Makes one module of the regions of several hot blocks. Reads the blocks of a vCPU, from whatever thread. */
export class RegionCompiler {
  readonly #view: BlockView;
  readonly #lifter: HotLifter;
  readonly #cpu: number;
  /** The blocks of regions that have been made, by that at which they are entered. */
  readonly #made = new Map<number, MadeRegion>();
  /** Blocks of these that nobody has asked for since. */
  readonly #covered = new Set<number>();
  /** Where the regions of the present batch are entered. */
  readonly #entered = new Set<number>();
  readonly #sparing: boolean;

  /** `sparing`: code is translated again where that is worth it, and not wherever a way leads to it. */
  constructor(
    memory: WebAssembly.Memory,
    cpu: number,
    features: ReadonlySet<Feature>,
    sparing = false,
  ) {
    this.#sparing = sparing;
    this.#cpu = cpu;
    this.#view = new BlockView(memory, cpu);
    this.#lifter = new HotLifter(this.#view, features);
  }

  compile(requests: readonly RegionRequest[]): CompiledBatch {
    const planned: Planned[] = [];
    const elsewhere: number[] = [];
    const covered: number[] = [];
    let refused = 0;
    if (this.#made.size > MOST_MADE) {
      this.#made.clear();
      this.#covered.clear();
    }
    this.#entered.clear();
    for (const request of requests) {
      if (this.#covered.delete(request.block) && this.#sparing && request.again === undefined) {
        covered.push(request.block);
        continue;
      }
      const found = this.#plan(request);
      if (found === undefined) refused++;
      if (found === undefined) continue;
      const { plan, rip } = found;
      if (rip !== request.rip) elsewhere.push(request.block);
      if (plan === undefined) continue;
      const { region, blocks, pages } = plan;
      const [entry] = blocks;
      // A block that became hot while a region was made for another one that is entered here.
      if (entry === undefined || this.#isEntered(entry)) continue;
      const insns = region.nodes.reduce((sum, node) => sum + node.insns.length, 0);
      this.#remember(entry, blocks, insns);
      covered.push(...this.#takeCovered(planned, blocks));
      planned.push({
        region,
        compiled: { rip, blocks, pageOffsets: region.pages, pages, insns },
      });
    }
    return {
      wasm: buildRegions(
        planned.map((p) => p.region),
        this.#cpu,
      ),
      regions: planned.map((p) => p.compiled),
      refused,
      elsewhere,
      covered,
    };
  }

  /**
   * Takes from what is planned in the present batch the regions whose entries are among `blocks`: blocks of one path become hot
   * together, and one behind may be asked for first. Returns their entries.
   */
  #takeCovered(planned: Planned[], blocks: readonly BlockInfo[]): number[] {
    if (!this.#sparing) return [];
    const addresses = new Set(blocks.map(({ address }) => address));
    const taken: number[] = [];
    for (const [i, { region, compiled }] of [...planned.entries()].toReversed()) {
      const entry = compiled.blocks[0]?.address ?? 0;
      if (region.servesMisses || !addresses.has(entry)) continue;
      planned.splice(i, 1);
      taken.push(entry);
      this.#made.delete(entry);
      this.#entered.delete(entry);
      this.#covered.delete(entry); // it has been asked for once
    }
    return taken;
  }

  #isEntered(block: BlockInfo): boolean {
    return this.#view.hasRegion(block) || this.#entered.has(block.address);
  }

  #remember(entry: BlockInfo, blocks: readonly BlockInfo[], insns: number): void {
    this.#entered.add(entry.address);
    const addresses = new Set(blocks.map(({ address }) => address));
    this.#made.set(entry.address, { blocks: addresses, insns });
    for (const address of addresses) this.#covered.add(address);
    this.#covered.delete(entry.address); // should its region go, it is to have one again
  }

  /** A large region is entered at the block: a call may go there, and need not have another copy of its code. */
  #endsCallsAt(block: BlockInfo): boolean {
    const { insns = 0 } = this.#made.get(block.address) ?? {};
    return this.#sparing && insns >= LARGE && this.#isEntered(block);
  }

  /**
   * The region for a hot block, and where it is entered: at the block, or where the loop around it begins (`betterEntry`).
   * All hot blocks of a loop share the region of its first one, so that there may be nothing to make (no plan). A block that
   * becomes hot again, after it was told so, is not led there: it gets a region of its own, entered `here`, which ends
   * where the loop's begins as long as that one stands. Undefined: the block makes no region.
   */
  #plan({
    block,
    rip,
    here,
    again,
  }: RegionRequest): { plan: RegionPlan | undefined; rip: bigint } | undefined {
    const endsCallsAt = (at: BlockInfo) => this.#endsCallsAt(at);
    const parts = { view: this.#view, lifter: this.#lifter, again, endsCallsAt };
    const plan = RegionPlanner.plan(parts, block, rip);
    if (plan === undefined) return undefined;
    const better = betterEntry(plan.region, plan.uses);
    const node = better === undefined ? undefined : plan.region.nodes[better];
    const entry = node && plan.blocks.find(({ offset }) => offset === node.offset);
    if (entry === undefined) return { plan, rip };
    const entryRip = this.#view.linearOf(rip, entry.offset, entry.key);
    const isMade = this.#made.get(entry.address)?.blocks.has(block) === true;
    const hasRegion = this.#view.hasRegion(entry);
    if (isMade && !here) return { plan: undefined, rip: entryRip };
    if (!here && !hasRegion) {
      const moved = RegionPlanner.plan(parts, entry.address, entryRip);
      const isIn = moved?.blocks.some(({ address }) => address === block) === true;
      if (isIn) return { plan: moved, rip: entryRip };
    }
    if (!isMade || !hasRegion) return { plan, rip };
    return { plan: RegionPlanner.plan({ ...parts, without: entry.offset }, block, rip), rip };
  }
}

/** A module that puts the functions of regions into the table of regions. */
function buildRegions(regions: readonly Region[], cpu: number): Uint8Array<ArrayBuffer> {
  if (regions.length === 0) return new Uint8Array();
  const module = new ModuleWriter();
  module.importTable('env', 'hot');
  const slots = regions.map((_, i) => module.importGlobal('slots', `${i}`));
  const indexes = new Map<string, number>();
  for (const [name, { params, result }] of importsOf(regions, HELPERS))
    indexes.set(name, module.import('core', name, { params: ['i32', ...params], result }));
  const type = module.type(REGION_TYPE);
  for (const [i, region] of regions.entries()) {
    const slot = slots[i] ?? 0;
    const { body } = new RegionBuilder(region, { type, slot, cpu }, (name) => {
      const index = indexes.get(name);
      if (index === undefined) throw new Error(`regions: helper ${name} is not declared`);
      return index;
    });
    module.element(slot, module.function(body));
  }
  return module.encode(MAX_MEMORY_PAGES, FEWEST_PAGES);
}
