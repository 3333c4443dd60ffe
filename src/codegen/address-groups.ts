import type { Inst } from '#ir/block.ts';
import {
  type AddressStep,
  NEXT_RIP,
  REGISTERS,
  steps32,
  steps64,
  UNKNOWN,
} from './address-steps.ts';
import { PageChecks } from './page-checks.ts';
import type { RegionNode } from './region.ts';

/** Bytes that one check of a page covers at most. */
const MAX_SPAN = 1024;
/** Constants up to here move a pointer. */
const NEAR = 0x10000;
/** More than an instruction's meaning has. */
const MOST_INSTS = 0x10000;

/**
 * A value as an unknown one, by number, plus a constant. Those of registers when the region was entered, and RIP then, have
 * numbers below 0.
 */
interface Linear {
  readonly root: number;
  readonly offset: number;
}

/** What is known of registers, by their numbers. */
export type Known = readonly (Linear | undefined)[];

const RIP_ROOT = -1;
/** When the region is entered. */
export const ENTRY_VALUES: Known = Array.from({ length: REGISTERS }, (_, i) => ({
  root: RIP_ROOT - 1 - i,
  offset: 0,
}));
export const NOTHING_KNOWN: Known = Array.from({ length: REGISTERS }, () => undefined);

/** An access at a constant offset from a value that was there when the region was entered. */
export interface EntryAccess extends Linear {
  readonly width: number;
  readonly write: boolean;
}

/** The memory that a node reaches from one unknown value. */
interface Reach {
  low: number;
  high: number;
  writes: boolean;
  accesses: number;
}

interface Found {
  readonly start: number;
  readonly step: AddressStep;
  readonly at: Linear;
}

export interface Access {
  readonly root: number;
  readonly offset: number;
  /** What the node reaches from the same root, when that is worth a check of its own. */
  readonly reach: Readonly<Reach> | undefined;
}

/** What is known at a place, to be given to `restore` before another way from there is taken. */
interface SavedGroups {
  readonly registers: Known;
  readonly checks: ReturnType<PageChecks['save']>;
}

/**
 * Which accesses have a base in common, so that one look at the TLB serves them all. Follows registers through additions
 * of constants; begins anew where control may come from elsewhere.
 */
export class AddressGroups {
  /** By root. */
  readonly checks = new PageChecks();
  readonly #stepsOf: typeof steps64;
  #registers: (Linear | undefined)[] = [...NOTHING_KNOWN];
  /** Of the instruction looked at, what reads of registers gave: they may have changed before the value is used. */
  readonly #reads: (Linear | undefined)[] = [];
  /** Of the node entered last, by where the access stands in it. */
  readonly #accesses = new Map<number, Access>();
  /** Offset of that node from the region's entry. */
  #start = 0;
  #roots = 0;
  /** Roots of tables, by the register's root and where the table is. */
  readonly #tables = new Map<string, number>();

  constructor(code64: boolean) {
    this.#stepsOf = code64 ? steps64 : steps32;
  }

  /** Begins anew with what is known of registers. */
  reset(known: Known): void {
    this.#registers = known.slice();
    this.checks.clear();
  }

  /** What is known of registers behind a node, from entry values alone. */
  through(node: RegionNode, known: Known): Known {
    this.#registers = known.slice();
    for (const { ir, next } of node.insns)
      for (const step of this.#stepsOf(ir)) if (step.kind !== 'access') this.#follow(step, next);
    const behind = this.#registers;
    for (let i = 0; i < REGISTERS; i++) if ((behind[i]?.root ?? 0) >= 0) behind[i] = undefined;
    return behind;
  }

  /** The accesses of a node by entry values. */
  entryAccesses(node: RegionNode, known: Known): EntryAccess[] {
    this.#registers = known.slice();
    return this.#look(node)
      .filter(({ at }) => at.root < 0)
      .map(({ step: { width, write }, at: { root, offset } }) => ({ root, offset, width, write }));
  }

  save(): SavedGroups {
    return { registers: this.#registers.slice(), checks: this.checks.save() };
  }

  restore({ registers, checks }: SavedGroups): void {
    this.#registers = registers.slice();
    this.checks.restore(checks);
  }

  /** Looks through a node that is to be emitted next. */
  enter(node: RegionNode): void {
    this.#start = node.offset;
    this.#accesses.clear();
    const found = this.#look(node);
    const reaches = new Map<number, Reach>();
    for (const { step, at } of found) widen(reaches, at, step);
    for (const { start, step, at } of found) {
      const reach = reaches.get(at.root);
      const worth = reach !== undefined && reach.accesses > 1 && reach.high - reach.low <= MAX_SPAN;
      const access = { root: at.root, offset: at.offset, reach: worth ? reach : undefined };
      this.#accesses.set(this.#placeOf(start, step.inst), access);
    }
  }

  /** Follows registers through a node; the accesses whose addresses are known. */
  #look(node: RegionNode): Found[] {
    const found: Found[] = [];
    for (const { ir, start, next } of node.insns)
      for (const step of this.#stepsOf(ir)) {
        const at = this.#follow(step, next);
        if (at !== undefined) found.push({ start, step, at });
      }
    return found;
  }

  /** The group of a load or store of the instruction at `start` in the node entered last. */
  accessOf(start: number, inst: Inst): Access | undefined {
    return this.#accesses.get(this.#placeOf(start, inst));
  }

  #placeOf(start: number, { index }: Inst): number {
    return (start - this.#start) * MOST_INSTS + index;
  }

  /** The address of an access. `next`: offset of the next instruction from the region's entry. */
  #follow(step: AddressStep, next: number): Linear | undefined {
    if (step.kind === 'access') return this.#valueOf(step, next);
    if (step.kind === 'assign') this.#registers[step.register] = this.#valueOf(step, next);
    else this.#reads[step.inst.index] = this.#read(step.register);
    return undefined;
  }

  #read(register: number): Linear {
    const known = this.#registers[register] ?? { root: this.#roots++, offset: 0 };
    this.#registers[register] = known;
    return known;
  }

  #valueOf({ from, moves }: AddressStep, next: number): Linear | undefined {
    if (from === UNKNOWN) return undefined;
    let value = from === NEXT_RIP ? { root: RIP_ROOT, offset: next } : this.#reads[from];
    for (const by of moves) value = value && this.#moved(value, by);
    return value;
  }

  #moved(from: Linear, by: number): Linear {
    const offset = from.offset + by;
    return from.root === RIP_ROOT || Math.abs(offset) <= NEAR
      ? { root: from.root, offset }
      : this.#far(from.root, offset);
  }

  /** Far constants are addresses of tables, with a register as the index: each table has a root of its own. */
  #far(root: number, offset: number): Linear {
    const near = offset % NEAR;
    const name = `${root} ${offset - near}`;
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = this.#roots++;
      this.#tables.set(name, table);
    }
    return { root: table, offset: near };
  }
}

function widen(
  reaches: Map<number, Reach>,
  { root, offset }: Linear,
  { width, write }: AddressStep,
): void {
  const known = reaches.get(root);
  if (known === undefined) {
    reaches.set(root, { low: offset, high: offset + width, writes: write, accesses: 1 });
    return;
  }
  known.low = Math.min(known.low, offset);
  known.high = Math.max(known.high, offset + width);
  known.writes ||= write;
  known.accesses++;
}
