import type { Inst } from '#ir/block.ts';
import { S_RAX, S_RCX, S_RDI, S_RDX, S_REGS, S_RSI } from '#ir/state.ts';
import { helperKind, isDivision } from './hot-helpers.ts';
import type { RegionNode } from './region.ts';

const GENERAL_BYTES = 128;
/** Helpers that have all state in memory write no other registers. */
const WRITTEN_BY_HELPERS = [S_RAX, S_RCX, S_RDX, S_RSI, S_RDI];
const LOW32 = 0xffffffffn;
/** Bytes that one check of a page covers at most. */
const MAX_SPAN = 1024;

/** Constants up to here move a pointer. */
const NEAR = 0x10000;

/**
 * A value as an unknown one, by number, plus a constant. Those of registers when the region was entered, and RIP then, have
 * numbers below 0.
 */
interface Linear {
  readonly root: number;
  readonly offset: number;
}

/** What is known of registers, by their offset in the state. */
export type Known = ReadonlyMap<number, Linear>;

const RIP_ROOT = -1;
/** When the region is entered. */
export const ENTRY_VALUES: Known = new Map(
  Array.from({ length: GENERAL_BYTES / 8 }, (_, i) => [
    S_REGS + i * 8,
    { root: RIP_ROOT - 1 - i, offset: 0 },
  ]),
);

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

/** A check that has been made: where it went well these offsets from `root` lie in one page, and `delta` leads there. */
export interface PageCheck {
  readonly low: number;
  readonly high: number;
  readonly writes: boolean;
  /** The region goes on only where it went well. */
  readonly isSure: boolean;
  /** Local: the page's linear-memory address minus its virtual one, or NO_DELTA (`hot-memory.ts`). */
  readonly delta: number;
}

interface Found {
  readonly start: number;
  readonly inst: Inst;
  readonly at: Linear;
}

export interface Access {
  readonly root: number;
  readonly offset: number;
  /** What the node reaches from the same root, when that is worth a check of its own. */
  readonly reach: Readonly<Reach> | undefined;
}

/**
 * Which accesses have a base in common, so that one look at the TLB serves them all. Follows registers through additions
 * of constants; begins anew where control may come from elsewhere.
 */
export class AddressGroups {
  /** By root. */
  checks = new Map<number, PageCheck>();
  readonly #code64: boolean;
  #registers = new Map<number, Linear>();
  /** Of the instruction looked at, what reads of registers gave: they may have changed before the value is used. */
  #reads = new Map<Inst, Linear | undefined>();
  /** By the position of the access: the same meaning may stand in a node twice. */
  #accesses = new Map<string, Access>();
  /** Offset of what follows the instruction looked at from the region's entry. */
  #next = 0;
  #roots = 0;
  /** Roots of tables, by the register's root and where the table is. */
  readonly #tables = new Map<string, number>();

  constructor(code64: boolean) {
    this.#code64 = code64;
  }

  /** Begins anew with what is known of registers. */
  reset(known: Known): void {
    this.#registers = new Map(known);
    this.checks = new Map();
  }

  /** What is known of registers behind a node, from entry values alone, and the accesses by them. */
  through(node: RegionNode, known: Known): { known: Known; accesses: readonly EntryAccess[] } {
    this.#registers = new Map(known);
    const accesses = this.#look(node, new Map()).flatMap(({ inst, at }) =>
      at.root < 0 ? [{ ...at, width: widthOf(inst), write: inst.op.family !== 'load' }] : [],
    );
    const behind = [...this.#registers].filter(([, { root }]) => root < 0);
    return { known: new Map(behind), accesses };
  }

