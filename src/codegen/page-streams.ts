import type { Inst } from '#ir/block.ts';
import { S_RAX, S_RDX, S_REGS } from '#ir/state.ts';
import { type ControlFlow, smallLoops } from './control-flow.ts';
import { helperKind, isDivision } from './hot-helpers.ts';
import type { Region } from './region.ts';
import type { FunctionBody } from './wasm.ts';

const GENERAL_BYTES = 128;
const I64_SUB = 0x7d;
const I64_OR = 0x84;
const I64_LE_U = 0x58;
/** Far from every address of 32 bits. */
const NO_PAGE = 1n << 62n;
/** Nodes of a loop whose accesses are worth it. */
const MOST_NODES = 8;
/** By how much a round may move a register that stays on its page most of the time. */
const MOST_STEP = 64n;
/** Values up to here lead to one or two pages. */
const MOST_INDEX = 0xfffn;

/** The page that accesses by the same registers have last reached, in locals. */
export interface PageStream {
  /** Its virtual address. */
  readonly start: number;
  /** -1 while there is none, else 0. In 32-bit code its address says so. */
  readonly none: number | undefined;
  /** Its linear-memory address minus its virtual one. */
  readonly delta: number;
}

/**
 * In small loops what reaches the same page round after round needs no look at the TLB: pointers that walk, small tables.
 * What jumps about is better off without.
 */
export class PageStreams {
  readonly #f: FunctionBody;
  readonly #code64: boolean;
  readonly #names = new Map<Inst, string>();
  readonly #streams = new Map<string, PageStream>();

  constructor(f: FunctionBody, region: Region, flow: ControlFlow) {
    this.#f = f;
    this.#code64 = region.code64;
    for (const body of smallLoops(region, flow, MOST_NODES)) {
      const nodes = body.map((n) => (region.nodes[n]?.insns ?? []).flatMap(({ ir }) => ir.insts));
      const far = new Set<number>();
      for (const insts of nodes) for (const inst of insts) follow(inst, (r) => far.add(r));
      for (const insts of nodes) this.#look(insts, new Set(far));
    }
  }

  /** `far`: registers whose value the loop may have set to anything. */
  #look(insts: readonly Inst[], far: Set<number>): void {
    for (const inst of insts) {
      if (MEMORY.has(inst.op.family)) this.#consider(inst, far);
      follow(
        inst,
        (r) => far.add(r),
        (r) => far.delete(r),
      );
    }
  }

  #consider(inst: Inst, far: ReadonlySet<number>): void {
    const registers = inst.args[0] && registersOf(inst.args[0]);
    if (registers === undefined || registers.some((r) => far.has(r))) return;
    const name = `${registers.join('+')} ${inst.op.family === 'load'}`;
    this.#names.set(inst, name);
    if (this.#streams.has(name)) return;
    const f = this.#f;
    const none = this.#code64 ? f.local('i64') : undefined;
    const stream = { start: f.local('i64'), none, delta: f.local('i32') };
    this.#streams.set(name, stream);
  }

  /** The stream that a load or store belongs to. */
  of(inst: Inst): PageStream | undefined {
    const name = this.#names.get(inst);
    return name === undefined ? undefined : this.#streams.get(name);
  }

  /** Pushes 1 when the page has `width` bytes from `address` (a local) on. */
  pushHit(stream: PageStream, address: number, width: number): void {
    const f = this.#f.get(address).get(stream.start).op(I64_SUB);
    if (stream.none !== undefined) f.get(stream.none).op(I64_OR);
    f.i64(4096 - width).op(I64_LE_U);
  }

  /** Nothing is known of any page, yet or any more. */
  forget(): void {
    for (const { start, none } of this.#streams.values())
      this.#f.i64(none === undefined ? NO_PAGE : -1).set(none ?? start);
  }
}

const MEMORY = new Set(['load', 'loadw', 'store']);

/** Tells which registers, by their offset in the state, are set to anything, and which to a small value. */
function follow(
  { op, attr, args }: Inst,
  isFar: (register: number) => void,
  isNear: (register: number) => void = () => {},
): void {
  if (op.family === 'call') {
    if (isDivision(attr.helper ?? '')) for (const r of [S_RAX, S_RDX]) isFar(r);
    if (helperKind(attr.helper ?? '') === 'whole')
      for (let r = S_REGS; r < S_REGS + GENERAL_BYTES; r += 8) isFar(r);
  }
  if (op.family !== 'set' || attr.slot === undefined || !('fixed' in attr.slot)) return;
  const { fixed } = attr.slot;
  const [value] = args;
  if (fixed >= S_REGS + GENERAL_BYTES || value === undefined) return;
  if (isSmall(value)) isNear(fixed & ~7);
  else if (!isSmallStep(value, fixed)) isFar(fixed & ~7);
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
  const [, b] = args;
  if (!op.name.endsWith('.and') || b?.op.family !== 'const') return false;
  const mask = BigInt(b.attr.imm ?? 0);
  return mask >= 0n && mask <= MOST_INDEX;
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
