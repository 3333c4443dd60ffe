import {
  B_COUNT,
  B_HEAT,
  HEAT_START,
  REGION_SLOTS,
  S_RIP,
  S_STAT_REGION_COLD,
  S_STAT_REGION_INSNS,
  S_STAT_REGION_RUNS,
} from '#ir/state.ts';
import { BlockView } from './block-view.ts';
import type { CompiledBatch, CompiledRegion, RegionRequest } from './region-compiler.ts';

/** A batch of regions that has been compiled. */
export interface TranslatedBatch extends Omit<CompiledBatch, 'wasm'> {
  readonly module: WebAssembly.Module;
  readonly wasmBytes: number;
  /** The `epoch` of the requests. */
  readonly epoch: number;
  /** Time that translation and compilation took. */
  readonly ms: number;
}

/** Makes regions of hot blocks, at once or on another thread. */
export interface Translator {
  request(request: RegionRequest, epoch: number): void;
  /** What has been done since the last call. */
  take(): readonly TranslatedBatch[];
}

/** As control/vm.ts has it. */
export interface HotTierStats {
  runs: number;
  leftCold: number;
  executed: number;
  regions: number;
  dropped: number;
  refused: number;
  insns: number;
  wasmBytes: number;
  translateMs: number;
}

/** The regions of one vCPU: asks for them, puts them to use, and takes them out when their code changes. */
export class HotTier {
  readonly #stats = {
    regions: 0,
    dropped: 0,
    refused: 0,
    insns: 0,
    wasmBytes: 0,
    translateMs: 0,
  };
  readonly #table: WebAssembly.Table;
  readonly #imports: Record<string, Record<string, unknown>>;
  readonly #translator: Translator;
  readonly #view: DataView;
  readonly #blocks: BlockView;
  readonly #cpu: number;
  /** Live regions by slot, oldest first, and the slots that use a block. */
  readonly #live = new Map<number, CompiledRegion>();
  readonly #users = new Map<number, Set<number>>();
  readonly #free: number[] = [];
  #nextSlot = 1;
  /** Counts the times that all blocks were dropped: what was asked for before is void. */
  #epoch = 0;

  constructor(
    parts: { readonly memory: WebAssembly.Memory; readonly table: WebAssembly.Table },
    cpu: number,
    core: Record<string, unknown>,
    translator: Translator,
  ) {
    const { memory, table } = parts;
    this.#table = table;
    this.#imports = { env: { memory, hot: table }, core };
    this.#translator = translator;
    this.#view = new DataView(memory.buffer);
    this.#blocks = new BlockView(memory, cpu);
    this.#cpu = cpu;
  }

  stats(): HotTierStats {
    const counter = (field: number) => Number(this.#view.getBigUint64(this.#cpu + field, true));
    return {
      ...this.#stats,
      runs: counter(S_STAT_REGION_RUNS),
      leftCold: counter(S_STAT_REGION_COLD),
      executed: counter(S_STAT_REGION_INSNS),
    };
  }

  /** A block has been entered often enough. RIP is at it. */
  blockHot(block: number): void {
    const slot = this.#takeSlot();
    const rip = this.#view.getBigUint64(this.#cpu + S_RIP, true);
    this.#translator.request({ slot, block, rip }, this.#epoch);
  }

  /** The bytes of a block have changed; 0: all blocks are gone. */
  blockDropped(block: number): void {
    if (block === 0) {
      this.#epoch++;
      for (const slot of [...this.#live.keys()]) this.#drop(slot);
      return;
    }
    for (const slot of this.#users.get(block) ?? []) this.#drop(slot);
  }

  /** Puts to use what has been translated. Between blocks only. */
  poll(): void {
    for (const batch of this.#translator.take()) this.#install(batch);
  }

  #takeSlot(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#nextSlot < REGION_SLOTS) return this.#nextSlot++;
    for (const slot of [...this.#live.keys()].slice(0, REGION_SLOTS / 8)) this.#drop(slot);
    const slot = this.#free.pop();
    if (slot === undefined)
      throw new Error('hot tier: more regions are being made than there are places');
    return slot;
  }

  #install(batch: TranslatedBatch): void {
    this.#stats.translateMs += batch.ms;
    this.#stats.refused += batch.refused.length;
    this.#free.push(...batch.refused);
    if (batch.regions.length === 0) return;
    this.#stats.wasmBytes += batch.wasmBytes;
    new WebAssembly.Instance(batch.module, this.#imports);
    for (const region of batch.regions) {
      if (batch.epoch === this.#epoch && region.blocks.every((b) => this.#blocks.isSame(b)))
        this.#enter(region);
      else this.#release(region.slot, region.entry, batch.epoch === this.#epoch);
    }
  }

  #enter(region: CompiledRegion): void {
    this.#live.set(region.slot, region);
    for (const { address } of region.blocks) {
      const users = this.#users.get(address) ?? new Set();
      users.add(region.slot);
      this.#users.set(address, users);
    }
    this.#setHeat(region.entry, -region.slot);
    this.#stats.regions++;
    this.#stats.insns += region.insns;
  }

  #drop(slot: number): void {
    const region = this.#live.get(slot);
    if (region === undefined) return;
    this.#live.delete(slot);
    for (const { address } of region.blocks) {
      const users = this.#users.get(address);
      users?.delete(slot);
      if (users?.size === 0) this.#users.delete(address);
    }
    this.#stats.dropped++;
    this.#release(slot, region.entry, true);
  }

  /** Frees a slot; its entry may become hot again. */
  #release(slot: number, entry: number, entryIsThere: boolean): void {
    this.#table.set(slot, null);
    this.#free.push(slot);
    if (entryIsThere) this.#setHeat(entry, HEAT_START);
  }

  #setHeat(block: number, heat: number): void {
    if (this.#view.getUint32(block + B_COUNT, true) !== 0)
      this.#view.setInt32(block + B_HEAT, heat, true);
  }
}
