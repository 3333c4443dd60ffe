import {
  A_REGION_PAGES,
  A_REGIONS,
  B_COUNT,
  B_HEAT,
  B_KEY,
  BLOCKS_EVICTED,
  HEAT_KEPT,
  REGION_PAGES,
  REGION_SLOTS,
  S_AREA,
  S_RIP,
  S_STAT_REGION_COLD,
  S_STAT_REGION_INSNS,
  S_STAT_REGION_RUNS,
} from '#ir/state.ts';
import { type BlockInfo, BlockView, startHeat } from './block-view.ts';
import type { InsnTemplates } from './insn-templates.ts';
import {
  describeRegion,
  type KeptBatch,
  type KeptPlace,
  KeptRegions,
  locateRegion,
  regionAt,
} from './kept-regions.ts';
import type { CompiledBatch, CompiledRegion, RegionRequest } from './region-compiler.ts';
import { descriptions, type LiveRegion, type Unit, type UsedBatch } from './region-units.ts';

/** A batch of regions that has been compiled. */
export interface TranslatedBatch extends CompiledBatch {
  /** Undefined when there are no regions. */
  readonly module: WebAssembly.Module | undefined;
  /** The `epoch` of the requests. */
  readonly epoch: number;
  /** Time that translation and compilation took. */
  readonly ms: number;
}

/** Makes regions of hot blocks, at once or on another thread. */
export interface Translator {
  request(request: RegionRequest, epoch: number): void;
  /** False when `take` would give nothing. */
  hasNews(): boolean;
  /** What has been done since the last call, and what is there from earlier runs; not all of it at once. Empty: that was all. */
  take(): readonly (TranslatedBatch | KeptBatch)[];
}

/** As control/vm.ts has it. */
export interface HotTierStats {
  runs: number;
  leftCold: number;
  executed: number;
  regions: number;
  kept: number;
  dropped: number;
  evicted: number;
  refused: number;
  insns: number;
  wasmBytes: number;
  translateMs: number;
  longestPauseMs: number;
}

interface HotParts {
  readonly memory: WebAssembly.Memory;
  /** The regions in use. */
  readonly table: WebAssembly.Table;
  readonly templates: InsnTemplates;
  /** The host's clock, in milliseconds. */
  readonly nowMs: () => number;
}

/** Slots that regions of earlier runs may hold before they come to life. */
const MOST_RESERVED = REGION_SLOTS / 2;

/** WebAssembly that is held at most; its machine code takes several times as much. */
const MOST_WASM_BYTES = 64 * 1024 * 1024;

/** A module is counted as so much longer: what V8 has of each besides is tens of KiB, and some are a few hundred bytes long. */
const MODULE_BYTES = 8 * 1024;
const sizeOf = ({ wasm }: Unit): number => wasm.length + MODULE_BYTES;

/** Time for which the guest waits for translated code to be put in place; the rest waits for the next look around. */
const MOST_PAUSE_MS = 2;

/** Entries after which a block that lies in a region made for another one is asked for again. */
const HEAT_AGAIN = 2000;

/** How often a block is looked for among the regions of earlier runs. */
const MOST_TRIES = 3;

