import type { VcpuExit } from '#accel/accel.ts';
import { PollWindow } from '#base/poll-window.ts';
import {
  ATTN_INTERRUPT,
  ATTN_INVALIDATE,
  ATTN_STEP,
  ATTN_STOP,
  B_HEAT,
  EXC_EXTERNAL,
  EXC_HAS_ERROR,
  KEY_STEP,
  REGION_SLOTS,
  S_ATTENTION,
  S_BUDGET,
  S_CHILLED,
  S_EFLAGS,
  S_EXC_ERROR,
  S_EXC_FLAGS,
  S_EXC_VECTOR,
  S_HALTED,
  S_ICOUNT,
  S_INHIBIT,
  S_IRQ_PENDING,
  S_KEY,
  S_RIP,
  S_STI_NEXT,
  S_TF_ARMED,
} from '#ir/state.ts';
import {
  INHIBIT_STEPPING,
  S_NMI_BLOCKED,
  S_REPEATING,
  S_TRACE,
  TRACE_INSN,
  X87_FREEZE,
} from '#ir/state-system.ts';
import type { Feature } from '#isa/x86/insn.ts';
import type { HandlerMap } from './handlers.ts';
import { HotTier, type HotTierStats, type Translator } from './hot-tier.ts';
import { InsnTemplates } from './insn-templates.ts';
import { Lockstep, type LockstepStats } from './lockstep/lockstep.ts';
import type { LockstepCore } from './lockstep/lockstep-memory.ts';
import { PatchedBlocks } from './patched-blocks.ts';
import { Predecoder } from './predecode.ts';
import type { UsedBatch } from './region-units.ts';
import { LEAST_SLICE, SliceLength } from './slice-length.ts';
import type { VcpuHost } from './vcpu-host.ts';
import { X87Exceptions } from './x87-exceptions.ts';

const VECTOR_UD = 6;
const BLOCKS_BETWEEN_LOOKS = 16;
const EFLAGS_IF = 1 << 9;
/**
 * Caches are cold after a sleep so long, and the TLBs too: a wake costs what pages it touches. Regions are a few hundred
 * of their own, records that are interpreted some tens; what goes on for more instructions is worth its regions again.
 */
const CHILL_NS = 5_000_000;
const CHILLED_INSNS = 30_000;
/** The longest that a halted vCPU sleeps at once. */
const MAX_SLEEP_MS = 1000;

/** The exports of core.wasm that the run loop calls. */
export interface Core extends LockstepCore {
  resetTlb(cpu: number): void;
  drop_blocks(cpu: number): void;
  make_room(cpu: number): void;
  a20_moved(cpu: number): void;
  updateKey(cpu: number): void;
  fetch_address(cpu: number, lin: bigint): bigint;
  raise_error(cpu: number, vector: number, error: number): void;
  new_block(cpu: number, records: number): number;
  known_block(cpu: number, paddr: number, key: number): number;
  add_block(cpu: number, block: number): void;
  invalidateRange(cpu: number, paddr: number, size: number): void;
  reset_cpu(cpu: number, signature: number): void;
  init_cpu(cpu: number): void;
  begin_exception(cpu: number): void;
  /** The vector that reports the x87 exception that waits, or 0. */
  x87_reported(cpu: number): number;
  deliver_exception(cpu: number): number;
  deliver_event(cpu: number, vector: number, flags: number, error: number): void;
  begin_step(cpu: number): void;
  end_step(cpu: number): void;
  [name: string]: unknown;
}

/** When code is translated, and how often the run loop looks around, where time is not to decide. */
export interface Pace {
  /** Entries of a block before it is translated; default: what the hot tier says. */
  readonly heat?: number;
  /** Instructions until the run loop looks around. */
  slice?(): number;
  /** The clock by which code that waits is put in place, in milliseconds. */
  nowMs?(): number;
}

export interface SoftwareParts {
  readonly memory: WebAssembly.Memory;
  readonly core: WebAssembly.Module;
  readonly interpreter: WebAssembly.Module;
  readonly handlers: HandlerMap;
  readonly features: ReadonlySet<Feature>;
  /** Makes the hot tier; without it all is interpreted. */
  readonly translator?: Translator | undefined;
  /** Runs the hot tier and the interpreter in lockstep. */
  readonly verify?: boolean;
  readonly pace?: Pace | undefined;
  /** What an earlier run has saved of them. */
  readonly templates?: Uint8Array | undefined;
  /** WebAssembly of the hot tier that is kept at most. */
  readonly mostWasmBytes?: number;
}