  /** What is known now, to be given to `restore` before another way from here is taken. */
  save(): { registers: Map<number, Linear>; checks: Map<number, PageCheck> } {
    return { registers: new Map(this.#registers), checks: new Map(this.checks) };
  }

  restore(saved: { registers: Map<number, Linear>; checks: Map<number, PageCheck> }): void {
    this.#registers = new Map(saved.registers);
    this.checks = new Map(saved.checks);
  }

  /** Looks through a node that is to be emitted next. */
  enter(node: RegionNode): void {
    this.#accesses = new Map();
    const reaches = new Map<number, Reach>();
    for (const { start, inst, at } of this.#look(node, reaches)) {
      const reach = reaches.get(at.root);
      const worth = reach !== undefined && reach.accesses > 1 && reach.high - reach.low <= MAX_SPAN;
      this.#accesses.set(nameOf(start, inst), { ...at, reach: worth ? reach : undefined });
    }
  }

  /** Follows registers through a node; the accesses whose addresses are known. */
  #look(node: RegionNode, reaches: Map<number, Reach>): Found[] {
    const found: Found[] = [];
    for (const { ir, start, next } of node.insns) {
      this.#reads = new Map();
      this.#next = next;
      for (const inst of ir.insts) {
        const at = this.#follow(inst, reaches);
        if (at !== undefined) found.push({ start, inst, at });
      }
    }
    return found;
  }

  /** The group of a load or store of the instruction at `start` in the node entered last. */
  accessOf(start: number, inst: Inst): Access | undefined {
    return this.#accesses.get(nameOf(start, inst));
  }

  #follow(inst: Inst, reaches: Map<number, Reach>): Linear | undefined {
    const { op, attr, args } = inst;
    switch (op.family) {
      case 'get':
        this.#reads.set(inst, this.#read(inst));
        return undefined;
      case 'set':
        this.#assign(inst);
        return undefined;
      case 'call':
        if (isDivision(attr.helper ?? ''))
          for (const register of [S_RAX, S_RDX]) this.#registers.delete(register);
        // It ends what is known of pages too: see `HotEmitter`.
        if (helperKind(attr.helper ?? '') === 'whole')
          for (const register of WRITTEN_BY_HELPERS) this.#registers.delete(register);
        return undefined;
      case 'load':
      case 'loadw':
      case 'store': {
        const at = args[0] && this.#linear(args[0]);
        if (at !== undefined) widen(reaches, at, inst);
        return at;
      }
      default:
        return undefined;
    }
  }

  #assign({ op, attr, args }: Inst): void {
    const { slot } = attr;
    if (slot === undefined || !('fixed' in slot)) return;
    if (slot.fixed >= S_REGS + GENERAL_BYTES) return;
    const register = slot.fixed & ~7;
    const value = op.width === '64' && args[0] ? this.#linear(args[0]) : undefined;
    this.#registers.set(register, value ?? { root: this.#roots++, offset: 0 });
  }

  #read({ op, attr }: Inst): Linear | undefined {
    const fits = op.width === '64' || (!this.#code64 && op.width === '32');
    const { slot } = attr;
    return fits && slot !== undefined && 'fixed' in slot ? this.#register(slot.fixed) : undefined;
  }

  #register(offset: number): Linear | undefined {
    if (offset >= S_REGS + GENERAL_BYTES || (offset & 7) !== 0) return undefined;
    let known = this.#registers.get(offset);
    if (known === undefined) {
      known = { root: this.#roots++, offset: 0 };
      this.#registers.set(offset, known);
    }
    return known;
  }

  /** A value as a root and a constant. Of 32-bit code all registers and addresses are below 4 GiB. */
  #linear(inst: Inst): Linear | undefined {
    const { op, args } = inst;
    const [a, b] = args;
    if (op.family === 'get') return this.#reads.get(inst);
    if (op.name === 'next_rip') return { root: RIP_ROOT, offset: this.#next };
    if (a === undefined) return undefined;
    switch (op.name) {
      case 'i64.add':
        return this.#moved(a, b, 1);
      case 'i64.sub':
        return this.#moved(a, b, -1);
      case 'i32.add':
        return this.#code64 ? undefined : this.#moved(a, b, 1);
      case 'i32.sub':
        return this.#code64 ? undefined : this.#moved(a, b, -1);
      case 'i64.and':
        return !this.#code64 && BigInt(b?.attr.imm ?? 0) === LOW32 ? this.#linear(a) : undefined;
      case 'i64.extend_i32_u':
      case 'i32.wrap_i64':
        return this.#code64 ? undefined : this.#linear(a);
      default:
        return undefined;
    }
  }

  #moved(a: Inst, b: Inst | undefined, sign: 1 | -1): Linear | undefined {
    if (b?.op.family !== 'const') return undefined;
    const by = Number(b.attr.imm ?? 0);
    const from = this.#linear(a);
    if (from === undefined) return undefined;
    const offset = from.offset + sign * by;
    if (from.root === RIP_ROOT) return { root: RIP_ROOT, offset };
    return Math.abs(offset) <= NEAR ? { root: from.root, offset } : this.#far(from.root, offset);
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

function nameOf(start: number, inst: Inst): string {
  return `${start}.${inst.index}`;
}

function widthOf({ op }: Inst): number {
  return op.width === 'v' ? 16 : Number(op.width) / 8;
}

function widen(reaches: Map<number, Reach>, { root, offset }: Linear, inst: Inst): void {
  const { op } = inst;
  const size = widthOf(inst);
  const writes = op.family !== 'load';
  const known = reaches.get(root);
  if (known === undefined) {
    reaches.set(root, { low: offset, high: offset + size, writes, accesses: 1 });
    return;
  }
  known.low = Math.min(known.low, offset);
  known.high = Math.max(known.high, offset + size);
  known.writes ||= writes;
  known.accesses++;
}
