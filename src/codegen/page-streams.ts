import { askedOnce, type Inst } from '#ir/block.ts';
import { S_RAX, S_RDX, S_REGS, S_STREAMS, STREAMS_BYTES } from '#ir/state.ts';
import { type ControlFlow, smallLoops } from './control-flow.ts';
import { helperKind, isDivision } from './hot-helpers.ts';
import { type KeptPage, PINS_BYTES } from './page-pins.ts';
import type { Region, RegionInsn } from './region.ts';
import { TLB_DELTA } from './tlb-entry.ts';
import type { FunctionBody } from './wasm.ts';

const GENERAL_BYTES = 128;
const I32_LOAD = 0x28;
const I64_LOAD = 0x29;
const I32_STORE = 0x36;
const I64_STORE = 0x37;
const I64_SUB = 0x7d;
const I64_OR = 0x84;
const I64_LE_U = 0x58;
/** Far from every address of 32 bits. */
const NO_PAGE = 1n << 62n;
const STREAM_BYTES = 24;
/** Nodes of a loop whose accesses are worth it. */
const MOST_NODES = 12;
/** By how much a round may move a register that stays on its page most of the time. */
const MOST_STEP = 64n;
/** Values of so many bits lead to one page or a few. */
const INDEX_BITS = 12n;

/** The page that accesses by the same registers have last reached: offsets in the state. Locals would be copied round after round. */
interface PageStream {
  /** i64: its virtual address. */
  readonly start: number;
  /** i64: -1 while there is none, else 0. In 32-bit code its address says so. */
  readonly none: number | undefined;
  /** i32: its linear-memory address minus its virtual one. */
  readonly delta: number;
}

/**
 * In small loops what reaches the same page round after round needs no look at the TLB: pointers that walk, small tables.
 * What jumps about is better off without.
 */
export class PageStreams {
  readonly #f: FunctionBody;
  readonly #cpu: number;
  readonly #code64: boolean;
  readonly #names = new Map<Inst, string>();
  readonly #streams = new Map<string, PageStream>();

  /** `cpu`: the local with the address of the state. */
  constructor(f: FunctionBody, cpu: number, region: Region, flow: ControlFlow) {
    this.#f = f;
    this.#cpu = cpu;
    this.#code64 = region.code64;
    for (const body of smallLoops(flow, MOST_NODES)) {
      const nodes = body.map((n) => region.nodes[n]?.insns ?? []);
      const far = nodes.flat().flatMap(({ ir }) => farIn(ir));
      for (const insns of nodes) this.#look(insns, new Set(far));
    }
  }