/** Thrown by core/ to leave everything at once; its identity is all it has. */
const UNWIND = { name: 'guest exception' };

/** One virtual CPU of the software accelerator. `cpu` is the address of its state. */
export class SoftwareVcpu {
  readonly core: Core;
  /** The interpreter: runs until the next boundary. */
  readonly interpret: (cpu: number) => number;
  readonly #cpu: number;
  readonly #host: VcpuHost;
  readonly #words: Int32Array;
  readonly #view: DataView;
  readonly templates: InsnTemplates;
  readonly #predecoder: Predecoder;
  readonly #patched: PatchedBlocks;
  readonly #x87: X87Exceptions;
  #hot: HotTier | undefined;
  readonly #pace: Pace | undefined;
  readonly #lockstep: Lockstep | undefined;
  /** Instructions that are to be interpreted after a sleep. */
  #chilled = 0;
  /** Of the last slice's instructions. */
  #left = 0;
  /** Of a halted vCPU, before it sleeps. */
  readonly #window = new PollWindow();
  readonly #sliceLength = new SliceLength();
  #blocksMade = 0;
  /** Statistics: counted here because they are counted at boundaries. */
  readonly interrupts = new Uint32Array(256);
  halts = 0;
  asleepNs = 0;
  boundaries = 0;

