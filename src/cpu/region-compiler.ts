import type { Region } from '#codegen/region.ts';
import { REGION_HELPERS, REGION_TYPE, RegionBuilder } from '#codegen/region-builder.ts';
import { ModuleWriter } from '#codegen/wasm.ts';
import type { Helper } from '#ir/helpers.ts';
import type { Feature } from '#isa/x86/insn.ts';
import { HELPERS } from '#translate/x86/helpers.ts';
import { type BlockInfo, BlockView } from './block-view.ts';
import { HotLifter } from './hot-lift.ts';
import { RegionPlanner } from './region-planner.ts';

const MAX_MEMORY_PAGES = 65536;

/** A block that has become hot. */
export interface RegionRequest {
  /** Place in the table of regions. */
  readonly slot: number;
  /** Address of the block in linear memory, and RIP where it was met. */
  readonly block: number;
  readonly rip: bigint;
}

export interface CompiledRegion {
  readonly slot: number;
  readonly entry: number;
  readonly blocks: readonly BlockInfo[];
  readonly insns: number;
}

export interface CompiledBatch {
  readonly wasm: Uint8Array;
  readonly regions: readonly CompiledRegion[];
  /** Slots whose blocks do not make a region. */
  readonly refused: readonly number[];
}

/** Makes one module of the regions of several hot blocks. Reads the blocks of a vCPU, from whatever thread. */
export class RegionCompiler {
  readonly #view: BlockView;
  readonly #lifter: HotLifter;

  constructor(memory: WebAssembly.Memory, cpu: number, features: ReadonlySet<Feature>) {
    this.#view = new BlockView(memory, cpu);
    this.#lifter = new HotLifter(this.#view, features);
  }

  compile(requests: readonly RegionRequest[]): CompiledBatch {
    const planned: { region: Region; compiled: CompiledRegion }[] = [];
    const refused: number[] = [];
    for (const { slot, block, rip } of requests) {
      const plan = RegionPlanner.plan(this.#view, this.#lifter, block, rip);
      if (plan === undefined) refused.push(slot);
      else {
        const insns = plan.region.nodes.reduce((sum, node) => sum + node.insns.length, 0);
        const compiled = { slot, entry: block, blocks: plan.blocks, insns };
        planned.push({ region: { ...plan.region, slot }, compiled });
      }
    }
    const wasm = buildRegions(planned.map((p) => p.region));
    return { wasm, regions: planned.map((p) => p.compiled), refused };
  }
}

/** A module that puts the functions of regions into the table of regions. */
function buildRegions(regions: readonly Region[]): Uint8Array {
  const module = new ModuleWriter();
  module.importTable('env', 'hot');
  const indexes = new Map<string, number>();
  for (const name of helpersOf(regions)) {
    const helper: Helper | undefined = REGION_HELPERS[name] ?? HELPERS[name];
    if (helper === undefined) throw new Error(`regions: no helper ${name}`);
    const { params, result } = helper;
    indexes.set(name, module.import('core', name, { params: ['i32', ...params], result }));
  }
  const type = module.type(REGION_TYPE);
  for (const region of regions) {
    const { body } = new RegionBuilder(region, type, (name) => {
      const index = indexes.get(name);
      if (index === undefined) throw new Error(`regions: helper ${name} is not declared`);
      return index;
    });
    module.element(region.slot, module.function(body));
  }
  return module.encode(MAX_MEMORY_PAGES);
}

function helpersOf(regions: readonly Region[]): Set<string> {
  const names = new Set(Object.keys(REGION_HELPERS));
  for (const region of regions)
    for (const node of region.nodes)
      for (const { ir } of node.insns)
        for (const { op, attr } of ir.insts)
          if (op.family === 'call' && attr.helper !== undefined) names.add(attr.helper);
  names.delete('check_aligned');
  return names;
}
