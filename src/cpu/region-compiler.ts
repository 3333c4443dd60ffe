import type { Region } from '#codegen/region.ts';
import { REGION_TYPE, RegionBuilder } from '#codegen/region-builder.ts';
import { importsOf } from '#codegen/region-helpers.ts';
import { ModuleWriter } from '#codegen/wasm.ts';
import type { Feature } from '#isa/x86/insn.ts';
import { HELPERS } from '#translate/x86/helpers.ts';
import { BlockView } from './block-view.ts';
import { HotLifter } from './hot-lift.ts';
import { FEWEST_PAGES } from './layout.ts';
import { type RegionBlock, RegionPlanner } from './region-planner.ts';

const MAX_MEMORY_PAGES = 65536;

/** A block that has become hot. */
export interface RegionRequest {
  /** Its address in linear memory, and RIP where it was met. */
  readonly block: number;
  readonly rip: bigint;
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
  readonly wasm: Uint8Array<ArrayBuffer>;
  /** In the order of the module's globals: `slots` `0`, `1` … are to hold their places in the table of regions. */
  readonly regions: readonly CompiledRegion[];
  /** Blocks that do not make a region. */
  readonly refused: number;
}

/** Makes one module of the regions of several hot blocks. Reads the blocks of a vCPU, from whatever thread. */
export class RegionCompiler {
  readonly #view: BlockView;
  readonly #lifter: HotLifter;
  readonly #cpu: number;

  constructor(memory: WebAssembly.Memory, cpu: number, features: ReadonlySet<Feature>) {
    this.#cpu = cpu;
    this.#view = new BlockView(memory, cpu);
    this.#lifter = new HotLifter(this.#view, features);
  }

  compile(requests: readonly RegionRequest[]): CompiledBatch {
    const planned: { region: Region; compiled: CompiledRegion }[] = [];
    for (const { block, rip } of requests) {
      const plan = RegionPlanner.plan(this.#view, this.#lifter, block, rip);
      if (plan === undefined) continue;
      const { region, blocks, pages } = plan;
      const insns = region.nodes.reduce((sum, node) => sum + node.insns.length, 0);
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
      refused: requests.length - planned.length,
    };
  }
}

/** A module that puts the functions of regions into the table of regions. */
function buildRegions(regions: readonly Region[], cpu: number): Uint8Array<ArrayBuffer> {
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