  constructor(parts: SoftwareParts, cpu: number, host: VcpuHost) {
    this.#cpu = cpu;
    this.#host = host;
    this.#pace = parts.pace;
    this.#words = new Int32Array(parts.memory.buffer);
    this.#view = new DataView(parts.memory.buffer);
    const table = new WebAssembly.Table({ initial: 1 + REGION_SLOTS, element: 'anyfunc' });
    if (parts.verify === true) {
      const { memory } = parts;
      this.#lockstep = new Lockstep({
        memory,
        cpu,
        regions: table,
        outside: host,
        gate: host.gate,
        unwind: UNWIND,
      });
    }
    const entries = this.#lockstep?.table ?? table;
    const env = { memory: parts.memory, hot: entries, ...this.#imports() };
    const core = new WebAssembly.Instance(parts.core, { env });
    this.core = core.exports as Core;
    const interpreter = new WebAssembly.Instance(parts.interpreter, { env, core: core.exports });
    this.interpret = interpreter.exports['run'] as (cpu: number) => number;
    this.#lockstep?.attach(this.core, this.interpret);
    const { memory, handlers, features } = parts;
    const templates = new InsnTemplates(memory, cpu);
    this.templates = templates;
    if (parts.templates !== undefined) templates.load(parts.templates);
    if (parts.pace?.heat !== undefined) templates.startHeat = parts.pace.heat;
    this.#predecoder = new Predecoder(memory, cpu, this.core, handlers, features, templates);
    const reload = handlers.special['reload'] ?? 0;
    this.#patched = new PatchedBlocks(memory, cpu, this.core, reload);
    this.#x87 = new X87Exceptions(parts.memory, cpu, (rip) => this.#predecoder.instructionAt(rip));
    if (parts.translator === undefined) return;
    const predecoder = this.#predecoder;
    this.#hot = new HotTier(
      { memory, table, templates, nowMs: () => parts.pace?.nowMs?.() ?? performance.now() },
      cpu,
      this.core,
      parts.translator,
      (paddr, rip, key) =>
        this.core.known_block(cpu, paddr, key) || predecoder.predecode(paddr, rip, key),
      parts.mostWasmBytes,
    );
    this.#predecoder.heatOf = this.#hot.heatOf.bind(this.#hot);
  }

  #imports(): Record<string, WebAssembly.ImportValue> {
    const host = this.#host;
    const outside = this.#lockstep?.outside ?? host;
    return {
      unwind: () => {
        throw UNWIND;
      },
      predecode: (_cpu: number, paddr: number, lin: bigint) => {
        // So that a slice of a million instructions ends in time also when each is in a new block.
        if (++this.#blocksMade % BLOCKS_BETWEEN_LOOKS === 0) this.#look();
        return this.#paced(this.#predecoder.predecode(paddr >>> 0, BigInt.asUintN(64, lin)));
      },
      learn_insn: (at: number, end: number, key: number) =>
        this.#predecoder.learn(at >>> 0, end >>> 0, key) ? 1 : 0,
      patched_block: (block: number, paddr: number, size: number) => {
        const copy = this.#patched.patch(block >>> 0, paddr >>> 0, size);
        return copy === 0 ? 0 : this.#paced(copy);
      },
      block_dropped: (block: number) => this.#hot?.blockDropped(block >>> 0),
      block_hot: (block: number) => this.#blockHot(block >>> 0),
      mmio_read: (_cpu: number, paddr: bigint, size: number) =>
        outside.mmioRead(Number(paddr), size),
      mmio_write: (_cpu: number, paddr: bigint, size: number, value: number) =>
        outside.mmioWrite(Number(paddr), size, value >>> 0),
      port_read: (_cpu: number, port: number, size: number) => outside.portRead(port, size),
      port_write: (_cpu: number, port: number, size: number, value: number) =>
        outside.portWrite(port, size, value >>> 0),
      tsc: () => outside.tsc(),
      random32: () => outside.random32(),
      cpuid: () => host.cpuid(),
      apic_msr_read: (_cpu: number, msr: number) => (host.apicMsrRead(msr >>> 0) ? 1 : 0),
      apic_msr_write: (_cpu: number, msr: number) => (host.apicMsrWrite(msr >>> 0) ? 1 : 0),
      tsc_moved: () => host.tscMoved(),
      unknown_msr: (msr: number, write: number) => host.unknownMsr(msr >>> 0, write !== 0),
      task_priority: () => host.taskPriority(),
      set_task_priority: (value: number) => host.setTaskPriority(value),
      x87_unmasked: () => this.#x87.note(),
      x87_error: () => host.numericError?.(),
      trace_event: (event: number, a: bigint, b: bigint) => {
        this.#lockstep?.event(event, a, b);
        host.trace?.event(event, BigInt.asUintN(64, a), BigInt.asUintN(64, b));
      },
    };
  }

  /** A new block, with the heat that the pace gives it. */
  #paced(block: number): number {
    const heat = this.#view.getInt32(block + B_HEAT, true);
    if (this.#pace?.heat !== undefined && heat > 0)
      this.#view.setInt32(block + B_HEAT, this.#pace.heat, true);
    return block;
  }

  #blockHot(block: number): void {
    this.#hot?.blockHot(block);
    // What is translated at once is to be used at once.
    if (this.#pace?.heat !== undefined) this.#look();
  }

  /** Makes the next block begin with a look at time and interrupts. */
  #look(): void {
    Atomics.or(this.#words, (this.#cpu + S_ATTENTION) >> 2, ATTN_INTERRUPT);
  }

  /** Has the block at RIP translated now, however often it has run. */
  warm(): void {
    this.#hot?.blockHot(this.core.find_block(this.#cpu));
    this.#hot?.poll();
  }

  /** The regions that have lived, for a later run. */
  usedRegions(): UsedBatch[] {
    return this.#hot?.used() ?? [];
  }

  get lockstepStats(): LockstepStats | undefined {
    return this.#lockstep?.stats;
  }

  get hotStats(): HotTierStats | undefined {
    return this.#hot?.stats();
  }

  get instructions(): number {
    return Number(this.#view.getBigUint64(this.#cpu + S_ICOUNT, true));
  }

  #get(field: number): number {
    return this.#view.getUint32(this.#cpu + field, true);
  }

  #set(field: number, value: number): void {
    this.#view.setUint32(this.#cpu + field, value, true);
  }

  /** Runs until the VM ends or is told to stop. */
  run(): VcpuExit {
    this.#lockstep?.start();
    for (;;) {
      const exit = this.#boundary();
      if (exit !== undefined) return exit;
      if (this.#get(S_HALTED) !== 0) continue;
      if (!this.#slice()) return { type: 'shutdown' };
    }
  }

  /** Runs guest code to the next boundary; false on a triple fault. */
  #slice(): boolean {
    const stepping = (this.#get(S_KEY) & KEY_STEP) !== 0;
    const traced = stepping && (this.#get(S_TRACE) & TRACE_INSN) !== 0;
    const budget = stepping ? 1 : (this.#pace?.slice?.() ?? this.#sliceInsns());
    this.#set(S_BUDGET, budget);
    let alive = true;
    try {
      if (stepping) this.core.begin_step(this.#cpu);
      else this.#set(S_REPEATING, 0);
      // Finding the block now is what `run` does first: it raises the same faults.
      if (traced) this.#host.trace?.begin(this.core.find_block(this.#cpu));
      this.interpret(this.#cpu);
      if (traced) this.#host.trace?.end(this.#get(S_BUDGET) !== budget);
      if (stepping && this.#get(S_BUDGET) !== budget) this.core.end_step(this.#cpu);
    } catch (error) {
      if (traced) this.#host.trace?.end(true);
      alive = this.#exception(error);
      if (stepping) this.#stopStepping();
    }
    this.#count(budget);
    if (this.#get(S_HALTED) !== 0) this.halts++;
    return alive;
  }

  #sliceInsns(): number {
    const { insns } = this.#sliceLength;
    return this.#chilled > 0 ? Math.min(insns, this.#chilled) : insns;
  }

  /** Of STI: an instruction that stands still behind it waits for interrupts. */
  #endShadow(): void {
    this.#view.setBigUint64(this.#cpu + S_STI_NEXT, 0n, true);
    this.#set(S_INHIBIT, 0);
    this.core.updateKey(this.#cpu);
  }

  /** After a fault in the instruction that was stepped: the handler begins without traps of its own. */
  #stopStepping(): void {
    if (this.#get(S_INHIBIT) === INHIBIT_STEPPING) this.#set(S_INHIBIT, 0);
    this.#set(S_TF_ARMED, 0);
    this.core.updateKey(this.#cpu);
  }

  #count(budget: number): void {
    const left = this.#view.getInt32(this.#cpu + S_BUDGET, true);
    const before = this.#view.getBigUint64(this.#cpu + S_ICOUNT, true);
    this.#view.setBigUint64(this.#cpu + S_ICOUNT, before + BigInt(budget - left), true);
    // Interpreted code tells nothing of how many instructions fit: as if it had been cut short.
    this.#left = this.#chilled > 0 ? this.#sliceLength.insns : left;
    if (this.#chilled > 0) this.#chill(this.#chilled - (budget - left));
  }

  /** Has the next instructions interpreted. A slice has room for the longest block. */
  #chill(insns: number): void {
    this.#chilled = insns < LEAST_SLICE ? 0 : insns;
    this.#set(S_CHILLED, this.#chilled > 0 ? 1 : 0);
  }

  /** An x87 exception takes the place of the fault of an operand. */
  #reportX87(): void {
    const vector = this.core.x87_reported(this.#cpu);
    if (vector === 0) return;
    this.#set(S_EXC_VECTOR, vector);
    this.#set(S_EXC_FLAGS, 0);
    this.#set(S_EXC_ERROR, 0);
  }

  /** Delivers what core/ raised; further faults on the way merge into double and triple faults. */
  #exception(error: unknown): boolean {
    if (error !== UNWIND) throw error;
    if (this.#x87.precedes()) this.#reportX87();
    if (this.#host.intercept?.(this.#get(S_EXC_VECTOR)) === true) return true;
    this.core.begin_exception(this.#cpu);
    if (this.#get(S_EXC_VECTOR) === X87_FREEZE) {
      this.#endShadow();
      return true;
    }
    if (this.#get(S_EXC_VECTOR) === VECTOR_UD) this.#host.undefinedInstruction?.();
    for (;;) {
      try {
        return this.core.deliver_exception(this.#cpu) === 0;
      } catch (nested) {
        if (nested !== UNWIND) throw nested;
      }
    }
  }

  /** Between blocks: requests of other threads, time, interrupts, sleep. */
  #boundary(): VcpuExit | undefined {
    this.boundaries++;
    this.#keepShadow();
    const index = (this.#cpu + S_ATTENTION) >> 2;
    const attention = Atomics.and(
      this.#words,
      index,
      ~(ATTN_INTERRUPT | ATTN_STEP | ATTN_INVALIDATE),
    );
    if ((attention & ATTN_STOP) !== 0) return { type: 'stopped' };
    if ((attention & ATTN_INVALIDATE) !== 0) this.#invalidate();
    const now = this.#host.nowNs();
    const left = this.#left;
    this.#sliceLength.fit(now, left);
    this.#host.poll(now);
    this.core.make_room(this.#cpu);
    this.#hot?.poll();
    const ended = this.#host.ended();
    if (ended !== undefined) return ended;
    this.#sample(now, left);
    this.#interrupt();
    if (this.#get(S_HALTED) !== 0) this.#sleep();
    return undefined;
  }

  /** Behind an STI one instruction more comes first, whatever stands at this boundary. */
  #keepShadow(): void {
    if (this.#get(S_STI_NEXT) === 0) return; // none: `sti` leaves out addresses whose low half is 0
    const differs = (at: number) => this.#get(S_RIP + at) !== this.#get(S_STI_NEXT + at);
    if (differs(0) || differs(4) || (this.#get(S_EFLAGS) & EFLAGS_IF) === 0) return;
    this.#view.setBigUint64(this.#cpu + S_STI_NEXT, 0n, true);
    if (this.#get(S_INHIBIT) === 0) this.#set(S_INHIBIT, 1);
    this.core.updateKey(this.#cpu);
  }

  #invalidate(): void {
    const pages = this.#host.invalidated();
    if (pages === undefined) this.core.drop_blocks(this.#cpu);
    else for (const page of pages) this.core.invalidateRange(this.#cpu, page * 4096, 4096);
  }

  /** Where the clock ran out, the guest was by chance; where interrupts cut it short, it was not. */
  #sample(now: number, left: number): void {
    if (this.#host.sample === undefined) return;
    const halted = this.#get(S_HALTED) !== 0;
    if (halted || !this.#sliceLength.wasCutShort(left)) this.#host.sample(now, halted);
  }

  #interrupt(): void {
    if (this.#host.takeInit?.() === true) this.core.init_cpu(this.#cpu);
    if (this.#get(S_INHIBIT) !== 0) {
      // One instruction more comes first: the dispatcher must not turn back before it.
      this.#set(S_IRQ_PENDING, 0);
      return;
    }
    if (this.#get(S_NMI_BLOCKED) === 0 && this.#host.takeNmi()) this.#deliver(2);
    const waits = this.#host.hasInterrupt();
    const enabled = (this.#get(S_EFLAGS) & EFLAGS_IF) !== 0;
    this.#set(S_IRQ_PENDING, waits && !enabled ? 1 : 0);
    if (!waits || !enabled) return;
    const vector = this.#host.acknowledge();
    this.#deliver(vector);
    this.#set(S_IRQ_PENDING, this.#host.hasInterrupt() ? 1 : 0);
  }

  #deliver(vector: number): void {
    this.#set(S_HALTED, 0);
    this.interrupts[vector] = (this.interrupts[vector] ?? 0) + 1;
    this.#event(vector, EXC_EXTERNAL, 0);
  }

  /** An exception with an error code that no instruction has raised. Between blocks. */
  inject(vector: number, errorCode: number): void {
    this.#event(vector, EXC_HAS_ERROR, errorCode);
  }

  #event(vector: number, flags: number, errorCode: number): void {
    try {
      this.core.deliver_event(this.#cpu, vector, flags, errorCode);
    } catch (error) {
      this.#exception(error);
    }
  }

  #sleep(): void {
    const began = this.#host.nowNs();
    const deadline = this.#host.nextDeadlineNs();
    if (deadline <= began) return;
    this.#host.beforeSleep();
    if ((this.#get(S_EFLAGS) & EFLAGS_IF) === 0) this.#host.haltedForGood?.();
    const index = (this.#cpu + S_ATTENTION) >> 2;
    const isDue = (): boolean => Atomics.load(this.#words, index) !== 0;
    const isAwaited = (): boolean => this.#host.awaitsDevices?.() === true;
    this.#window.look(isDue, isAwaited, Math.min(deadline - began, this.#window.ns));
    const wait = Math.min((deadline - this.#host.nowNs()) / 1e6, MAX_SLEEP_MS);
    if (wait > 0) Atomics.wait(this.#words, index, 0, wait);
    const slept = this.#host.nowNs() - began;
    if (isDue()) this.#window.waited(slept);
    else this.#window.waitedInVain(slept);
    this.asleepNs += slept;
    if (slept >= CHILL_NS) this.#chill(CHILLED_INSNS);
  }
}