  /** `far`: registers whose value the loop may have set to anything. */
  #look(insns: readonly RegionInsn[], far: Set<number>): void {
    for (const { ir } of insns)
      for (const { kind, inst, registers } of stepsOf(ir)) {
        if (kind === 'access') this.#consider(inst, registers, far);
        else if (kind === 'far') for (const r of registers) far.add(r);
        else for (const r of registers) far.delete(r);
      }
  }

  #consider(inst: Inst, registers: readonly number[], far: ReadonlySet<number>): void {
    for (const r of registers) if (far.has(r)) return;
    const name = `${registers.join('+')} ${inst.op.family === 'load'}`;
    this.#names.set(inst, name);
    if (this.#streams.has(name)) return;
    const start = S_STREAMS + this.#streams.size * STREAM_BYTES;
    if (start + STREAM_BYTES > S_STREAMS + STREAMS_BYTES - PINS_BYTES) return;
    const none = this.#code64 ? start + 8 : undefined;
    this.#streams.set(name, { start, none, delta: start + 16 });
  }

  /** What is known of the page of a load or store. */
  of(inst: Inst): KeptPage | undefined {
    const name = this.#names.get(inst);
    const stream = name === undefined ? undefined : this.#streams.get(name);
    if (stream === undefined) return undefined;
    const { start, none, delta } = stream;
    const f = this.#f;
    const cpu = this.#cpu;
    return {
      pushHit: (address, width) => {
        f.get(address).get(cpu).mem(I64_LOAD, start).op(I64_SUB);
        if (none !== undefined) f.get(cpu).mem(I64_LOAD, none).op(I64_OR);
        f.i64(4096 - width).op(I64_LE_U);
      },
      pushDelta: () => {
        f.get(cpu).mem(I32_LOAD, delta);
      },
      enter: (entry) => {
        f.get(cpu).get(entry).mem(I64_LOAD, 0).mem(I64_STORE, start);
        if (none !== undefined) f.get(cpu).i64(0).mem(I64_STORE, none);
        f.get(cpu).get(entry).mem(I32_LOAD, TLB_DELTA).mem(I32_STORE, delta);
      },
    };
  }

  /** Nothing is known of any page, yet or any more. */
  forget(): void {
    for (const { start, none } of this.#streams.values())
      this.#f
        .get(this.#cpu)
        .i64(none === undefined ? NO_PAGE : -1)
        .mem(I64_STORE, none ?? start);
  }
}

/** What an instruction does, in order. */
interface StreamStep {
  /** Reaches memory by these registers; sets them, by their offset in the state, to anything, or to a small value. */
  readonly kind: 'access' | 'far' | 'near';
  readonly inst: Inst;
  readonly registers: readonly number[];
}

const stepsOf = askedOnce(({ insts }) => insts.flatMap(stepFor));
const farIn = askedOnce((ir) =>
  stepsOf(ir).flatMap(({ kind, registers }) => (kind === 'far' ? registers : [])),
);
const DIVISION_SETS = [S_RAX, S_RDX];
const GENERAL = Array.from({ length: GENERAL_BYTES / 8 }, (_, i) => S_REGS + i * 8);

function stepFor(inst: Inst): StreamStep[] {
  const { op, attr, args } = inst;
  const { slot, helper = '' } = attr;
  const value = args[0];
  switch (op.family) {
    case 'load':
    case 'loadw':
    case 'store': {
      const registers = value && registersOf(value);
      return registers === undefined ? [] : [{ kind: 'access', inst, registers }];
    }
    case 'call':
      if (isDivision(helper)) return [{ kind: 'far', inst, registers: DIVISION_SETS }];
      return helperKind(helper) === 'whole' ? [{ kind: 'far', inst, registers: GENERAL }] : [];
    case 'set': {
      if (slot === undefined || !('fixed' in slot) || value === undefined) return [];
      const { fixed } = slot;
      if (fixed >= S_REGS + GENERAL_BYTES) return [];
      const registers = [fixed & ~7];
      if (isSmall(value)) return [{ kind: 'near', inst, registers }];
      return isSmallStep(value, fixed) ? [] : [{ kind: 'far', inst, registers }];
    }
    default:
      return [];
  }
}

function isSmallStep(value: Inst, register: number): boolean {
  const inner = stripped(value);
  if (!/^i(32|64)\.(add|sub)$/.test(inner.op.name)) return false;
  const [a, b] = inner.args;
  if (a === undefined || b?.op.family !== 'const') return false;
  const by = BigInt(b.attr.imm ?? 0);
  return registerOf(stripped(a)) === register && by <= MOST_STEP && by >= -MOST_STEP;
}

function isSmall(value: Inst): boolean {
  const { op, args } = stripped(value);
  if (op.family === 'get' || op.family === 'load') return op.width === '8';
  const [a, b] = args;
  if (b?.op.family !== 'const') return false;
  const by = BigInt(b.attr.imm ?? 0);
  if (op.name.endsWith('.and')) return by >> INDEX_BITS === 0n;
  const bits = op.result === 'i32' || a?.op.name === 'i64.extend_i32_u' ? 32n : 64n;
  return op.name.endsWith('.shr_u') && bits - by <= INDEX_BITS;
}

/** Without what makes 64 bits of 32 or the other way round. */
function stripped(inst: Inst): Inst {
  const [a] = inst.args;
  if (a === undefined) return inst;
  return /^(i64\.extend_i32_u|i32\.wrap_i64)$/.test(inst.op.name) ? stripped(a) : inst;
}

function registerOf({ op, attr }: Inst): number | undefined {
  const { slot } = attr;
  if (op.family !== 'get' || slot === undefined || !('fixed' in slot)) return undefined;
  return slot.fixed < S_REGS + GENERAL_BYTES ? slot.fixed : undefined;
}

/** Registers whose sum, scaled and moved by constants, an address is; undefined when it is something else. */
function registersOf(address: Inst): number[] | undefined {
  const inst = stripped(address);
  const { op, args } = inst;
  if (op.family === 'const') return [];
  if (op.family === 'get') {
    const register = registerOf(inst);
    return register === undefined ? undefined : [register];
  }
  if (!/\.(add|sub|shl|and)$/.test(op.name)) return undefined;
  const found: number[] = [];
  for (const arg of args) {
    const registers = registersOf(arg);
    if (registers === undefined) return undefined;
    found.push(...registers);
  }
  return found;
}
