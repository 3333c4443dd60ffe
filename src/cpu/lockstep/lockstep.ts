import { REGION_TYPE } from '#codegen/region-builder.ts';
import { ModuleWriter } from '#codegen/wasm.ts';
import type { MemoryGate } from '#hw/memory-gate.ts';
import {
  B_HEAT,
  KEY_STEP,
  REGION_COLD,
  REGION_SLOTS,
  S_BUDGET,
  S_EXC_VECTOR,
  S_KEY,
  S_KILLS,
  S_REC,
} from '#ir/state.ts';
import {
  EVENT_FLUSH,
  EVENT_MARK,
  EVENT_STORE,
  EVENT_TLB_FILL,
  S_TRACE,
  TRACE_MMU,
  TRACE_STORES,
} from '#ir/state-system.ts';
import { LockstepError } from './lockstep-error.ts';
import { type LockstepCore, LockstepMemory, type Outcome } from './lockstep-memory.ts';
import { type OutsideWorld, STOP, TwiceSeen } from './outside.ts';

const MAX_PAGES = 65536;
/** Instructions between two comparisons in a loop: how many follows from the comparisons before, so that a run repeats. */
const FEWEST = 64;
const SPREAD = 1024;
/** Times in a row that the interpreter may be turned back before it has done an instruction. */
const MOST_TRIES = 100;

type RunCode = (cpu: number) => number;

export interface LockstepParts {
  readonly memory: WebAssembly.Memory;
  readonly cpu: number;
  /** Where translated code puts itself. */
  readonly regions: WebAssembly.Table;
  readonly outside: OutsideWorld;
  readonly gate: MemoryGate | undefined;
  /** What is thrown for an exception of the guest. */
  readonly unwind: unknown;
}

/** As control/vm.ts has it. */
export interface LockstepStats {
  compared: number;
  instructions: number;
  skipped: number;
}

/**
 * Runs translated code and the interpreter in lockstep. In the table from which the interpreter calls regions stands a
 * function of this class instead: it lets the region run, undoes all that it did, has the interpreter do as many
 * instructions, and compares registers, flags, memory, and what was asked of devices. What the interpreter did stands.
 */
export class Lockstep {
  /** For the interpreter: all entries lead here. */
  readonly table: WebAssembly.Table;
  /** Stands between core/ and the board. */
  readonly outside: TwiceSeen;
  readonly stats: LockstepStats = { compared: 0, instructions: 0, skipped: 0 };
  readonly #parts: LockstepParts;
  readonly #cpu: number;
  #memory: LockstepMemory | undefined;
  #run: RunCode = () => 0;
  #again = false;
  #random = 1;

