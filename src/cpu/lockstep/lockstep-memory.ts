import {
  B_BYTES,
  B_PADDR,
  S_ATTENTION,
  S_BUDGET,
  S_EXC_ADDR,
  S_EXC_ERROR,
  S_EXC_VECTOR,
  S_FLAGS_AUX,
  S_FLAGS_RES,
  S_JUMP_LOGGED,
  S_RIP,
  S_SIZE,
  S_STAT_REGION_RUNS,
} from '#ir/state.ts';
import { RECENT_BYTES, S_RECENT, S_RECENT_AT } from '#ir/state-system.ts';
import { flagsOf, memoryLines, registerLines } from './difference.ts';
import { type BulkMemory, Journal } from './journal.ts';
import { COMPARED_STATE, GUEST_STATE, type Range } from './state-fields.ts';

const WASM_PAGE = 65536;
const VECTOR_PF = 14;
const MOST_BYTES = 8;
const MOST_BLOCKS = 12;

/** What lockstep mode calls of core/. */
export interface LockstepCore extends BulkMemory {
  copy_ranges(to: number, from: number, list: number, count: number): void;
  find_block(cpu: number): number;
  flush_tlb(cpu: number): void;
}

/** How a run of translated code ended. */
export interface Outcome {
  /** REGION_… */
  readonly code: number;
  readonly raised: boolean;
  /** Instructions done. */
  readonly count: number;
}

/** Copies of the state, and of the pages that are written. */
export class LockstepMemory {
  readonly core: LockstepCore;
  readonly view: DataView;
  readonly journal: Journal;
  readonly #cpu: number;
  readonly #words: Int32Array;
  /** State before the first run, after it, and after the second. */
  readonly #before: number;
  readonly #first: number;
  readonly #last: number;
  readonly #guest: RangeList;
  readonly #compared: RangeList;
  #recent = 0;

  constructor(memory: WebAssembly.Memory, cpu: number, core: LockstepCore) {
    const needed = 4 * S_SIZE + Journal.bytes;
    const at = memory.grow(Math.ceil(needed / WASM_PAGE)) * WASM_PAGE;
    this.core = core;
    this.#cpu = cpu;
    this.view = new DataView(memory.buffer);
    this.#words = new Int32Array(memory.buffer);
    [this.#before, this.#first, this.#last] = [at, at + S_SIZE, at + 2 * S_SIZE];
    this.#guest = writeList(this.view, at + 3 * S_SIZE, GUEST_STATE);
    this.#compared = writeList(this.view, this.#guest.end, COMPARED_STATE);
    this.journal = new Journal(memory, cpu, core, at + 4 * S_SIZE);
  }

  get(field: number): number {
    return this.view.getUint32(this.#cpu + field, true);
  }

  /** Of the instructions that were allowed. A region without a loop may do more. */
  get budget(): number {
    return this.view.getInt32(this.#cpu + S_BUDGET, true);
  }

  set(field: number, value: number): void {
    this.view.setInt32(this.#cpu + field, value, true);
  }

  takeAttention(): number {
    return Atomics.exchange(this.#words, (this.#cpu + S_ATTENTION) >> 2, 0);
  }

  giveAttention(bits: number): void {
    Atomics.or(this.#words, (this.#cpu + S_ATTENTION) >> 2, bits);
  }

  begin(): void {
    this.core.copy_bytes(this.#before, this.#cpu, S_SIZE);
    this.journal.begin();
  }

  undo(): void {
    this.core.copy_bytes(this.#first, this.#cpu, S_SIZE);
    this.journal.undo();
    this.#copy(this.#cpu, this.#before, this.#guest);
    this.#recent = this.get(S_RECENT_AT);
  }

  end(): void {
    this.journal.end();
    this.core.copy_bytes(this.#last, this.#first, S_SIZE);
    this.#copy(this.#last, this.#cpu, this.#compared);
    // The entries of regions during the second run are no runs of them.
    const counters = S_JUMP_LOGGED - S_STAT_REGION_RUNS;
    this.core.copy_bytes(
      this.#cpu + S_STAT_REGION_RUNS,
      this.#before + S_STAT_REGION_RUNS,
      counters,
    );
  }

  #copy(to: number, from: number, { at, count }: RangeList): void {
    this.core.copy_ranges(to, from, at, count);
  }

  /** After `end`. */
  differs(raised: boolean): boolean {
    if (this.core.first_difference(this.#first, this.#last, S_SIZE) < S_SIZE) return true;
    if (this.#flagsDiffer() || (raised && this.#exceptionsDiffer())) return true;
    return this.journal.differences(1).length > 0;
  }

  #flagsDiffer(): boolean {
    const same = (field: number) =>
      this.view.getBigUint64(this.#first + field, true) ===
      this.view.getBigUint64(this.#cpu + field, true);
    if (same(S_FLAGS_RES) && same(S_FLAGS_AUX)) return false;
    return flagsOf(this.view, this.#first) !== flagsOf(this.view, this.#cpu);
  }

  #exceptionsDiffer(): boolean {
    const fields = [S_EXC_VECTOR, S_EXC_ERROR];
    if (this.get(S_EXC_VECTOR) === VECTOR_PF) fields.push(S_EXC_ADDR, S_EXC_ADDR + 4);
    return fields.some(
      (field) => this.view.getUint32(this.#first + field, true) !== this.get(field),
    );
  }

  report({ count, raised }: Outcome, found: readonly string[]): string {
    const rip = this.view.getBigUint64(this.#before + S_RIP, true);
    const lines = [
      `translated code and the interpreter differ after ${count} instructions from RIP 0x${rip.toString(16)}`,
      ...found.map((text) => `  ${text}`),
      ...registerLines(this.view, this.#first, this.#cpu),
      ...memoryLines(this.journal.differences(MOST_BYTES)),
    ];
    if (raised && this.#exceptionsDiffer())
      lines.push(
        `  exception: translated ${this.#exception(this.#first)}, interpreted ${this.#exception(this.#cpu)}`,
      );
    return [...lines, ...this.#path()].join('\n');
  }

  #exception(state: number): string {
    const field = (at: number) => this.view.getUint32(state + at, true).toString(16);
    const address = this.view.getBigUint64(state + S_EXC_ADDR, true).toString(16);
    return `${field(S_EXC_VECTOR)}:${field(S_EXC_ERROR)}:${address}`;
  }

  /** The last blocks that the second run entered, each once in a row, by physical address. */
  #path(): string[] {
    const newest = this.get(S_RECENT_AT);
    const entered = (newest - this.#recent + RECENT_BYTES) % RECENT_BYTES;
    const lines: string[] = [];
    for (let back = Math.min(entered, MOST_BLOCKS * 4) - 4; back >= 0; back -= 4) {
      const block = this.get(S_RECENT + ((newest - back + RECENT_BYTES) % RECENT_BYTES));
      const paddr = this.view.getUint32(block + B_PADDR, true);
      const bytes = this.view.getUint32(block + B_BYTES, true);
      const line = `  block at physical 0x${paddr.toString(16)}, ${bytes} bytes`;
      if (line !== lines.at(-1)) lines.push(line);
    }
    return lines;
  }
}

interface RangeList {
  readonly at: number;
  readonly count: number;
  readonly end: number;
}

/** Lays ranges of the state down as `copy_ranges` reads them. */
function writeList(view: DataView, at: number, ranges: readonly Range[]): RangeList {
  ranges.forEach(({ from, to }, i) => {
    view.setUint32(at + i * 8, from, true);
    view.setUint32(at + i * 8 + 4, to - from, true);
  });
  return { at, count: ranges.length, end: at + ranges.length * 8 };
}
