import type { MemoryLayout } from '#cpu/layout.ts';
import { readState } from '#cpu/vcpu-state.ts';
import {
  KEY_CODE32,
  KEY_CODE64,
  KEY_FLAT,
  S_CPL,
  S_KEY,
  S_RIP,
  S_SEGS,
  SEG_BASE,
  SEG_CS,
  SEG_SIZE,
} from '#ir/state.ts';
import { AddressSpace } from './address-space.ts';
import { PhysicalMemory } from './physical-memory.ts';
import { type StackLimits, stackTrace } from './stack-trace.ts';

/** The time between two looks, to begin with. */
const PERIOD_NS = 1_000_000;
/** Looks may take this part of the thread's time: deep stacks are looked at less often. */
const MOST_SHARE = 0.1;
/** But the guest is not unseen for longer. */
const MOST_WAIT_NS = 20_000_000;
/** What each look counts for in what a look takes: hosts tell a thread's time in steps of milliseconds. */
const WEIGHT = 1 / 64;
/** More are thinned out: each second goes, and from then on the time between two is twice as long. */
const MOST_SAMPLES = 1_000_000;
/** Stacks that are told apart; those beyond are counted at their innermost function. */
const MOST_STACKS = 200_000;
const MOST_KNOWN = 100_000;
const FRAMES = 24;
/** A kernel without frame pointers leaves only what looks like return addresses: of the innermost few calls. */
const SCAN_BYTES = 768;
const USER = 3;

/** Where the guest was: the innermost address first. */
export interface SampledStack {
  readonly mode: 'kernel' | 'user' | 'idle';
  readonly addresses: readonly bigint[];
}

export interface Samples {
  readonly stacks: readonly SampledStack[];
  /** Index of the stack, and nanoseconds of the clock, by sample. */
  readonly which: readonly number[];
  readonly times: readonly number[];
  readonly endNs: number;
}

function threadNs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) * 1000;
}

/** Looks at a guest at a fixed period, whenever its virtual CPU comes by: a few times as often as the period wants it. */
export class GuestSampler {
  readonly #memory: WebAssembly.Memory;
  readonly #view: DataView;
  readonly #cpu: number;
  readonly #physical: PhysicalMemory;
  readonly #wantsStacks: boolean;
  readonly #spentNs: () => number;
  readonly #stacks: SampledStack[] = [];
  readonly #indexes = new Map<string, number>();
  readonly #limits: StackLimits = { frames: FRAMES, scanBytes: SCAN_BYTES, known: new Map() };
  #root = -1n;
  #which: number[] = [];
  #times: number[] = [];
  #period = PERIOD_NS;
  #due = 0;
  /** What a look takes, on average. */
  #lookNs = 0;
  #wasIdle = false;

  /** `spentNs`: processor time of this thread; on a busy host much more goes by while a look is made. */
  constructor(
    memory: WebAssembly.Memory,
    layout: MemoryLayout,
    wantsStacks: boolean,
    spentNs = threadNs,
  ) {
    this.#spentNs = spentNs;
    this.#memory = memory;
    this.#cpu = layout.cpus[0] ?? 0;
    this.#view = new DataView(memory.buffer);
    this.#physical = new PhysicalMemory(memory, layout);
    this.#wantsStacks = wantsStacks;
  }

  look(nowNs: number, halted: boolean): void {
    // When a guest falls asleep and when it wakes are told apart however short it was.
    if (nowNs < this.#due && halted === this.#wasIdle) return;
    if (halted && this.#wasIdle) return;
    const began = this.#spentNs();
    this.#wasIdle = halted;
    this.#which.push(halted ? this.#indexOf('idle', []) : this.#here());
    this.#times.push(nowNs);
    this.#lookNs += (this.#spentNs() - began - this.#lookNs) * WEIGHT;
    const rest = Math.min(this.#lookNs / MOST_SHARE, MOST_WAIT_NS);
    this.#due = nowNs + Math.max(this.#period, rest);
    if (this.#which.length >= MOST_SAMPLES) this.#thin();
  }

  samples(endNs: number): Samples {
    return { stacks: this.#stacks, which: this.#which, times: this.#times, endNs };
  }

  #thin(): void {
    this.#which = this.#which.filter((_, i) => i % 2 === 0);
    this.#times = this.#times.filter((_, i) => i % 2 === 0);
    this.#period *= 2;
  }

  #here(): number {
    const mode = this.#view.getUint32(this.#cpu + S_CPL, true) === USER ? 'user' : 'kernel';
    const key = this.#view.getUint32(this.#cpu + S_KEY, true);
    const rip = this.#linear(key);
    const codeSize = (key & KEY_CODE64) !== 0 ? 8 : (key & KEY_CODE32) !== 0 ? 4 : undefined;
    if (!this.#wantsStacks || codeSize === undefined || this.#stacks.length >= MOST_STACKS)
      return this.#indexOf(mode, [rip]);
    const state = readState(this.#memory, this.#cpu);
    const { known } = this.#limits;
    // The same address is other code in another program.
    if (state.cr3 !== this.#root || known.size > MOST_KNOWN) known.clear();
    this.#root = state.cr3;
    const space = new AddressSpace(this.#physical, state);
    const frames = stackTrace(state, space, codeSize, undefined, this.#limits);
    return this.#indexOf(mode, [rip, ...frames.map((f) => f.address)]);
  }

  #linear(key: number): bigint {
    const rip = this.#view.getBigUint64(this.#cpu + S_RIP, true);
    if ((key & (KEY_CODE64 | KEY_FLAT)) !== 0) return rip;
    const cs = this.#cpu + S_SEGS + SEG_CS * SEG_SIZE;
    return BigInt.asUintN(32, this.#view.getBigUint64(cs + SEG_BASE, true) + rip);
  }

  #indexOf(mode: SampledStack['mode'], addresses: readonly bigint[]): number {
    const name = `${mode} ${addresses.join(' ')}`;
    const known = this.#indexes.get(name);
    if (known !== undefined) return known;
    const index = this.#stacks.push({ mode, addresses }) - 1;
    this.#indexes.set(name, index);
    return index;
  }
}
