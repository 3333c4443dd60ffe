import type { Region, RegionEdge, RegionNode } from '#codegen/region.ts';
import { KEY_CODE64 } from '#ir/state.ts';
import type { BlockInfo, BlockView } from './block-view.ts';
import { isFlatKey } from './hot-context.ts';
import type { HotLifter, LiftedBlock } from './hot-lift.ts';

/** Guest instructions in a region at most: TurboFan's time grows faster than the code. */
const MAX_INSNS = 400;
const MAX_NODES = 120;
/** Calls within calls that are followed. */
const MAX_DEPTH = 5;
/** A block entered less often than this is not worth having, while its neighbour is hot. */
const MIN_ENTRIES = 200;
const PAGE_SHIFT = 12n;

/** The calls that lead to a node: each way into a function has nodes of its own, so that returns are known. */
interface Context {
  readonly parent: Context | undefined;
  readonly depth: number;
  readonly callee: number;
  readonly returnOffset: number;
  readonly name: string;
}

const ROOT: Context = { parent: undefined, depth: 0, callee: 0, returnOffset: 0, name: '' };

interface Candidate {
  readonly offset: number;
  readonly context: Context;
  readonly block: BlockInfo;
  readonly lifted: LiftedBlock;
}

export interface RegionPlan {
  readonly region: Omit<Region, 'slot'>;
  /** What it was made of: it holds as long as these do. */
  readonly blocks: readonly BlockInfo[];
}

/** Chooses what goes into a region: from its entry along the ways that have been gone, calls included. */
export class RegionPlanner {
  readonly #view: BlockView;
  readonly #lifter: HotLifter;
  readonly #rip: bigint;
  readonly #key: number;
  readonly #nodes = new Map<string, Candidate>();
  readonly #pages = new Map<bigint, number>();
  readonly #lifted = new Map<number, LiftedBlock | undefined>();
  #insns = 0;

  private constructor(view: BlockView, lifter: HotLifter, rip: bigint, entry: BlockInfo) {
    this.#view = view;
    this.#lifter = lifter;
    this.#rip = rip;
    this.#key = entry.key;
    this.#pages.set(rip >> PAGE_SHIFT, entry.paddr >>> 12);
  }

  /** The region that is entered at the block with the given address, met at `rip`; undefined if there is none. */
  static plan(
    view: BlockView,
    lifter: HotLifter,
    address: number,
    rip: bigint,
  ): RegionPlan | undefined {
    const entry = view.read(address);
    if (entry === undefined || !isFlatKey(entry.key)) return undefined;
    return new RegionPlanner(view, lifter, rip, entry).#plan(entry);
  }

  #plan(entry: BlockInfo): RegionPlan | undefined {
    const lifted = this.#lifter.lift(entry, 0);
    if (lifted === undefined || lifted.insns.length === 0) return undefined;
    this.#lifted.set(0, lifted);
    this.#add({ offset: 0, context: ROOT, block: entry, lifted });
    for (const candidate of this.#nodes.values()) {
      if (this.#nodes.size >= MAX_NODES || this.#insns >= MAX_INSNS) break;
      for (const { offset, context } of this.#ways(candidate)) this.#consider(offset, context);
    }
    const order = [...this.#nodes.keys()];
    const numbers = new Map(order.map((name, i) => [name, i]));
    const candidates = [...this.#nodes.values()];
    const own = this.#rip >> PAGE_SHIFT;
    return {
      region: {
        nodes: candidates.map((candidate) => this.#node(candidate, numbers)),
        code64: (this.#key & KEY_CODE64) !== 0,
        pages: [...this.#pages]
          .filter(([vpage]) => vpage !== own)
          .map(([vpage, page]) => ({
            offset: Number(BigInt.asIntN(64, (vpage << PAGE_SHIFT) - this.#rip)),
            page,
          })),
      },
      blocks: [...new Map(candidates.map(({ block }) => [block.address, block])).values()],
    };
  }

  #add(candidate: Candidate): void {
    this.#nodes.set(nameOf(candidate.offset, candidate.context), candidate);
    this.#insns += candidate.lifted.insns.length;
  }

  #consider(offset: number, context: Context): void {
    if (this.#nodes.has(nameOf(offset, context)) || this.#insns >= MAX_INSNS) return;
    const block = this.#find(offset);
    if (block === undefined || this.#view.entries(block) < MIN_ENTRIES) return;
    if (!this.#lifted.has(offset)) this.#lifted.set(offset, this.#lifter.lift(block, offset));
    const lifted = this.#lifted.get(offset);
    if (lifted === undefined || lifted.insns.length === 0) return;
    this.#add({ offset, context, block, lifted });
  }

  #find(offset: number): BlockInfo | undefined {
    const lin = BigInt.asUintN(
      (this.#key & KEY_CODE64) !== 0 ? 64 : 32,
      this.#rip + BigInt(offset),
    );
    const vpage = lin >> PAGE_SHIFT;
    const page = this.#pages.get(vpage) ?? this.#view.codePage(lin, this.#key);
    if (page === undefined) return undefined;
    const block = this.#view.find(((page << 12) | Number(lin & 0xfffn)) >>> 0, this.#key);
    if (block !== undefined) this.#pages.set(vpage, page);
    return block;
  }

  /** Where control may go from a node, within the contexts that are followed. */
  #ways(from: Candidate): { offset: number; context: Context }[] {
    const { last, end, leavesCold } = from.lifted;
    if (leavesCold || last === undefined) return [];
    const { context } = from;
    const next = { offset: end, context };
    const target = end + last.rel;
    switch (last.row.name) {
      case 'jmp':
        return [{ offset: target, context }];
      case 'jcc':
      case 'loop':
      case 'jcxz':
        return [next, { offset: target, context }];
      case 'call': {
        const inner = this.#inner(context, target, end);
        return inner === undefined ? [] : [{ offset: target, context: inner }];
      }
      case 'ret':
        return context.parent === undefined
          ? []
          : [{ offset: context.returnOffset, context: context.parent }];
      case 'jmpInd':
      case 'callInd':
        return [];
      default:
        return [next];
    }
  }

  /** The context of a call; undefined for a recursive one and where calls are too deep. */
  #inner(context: Context, callee: number, returnOffset: number): Context | undefined {
    if (context.depth >= MAX_DEPTH) return undefined;
    for (let at: Context | undefined = context; at?.parent !== undefined; at = at.parent)
      if (at.callee === callee) return undefined;
    const name = `${context.name}/${returnOffset}`;
    return { parent: context, depth: context.depth + 1, callee, returnOffset, name };
  }

  #node(candidate: Candidate, numbers: ReadonlyMap<string, number>): RegionNode {
    const { lifted, offset, context } = candidate;
    const { last, end } = lifted;
    const ways = this.#ways(candidate);
    const edge = (to: number): RegionEdge => {
      const way = ways.find((w) => w.offset === to);
      return { offset: to, node: way && numbers.get(nameOf(to, way.context)) };
    };
    const direct = last?.row.operands.some((o) => o.kind === 'J') === true;
    const isReturn = last?.row.name === 'ret' && context.parent !== undefined;
    const repeats = last?.row.options.rep === true;
    return {
      offset,
      insns: lifted.insns,
      taken: direct && last !== undefined ? edge(end + last.rel) : undefined,
      next: edge(end),
      predicted: isReturn ? [edge(context.returnOffset)] : repeats ? [edge(end)] : [],
      leavesCold: lifted.leavesCold,
    };
  }
}

function nameOf(offset: number, context: Context): string {
  return `${offset}${context.name}`;
}