  constructor(parts: LockstepParts) {
    this.#parts = parts;
    this.#cpu = parts.cpu;
    this.outside = new TwiceSeen(parts.outside);
    this.table = new WebAssembly.Table({ initial: 1 + REGION_SLOTS, element: 'anyfunc' });
    const enter = callable(parts.memory, () => this.#enter());
    for (let slot = 1; slot <= REGION_SLOTS; slot++) this.table.set(slot, enter);
  }

  /** `run` is the interpreter. */
  attach(core: LockstepCore, run: RunCode): void {
    this.#memory = new LockstepMemory(this.#parts.memory, this.#cpu, core);
    this.#run = run;
  }

  /** Before the vCPU runs: from here on everything that may be written is known. */
  start(): void {
    const { view, core } = this.#parted();
    const at = this.#cpu + S_TRACE;
    view.setUint32(at, view.getUint32(at, true) | TRACE_MMU | TRACE_STORES, true);
    core.flush_tlb(this.#cpu);
  }

  /** An event of core/, as S_TRACE has asked for it. */
  event(event: number, a: bigint, b: bigint): void {
    const { journal } = this.#parted();
    if (event === EVENT_TLB_FILL)
      journal.filled(Number(b >> 32n), BigInt.asUintN(64, a), Number(b & 0xffff_ffffn));
    else if (event === EVENT_FLUSH) journal.flushed();
    else if (event === EVENT_STORE) journal.stored(Number(a));
    else if (event === EVENT_MARK) journal.marked(Number(a));
  }

  #parted(): LockstepMemory {
    if (this.#memory === undefined) throw new Error('lockstep: the interpreter is not attached');
    return this.#memory;
  }

  /** In place of the region at RIP. While the interpreter repeats one, it is to do regions itself. */
  #enter(): number {
    if (this.#again) return REGION_COLD;
    const memory = this.#parted();
    const heat = memory.view.getInt32(memory.core.find_block(this.#cpu) + B_HEAT, true);
    const region = heat < 0 ? (this.#parts.regions.get(-heat) as RunCode | null) : null;
    const { gate } = this.#parts;
    if (region === null || gate?.hold() === false) return REGION_COLD;
    try {
      return this.#compare(memory, region);
    } finally {
      gate?.release();
    }
  }

  #compare(memory: LockstepMemory, region: RunCode): number {
    const budget = memory.budget;
    const limit = Math.min(budget, this.#limit());
    memory.set(S_BUDGET, limit);
    const kills = memory.get(S_KILLS);
    memory.begin();
    this.outside.begin();
    const outcome = this.#first(region, limit, memory);
    if (memory.journal.overflow) {
      memory.journal.end();
      this.outside.end();
      this.stats.skipped++;
    } else {
      memory.undo();
      const problem = this.#second(memory, outcome, memory.get(S_KILLS) !== kills);
      memory.end();
      const outside = this.outside.end();
      const found = [problem, outside].filter((text) => text !== undefined);
      if (found.length > 0 || memory.differs(outcome.raised))
        throw new LockstepError(memory.report(outcome, found));
      this.stats.compared++;
      this.stats.instructions += outcome.count;
    }
    memory.set(S_BUDGET, budget - outcome.count);
    if (outcome.raised) throw this.#parts.unwind;
    return outcome.code;
  }

  #limit(): number {
    this.#random = (Math.imul(this.#random, 1_103_515_245) + 12_345) >>> 0;
    return FEWEST + ((this.#random >>> 16) % SPREAD);
  }

  #first(region: RunCode, limit: number, memory: LockstepMemory): Outcome {
    let code = REGION_COLD;
    let raised = false;
    try {
      code = region(this.#cpu);
    } catch (error) {
      if (error !== STOP && error !== this.#parts.unwind) throw error;
      raised = error !== STOP;
    }
    return { code, raised, count: limit - memory.budget };
  }

  /** Has the interpreter do the same; says what went otherwise. `single`: one by one, where code has changed meanwhile. */
  #second(memory: LockstepMemory, outcome: Outcome, single: boolean): string | undefined {
    const attention = memory.takeAttention();
    this.outside.again();
    this.#again = true;
    let left = outcome.count;
    try {
      left = this.#interpret(memory, left, single);
      if (!outcome.raised) return undefined;
      this.#interpret(memory, 1, true);
      return 'translated code raised an exception, the interpreter did not';
    } catch (error) {
      if (error !== this.#parts.unwind) throw error;
      if (outcome.raised && left === 0) return undefined;
      // The interpreter fetches what comes next before it sees that it has done enough.
      if (!outcome.raised && memory.budget === 0 && memory.get(S_REC) === 0) return undefined;
      return `the interpreter raised exception ${memory.get(S_EXC_VECTOR)}, translated code did not`;
    } finally {
      this.#again = false;
      memory.giveAttention(attention);
    }
  }

  /** Interprets `count` instructions; gives 0. Blocks that are longer than what is left go one by one. */
  #interpret(memory: LockstepMemory, count: number, single: boolean): number {
    let left = count;
    let one = single;
    for (let tries = 0; left > 0; ) {
      const key = memory.get(S_KEY);
      if (one) memory.set(S_KEY, key | KEY_STEP);
      memory.set(S_BUDGET, left);
      try {
        this.#run(this.#cpu);
      } finally {
        memory.set(S_KEY, key);
      }
      const now = memory.budget;
      if (now === left && one && ++tries > MOST_TRIES)
        throw new Error('lockstep: the interpreter does not go on');
      memory.takeAttention();
      one = single || now === left;
      left = now;
    }
    return left;
  }
}

/** A function that a table can hold, of one that it cannot. */
function callable(memory: WebAssembly.Memory, enter: () => number): unknown {
  const writer = new ModuleWriter();
  writer.export('enter', writer.import('env', 'enter', REGION_TYPE));
  const module = new WebAssembly.Module(writer.encode(MAX_PAGES));
  return new WebAssembly.Instance(module, { env: { memory, enter } }).exports['enter'];
}
