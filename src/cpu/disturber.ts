import {
  KEY_STEP,
  PAGE_CODE,
  S_CPL,
  S_CR0,
  S_CR2,
  S_EFLAGS,
  S_HALTED,
  S_INHIBIT,
  S_KEY,
  S_PAGE_MAP,
  S_REGS,
} from '#ir/state.ts';
import type { Pace, SoftwareVcpu } from './vcpu.ts';

const CR0_PG = 0x8000_0000;
const EFLAGS_IF = 1 << 9;
const RSP = S_REGS + 4 * 8;
const VECTOR_PF = 14;
/** Error code of a page fault: the page is there, the access was a write, of user mode (SDM vol. 3, 4.7). */
const PF_PRESENT = 1;
const PF_WRITE = 2;
const PF_USER = 4;

const PAGE_BYTES = 4096;
/** Pages that are looked at for one with code. */
const MOST_PAGES = 8192;
const LONG_SLICE = 20_000;
const SHORT_SLICE = 300;

/** As control/vm.ts has it. */
interface Disturbances {
  interrupts: number;
  faults: number;
  flushes: number;
  rewrites: number;
}

export interface DisturberParts {
  readonly memory: WebAssembly.Memory;
  readonly cpu: number;
  readonly ramBytes: number;
  /** The local APIC's timer interrupts once more; nothing where the guest has masked it. */
  readonly interrupt: () => void;
}

/**
 * Does to a guest, at random moments, what an operating system notices by its time alone: interrupts and page faults that have
 * no cause, TLBs without entries, translated code that is void. Linux bears them. A seed gives the same order of them.
 */
export class Disturber {
  readonly #counts: Disturbances = { interrupts: 0, faults: 0, flushes: 0, rewrites: 0 };
  #vcpu: Pick<SoftwareVcpu, 'inject' | 'core'> | undefined;
  readonly #parts: DisturberParts;
  readonly #view: DataView;
  #random: number;

  constructor(parts: DisturberParts, seed: number) {
    this.#parts = parts;
    this.#view = new DataView(parts.memory.buffer);
    this.#random = Math.imul(seed, 0x9e37_79b1) | 1;
  }

  /** Before the vCPU runs. */
  attach(vcpu: Pick<SoftwareVcpu, 'inject' | 'core'>): void {
    this.#vcpu = vcpu;
  }

  get stats(): { readonly disturbed: Disturbances } {
    return { disturbed: this.#counts };
  }

  /** The moments come between slices of random length. */
  paced(pace: Pace | undefined): Pace {
    return {
      ...pace,
      slice: () => 1 + this.#below(this.#below(2) === 0 ? SHORT_SLICE : LONG_SLICE),
    };
  }

  /** Between blocks. */
  disturb(): void {
    const { cpu, interrupt } = this.#parts;
    switch (this.#below(32)) {
      case 0:
      case 1:
        this.#counts.interrupts++;
        interrupt();
        break;
      case 2:
      case 3:
        this.#fault();
        break;
      case 4:
        this.#counts.flushes++;
        this.#vcpu?.core.flush_tlb(cpu);
        break;
      case 5:
        this.#rewrite();
        break;
      default:
    }
  }

  /** The stack is said to be read-only, where a device could interrupt as well. */
  #fault(): void {
    const { cpu } = this.#parts;
    const view = this.#view;
    const get = (field: number): number => view.getUint32(cpu + field, true);
    const mayInterrupt = (get(S_EFLAGS) & EFLAGS_IF) !== 0 && get(S_INHIBIT) === 0;
    const runs = get(S_HALTED) === 0 && (get(S_KEY) & KEY_STEP) === 0;
    if (!mayInterrupt || !runs || (get(S_CR0) & CR0_PG) === 0) return;
    this.#counts.faults++;
    view.setBigUint64(cpu + S_CR2, view.getBigUint64(cpu + RSP, true), true);
    const user = get(S_CPL) === 3 ? PF_USER : 0;
    this.#vcpu?.inject(VECTOR_PF, PF_PRESENT | PF_WRITE | user);
  }

  /** A page with code gets the bytes that it has. */
  #rewrite(): void {
    const { cpu, ramBytes } = this.#parts;
    const pages = ramBytes / PAGE_BYTES;
    const map = this.#view.getUint32(cpu + S_PAGE_MAP, true);
    const first = this.#below(pages);
    for (let i = 0; i < MOST_PAGES; i++) {
      const page = (first + i) % pages;
      if ((this.#view.getUint8(map + page) & PAGE_CODE) === 0) continue;
      this.#counts.rewrites++;
      this.#vcpu?.core.invalidateRange(cpu, page * PAGE_BYTES, PAGE_BYTES);
      return;
    }
  }

  /** Marsaglia's xorshift of 32 bits. */
  #below(limit: number): number {
    this.#random ^= this.#random << 13;
    this.#random ^= this.#random >>> 17;
    this.#random ^= this.#random << 5;
    return (this.#random >>> 0) % limit;
  }
}