/** The regions of one vCPU: asks for them, puts them to use, and takes them out when their code changes. */
export class HotTier {
  readonly #stats = {
    regions: 0,
    kept: 0,
    dropped: 0,
    evicted: 0,
    refused: 0,
    insns: 0,
    wasmBytes: 0,
    translateMs: 0,
    longestPauseMs: 0,
  };
  readonly #table: WebAssembly.Table;
  readonly #nowMs: () => number;
  readonly #imports: Record<string, Record<string, unknown>>;
  readonly #translator: Translator;
  readonly #view: DataView;
  readonly #blocks: BlockView;
  readonly #cpu: number;
  readonly #decode: (paddr: number, rip: bigint, key: number) => number;
  /** Live regions by slot, oldest first, and the slots that use a block. */
  readonly #live = new Map<number, LiveRegion>();
  readonly #users = new Map<number, Set<number>>();
  readonly #free: number[] = [];
  #nextSlot = 1;
  /** Counts the times that all blocks were dropped: what was asked for before is void. */
  #epoch = 0;
  readonly #kept: KeptRegions;
  readonly #units = new Map<WebAssembly.Module, Unit>();
  #reserved = 0;
  #wasmHeld = 0;
  readonly #mostWasmBytes: number;
  /** Blocks that a region has been asked for and that are still there, in this epoch. */
  readonly #asked = new Set<number>();
  /** Blocks for which a region was made that is entered elsewhere. */
  readonly #moved = new Set<number>();
  /** Blocks for which a region of an earlier run may stand, and how often each was looked for in vain. */
  #waiting: RegionRequest[] = [];
  readonly #tries = new Map<number, number>();
  /** Slots of live regions that gave up too often. */
  readonly #givenUp = new Set<number>();

  /** `decode` makes the block of the code at a physical address and returns its own. */
  constructor(
    parts: HotParts,
    cpu: number,
    core: Record<string, unknown>,
    translator: Translator,
    decode: (paddr: number, rip: bigint, key: number) => number,
    mostWasmBytes: number = MOST_WASM_BYTES,
  ) {
    this.#mostWasmBytes = mostWasmBytes;
    const { memory, table, nowMs } = parts;
    this.#nowMs = nowMs;
    this.#table = table;
    this.#imports = { env: { memory, hot: table }, core };
    this.#translator = translator;
    this.#view = new DataView(memory.buffer);
    this.#blocks = new BlockView(memory, cpu);
    this.#kept = new KeptRegions(this.#blocks, parts.templates);
    this.#cpu = cpu;
    this.#decode = decode;
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

  /** The modules of which regions have lived. */
  used(): UsedBatch[] {
    const functions = new Map<Unit, unknown[]>();
    for (const [slot, { unit }] of this.#live)
      functions.set(unit, [...(functions.get(unit) ?? []), this.#table.get(slot)]);
    return [...this.#units.values()]
      .filter(({ kept, regions }) => kept !== undefined || regions.some((r) => r !== undefined))
      .map((unit) => ({
        wasm: unit.wasm,
        module: unit.module,
        regions: descriptions(unit),
        functions: functions.get(unit) ?? [],
      }));
  }

  /** How often code of `length` bytes at `host` is to run before the tier is told. */
  heatOf(host: number, length: number, key: number): number {
    return this.#kept.at(host, length, key).length > 0 ? HEAT_KEPT : startHeat(key);
  }

  /** A block has been entered often enough, RIP is at it; below REGION_SLOTS: the region in that slot gave up too often. */
  blockHot(block: number): void {
    if (block < REGION_SLOTS) {
      if (this.#live.has(block)) this.#givenUp.add(block);
      return;
    }
    const rip = this.#view.getBigUint64(this.#cpu + S_RIP, true);
    const request = { block, rip, here: this.#moved.has(block) };
    const entry = this.#kept.isEmpty ? undefined : this.#blocks.read(block);
    const tries = this.#tries.get(block) ?? 0;
    if (entry !== undefined && tries < MOST_TRIES && this.#places(entry).length > 0)
      this.#waiting.push(request);
    else {
      this.#asked.add(block);
      this.#translator.request(request, this.#epoch);
    }
  }

  /** A block is gone; 0: all are; BLOCKS_EVICTED: those that went since the last call went for others, in whose place they lay. */
  blockDropped(block: number): void {
    if (block === 0) {
      this.#epoch++;
      this.#waiting = [];
      this.#tries.clear();
      this.#asked.clear();
      this.#moved.clear();
      for (const slot of [...this.#live.keys()]) this.#drop(slot);
      return;
    }
    if (block === BLOCKS_EVICTED) {
      this.#forgetAsked();
      return;
    }
    this.#asked.delete(block);
    this.#moved.delete(block);
    for (const slot of this.#users.get(block) ?? []) this.#drop(slot);
  }

  /** What is being translated may be of blocks whose place has been taken: it is void, and the others become hot again. */
  #forgetAsked(): void {
    this.#epoch++;
    this.#waiting = this.#waiting.filter(
      ({ block }) => this.#view.getUint32(block + B_COUNT, true) !== 0,
    );
    this.#tries.clear();
    for (const block of this.#asked) this.#setHeat(block);
    this.#asked.clear();
    this.#moved.clear();
  }

  /** Puts to use what has been translated. Between blocks only. */
  poll(): void {
    const waiting = this.#waiting.length + this.#givenUp.size;
    if (waiting === 0 && !this.#translator.hasNews()) return;
    const began = this.#nowMs();
    let paused = 0;
    let work = this.#nextWork();
    for (; work !== undefined; work = this.#nextWork()) {
      work();
      paused = this.#nowMs() - began;
      if (paused >= MOST_PAUSE_MS) break;
    }
    this.#stats.longestPauseMs = Math.max(this.#stats.longestPauseMs, paused);
  }

  /** A piece of what `poll` has to do. */
  #nextWork(): (() => void) | undefined {
    const batches = this.#translator.take();
    if (batches.length > 0) return () => this.#put(batches);
    for (const slot of this.#givenUp) return () => this.#makeAgain(slot);
    const request = this.#waiting.shift();
    return request && (() => this.#revive(request));
  }

  /** A region gave up too often: one of the same blocks that serves misses takes its place. */
  #makeAgain(slot: number): void {
    const region = this.#live.get(slot);
    const again = region?.blocks.map(({ address }) => address);
    const block = again?.[0];
    if (region === undefined || block === undefined) return;
    region.unit.outdated.add(region.index);
    this.#drop(slot);
    this.#asked.add(block);
    this.#setHeat(block, 0); // until then nobody asks for another one
    this.#translator.request({ block, rip: region.rip, here: true, again }, this.#epoch);
  }

  #put(batches: readonly (TranslatedBatch | KeptBatch)[]): void {
    for (const batch of batches) {
      if ('epoch' in batch) this.#install(batch);
      else this.#kept.add(batch);
    }
  }

  #takeSlot(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#nextSlot < REGION_SLOTS) return this.#nextSlot++;
    for (const slot of [...this.#live.keys()].slice(0, REGION_SLOTS / 8)) this.#drop(slot);
    const slot = this.#free.pop();
    if (slot === undefined) throw new Error('hot tier: every place is held by a region to come');
    return slot;
  }

  #install(batch: TranslatedBatch): void {
    this.#stats.translateMs += batch.ms;
    this.#stats.refused += batch.refused;
    if (batch.epoch === this.#epoch) {
      for (const block of batch.elsewhere) this.#move(block);
      for (const block of batch.covered) this.#askAgain(block);
    }
    const { module } = batch;
    if (module === undefined) return;
    this.#stats.wasmBytes += batch.wasm.length;
    const unit: Unit = {
      wasm: batch.wasm,
      module,
      regions: batch.regions.map(() => undefined),
      reserved: batch.regions.map(() => undefined),
      outdated: new Set(),
    };
    const valid = batch.regions.map(
      ({ blocks }) =>
        batch.epoch === this.#epoch &&
        blocks.every((b) => this.#blocks.isSame(b)) &&
        !blocks.slice(0, 1).some((entry) => this.#blocks.hasRegion(entry)),
    );
    this.#instantiate(unit, (i) => valid[i] === true);
    this.#hold(unit);
    for (const [index, region] of batch.regions.entries()) {
      const address = region.blocks[0]?.address ?? 0;
      if (batch.epoch === this.#epoch) this.#asked.delete(address);
      if (valid[index] === true) this.#enter({ ...region, unit, index });
      else if (batch.epoch === this.#epoch) this.#cool(address);
    }
  }

  /** A block that is hot is in a region now, which is entered elsewhere; it may become hot again. */
  #move(block: number): void {
    this.#asked.delete(block);
    this.#moved.add(block);
    this.#cool(block);
  }

  /** A block lies in a region of another one. It was as hot before that was there. */
  #askAgain(block: number): void {
    this.#asked.delete(block);
    this.#cool(block, HEAT_AGAIN);
  }

  /** Keeps a module; the oldest go where there are too many. */
  #hold(unit: Unit): void {
    this.#units.set(unit.module, unit);
    this.#wasmHeld += sizeOf(unit);
    for (const oldest of this.#units.values()) {
      if (this.#wasmHeld <= this.#mostWasmBytes || oldest === unit) break;
      this.#release(oldest);
    }
  }

  /** Takes the regions of a module out of use, so that nothing holds its instances. */
  #release(unit: Unit): void {
    for (const [slot, region] of this.#live)
      if (region.unit === unit) {
        this.#drop(slot);
        this.#stats.evicted++;
      }
    for (const slot of unit.reserved) {
      if (slot === undefined) continue;
      this.#table.set(slot, null);
      this.#free.push(slot);
      this.#reserved--;
    }
    this.#units.delete(unit.module);
    this.#wasmHeld -= sizeOf(unit);
  }

  /** Makes an instance that puts the wanted regions into the table. */
  #instantiate(unit: Unit, wanted: (index: number) => boolean): void {
    const slots: Record<string, number> = {};
    for (const index of unit.regions.keys()) {
      const slot = wanted(index) ? this.#takeSlot() : 0; // slot 0 is nobody's
      slots[index] = slot;
      if (slot === 0) continue;
      unit.reserved[index] = slot;
      this.#reserved++;
    }
    new WebAssembly.Instance(unit.module, { ...this.#imports, slots });
  }

  #enter(region: LiveRegion): void {
    const { unit, index, pages } = region;
    const slot = unit.reserved[index];
    if (slot === undefined) throw new Error('hot tier: a region without a place');
    unit.reserved[index] = undefined;
    this.#reserved--;
    this.#live.set(slot, region);
    for (const { address } of region.blocks) {
      const users = this.#users.get(address) ?? new Set();
      users.add(slot);
      this.#users.set(address, users);
    }
    const area = this.#view.getUint32(this.#cpu + S_AREA, true);
    this.#view.setUint32(area + A_REGIONS + slot * 16 + 4, 0, true);
    for (const [i, page] of pages.entries())
      this.#view.setUint32(area + A_REGION_PAGES + (slot * REGION_PAGES + i) * 4, page, true);
    // One that reads immediates knows where they lie in this memory.
    if (!region.blocks.some((b) => b.patched))
      unit.regions[index] ??= describeRegion(this.#blocks, region);
    this.#setHeat(region.blocks[0]?.address ?? 0, -slot);
    this.#stats.regions++;
    this.#stats.insns += region.insns;
  }

  #drop(slot: number): void {
    const region = this.#live.get(slot);
    if (region === undefined) return;
    this.#live.delete(slot);
    this.#givenUp.delete(slot);
    for (const { address } of region.blocks) {
      const users = this.#users.get(address);
      users?.delete(slot);
      if (users?.size === 0) this.#users.delete(address);
    }
    this.#stats.dropped++;
    this.#table.set(slot, null);
    this.#free.push(slot);
    this.#setHeat(region.blocks[0]?.address ?? 0); // it may become hot again
  }

  /** A block may become hot again, unless another request has led to a region that is entered at it. */
  #cool(block: number, heat?: number): void {
    if (!this.#blocks.hasRegion({ address: block })) this.#setHeat(block, heat);
  }

  /** Without `heat`: that of a block that has not run yet. */
  #setHeat(block: number, heat?: number): void {
    if (this.#view.getUint32(block + B_COUNT, true) !== 0)
      this.#view.setInt32(
        block + B_HEAT,
        heat ?? startHeat(this.#view.getUint32(block + B_KEY, true)),
        true,
      );
  }

  // ---- regions of earlier runs

  #places({ paddr, bytes, key, patched }: BlockInfo): readonly KeptPlace[] {
    if (patched) return [];
    const host = this.#blocks.hostOf(paddr);
    return host === undefined ? [] : this.#kept.at(host, bytes, key);
  }

  /** Looks for a region of an earlier run that stands for the code at a block. */
  #revive({ block, rip }: RegionRequest): void {
    const entry = this.#blocks.read(block);
    if (entry === undefined || this.#blocks.hasRegion(entry)) return;
    let unmapped = false;
    this.#asked.add(block);
    for (const place of this.#places(entry)) {
      const epoch = this.#epoch;
      const at = { entry, rip };
      const found = locateRegion(this.#blocks, regionAt(place), at, (...code) =>
        this.#block(...code),
      );
      if (epoch !== this.#epoch) return;
      if (typeof found === 'object') {
        this.#asked.delete(block);
        this.#reenter(place, found);
        return;
      }
      unmapped ||= found === 'unmapped';
    }
    this.#asked.delete(block);
    const tries = (this.#tries.get(block) ?? 0) + 1;
    this.#tries.set(block, unmapped ? tries : MOST_TRIES);
    this.#setHeat(block, unmapped ? HEAT_KEPT * 4 ** tries : undefined);
  }

  #block(paddr: number, rip: bigint, key: number): BlockInfo | undefined {
    const block = this.#blocks.find(paddr, key) ?? this.#blocks.read(this.#decode(paddr, rip, key));
    return block?.patched === true ? undefined : block; // one that is kept has its immediates in it
  }

  #reenter({ batch, index }: KeptPlace, region: CompiledRegion): void {
    let unit = this.#units.get(batch.module);
    if (unit === undefined) {
      const { wasm, module } = batch;
      const none = () => Array.from({ length: batch.regions.count }, () => undefined);
      const state = { regions: none(), reserved: none(), outdated: new Set<number>() };
      unit = { wasm, module, ...state, kept: batch };
      this.#hold(unit);
      const all = this.#reserved < MOST_RESERVED;
      this.#instantiate(unit, (i) => all || i === index);
    } else if (unit.reserved[index] === undefined) this.#instantiate(unit, (i) => i === index);
    this.#enter({ ...region, unit, index });
    this.#stats.kept++;
  }
}
