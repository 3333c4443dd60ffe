import type { Region, RegionEdge, RegionNode } from '#codegen/region.ts';
import { KEY_CODE64, REGION_PAGES } from '#ir/state.ts';
import type { BlockInfo, BlockView } from './block-view.ts';
import { isFlatKey } from './hot-context.ts';
import type { HotLifter, LiftedBlock } from './hot-lift.ts';
import type { NodeUse } from './region-entry.ts';

/** Guest instructions in a region at most: TurboFan's time grows faster than the code. */
const MAX_INSNS = 400;
const MAX_NODES = 120;
/** Calls within calls that are followed. */
const MAX_DEPTH = 5;
/** A block entered less often than this is not worth having, while its neighbour is hot. */
const MIN_ENTRIES = 200;
/** What indirect jumps lead to shares the entries of the jump. */
const MIN_TARGET_ENTRIES = 20;
const PAGE_SHIFT = 12n;
const PAGE_BYTES = 4096;
/** Instructions that go where an operand says. */
const INDIRECT: ReadonlySet<string> = new Set(['ret', 'jmpInd', 'callInd']);

/** The calls that lead to a node: each way into a function has nodes of its own, so that returns are known. */
interface Context {
  readonly parent: Context | undefined;
  readonly depth: number;
  readonly callee: number;
  readonly returnOffset: number;
  readonly frame: Frame;
}

/** What calls from the same places have in common: their nodes. */
interface Frame {
  /** Numbers of the nodes, by offset. */
  readonly nodes: Map<number, number>;
  /** Offsets at which loops begin. */
  readonly heads: Set<number>;
  /** Frames of the calls within, by the offset that they return to. */
  readonly calls: Map<number, Frame>;
}

function emptyFrame(): Frame {
  return { nodes: new Map(), heads: new Set(), calls: new Map() };
}

/** Targets of an indirect jump that are followed. */
const MAX_TARGETS = 12;

/** Where control may go from a node, and in which context it is then. */
interface Way {
  readonly offset: number;
  readonly context: Context;
  /** Entries that make it worth having. */
  readonly least: number;
}

interface Candidate {
  readonly offset: number;
  readonly context: Context;
  readonly block: BlockInfo;
  readonly lifted: LiftedBlock;
  readonly ways: readonly Way[];
}

/** A block of a region; `offset` is that of its code from the region's entry. */
export interface RegionBlock extends BlockInfo {
  readonly offset: number;
}

export interface RegionPlan {
  readonly region: Region;
  /** What it was made of, the entry first: it holds as long as these do. */
  readonly blocks: readonly RegionBlock[];
  /** The physical pages of `region.pages`. */
  readonly pages: readonly number[];
  /** By node. */
  readonly uses: readonly NodeUse[];
}

/** What a region is planned with. */
export interface RegionParts {
  readonly view: BlockView;
  readonly lifter: HotLifter;
  /** Offset from the entry of a block that is to stay outside: a region of its own begins there. */
  readonly without?: number;
  /** Blocks that are to be in the region however often they have been entered: it is made again, and serves misses (`Region`). */
  readonly again?: readonly number[] | undefined;
  /** Whether ways within calls are to end at a block, because another region is entered there. */
  readonly endsCallsAt?: (block: BlockInfo) => boolean;
}

/** Chooses what goes into a region: from its entry along the ways that have been gone, calls included. */
export class RegionPlanner {
  readonly #view: BlockView;
  readonly #lifter: HotLifter;
  readonly #rip: bigint;
  /** Of it, what is within the page. */
  readonly #inPage: number;
  readonly #key: number;
  readonly #root: Context = {
    parent: undefined,
    depth: 0,
    callee: 0,
    returnOffset: 0,
    frame: emptyFrame(),
  };
  readonly #nodes: Candidate[] = [];
  readonly #pages = new Map<bigint, number>();
  /** The same by their distance from the page of the entry, as far as they have been looked for. */
  readonly #near = new Map<number, number>();
  readonly #lifted = new Map<number, LiftedBlock | undefined>();
  /** Where calls of the region's own entry return to. */
  readonly #returns: Way[] = [];
  #insns = 0;
  /** Offset of a block that is left out. */
  readonly #without: number | undefined;
  readonly #again: ReadonlySet<number> | undefined;
  readonly #endsCallsAt: RegionParts['endsCallsAt'];

  private constructor(
    { view, lifter, without, again, endsCallsAt }: RegionParts,
    rip: bigint,
    entry: BlockInfo,
  ) {
    this.#without = without;
    this.#again = again && new Set(again);
    this.#endsCallsAt = endsCallsAt;
    this.#view = view;
    this.#lifter = lifter;
    this.#rip = rip;
    this.#inPage = Number(rip & 0xfffn);
    this.#key = entry.key;
    this.#pages.set(rip >> PAGE_SHIFT, entry.paddr >>> 12);
  }

  /** The region that is entered at the block with the given address, met at `rip`; undefined if there is none. */
  static plan(parts: RegionParts, address: number, rip: bigint): RegionPlan | undefined {
    const entry = parts.view.read(address);
    if (entry === undefined || !isFlatKey(entry.key)) return undefined;
    return new RegionPlanner(parts, rip, entry).#plan(entry);
  }

  #plan(entry: BlockInfo): RegionPlan | undefined {
    const lifted = this.#lifter.lift(entry, 0);
    if (lifted === undefined || lifted.insns.length === 0) return undefined;
    this.#lifted.set(0, lifted);
    this.#add({ offset: 0, context: this.#root, least: MIN_ENTRIES }, entry, lifted);
    for (const { ways } of this.#nodes) {
      if (this.#nodes.length >= MAX_NODES || this.#insns >= MAX_INSNS) break;
      for (const way of ways) this.#consider(way);
      for (const way of this.#returns) this.#consider(way);
    }
    this.#cutAtHeads();
    const candidates = this.#nodes;
    const own = this.#rip >> PAGE_SHIFT;
    const others = [...this.#pages].filter(([vpage]) => vpage !== own);
    const blocks = new Map(
      candidates.map(({ block, offset }) => [block.address, { ...block, offset }]),
    );
    return {
      region: {
        nodes: candidates.map((candidate) => this.#node(candidate)),
        code64: (this.#key & KEY_CODE64) !== 0,
        pages: others.map(([vpage]) =>
          Number(BigInt.asIntN(64, (vpage << PAGE_SHIFT) - this.#rip)),
        ),
        servesMisses: this.#again !== undefined,
      },
      blocks: [...blocks.values()],
      pages: others.map(([, page]) => page),
      uses: candidates.map(({ block, context }) => ({
        entries: this.#view.entries(block),
        isOuter: context === this.#root,
      })),
    };
  }

  /**
   * Ends nodes where a loop begins: the block that leads into one goes on to the loop's first jump, since it was made
   * before anything jumped back, and from there would enter the loop in its middle. `blocks` keep all their bytes, so that a
   * write to the part that is left out still ends the region.
   */
  #cutAtHeads(): void {
    for (const { lifted, context, ways } of this.#nodes)
      for (const way of ways)
        if (way.context === context && way.offset < lifted.end) context.frame.heads.add(way.offset);
    this.#nodes.forEach((candidate, n) => {
      const { context, lifted } = candidate;
      const { heads, nodes } = context.frame;
      if (heads.size === 0) return;
      const at = lifted.insns.findIndex(
        ({ start }, i) => i > 0 && heads.has(start) && nodes.has(start),
      );
      const head = lifted.insns[at];
      if (head === undefined) return;
      const insns = lifted.insns.slice(0, at);
      this.#nodes[n] = {
        ...candidate,
        lifted: { insns, last: undefined, end: head.start, leavesCold: false },
        ways: [{ offset: head.start, context, least: 0 }],
      };
    });
  }

  #add(way: Way, block: BlockInfo, lifted: LiftedBlock): void {
    const { offset, context } = way;
    const ways = this.#waysFrom(block, way, lifted);
    context.frame.nodes.set(offset, this.#nodes.length);
    this.#nodes.push({ offset, context, block, lifted, ways });
    this.#insns += lifted.insns.length;
  }

  #consider(way: Way): void {
    const { offset, context, least } = way;
    if (offset === this.#without) return;
    if (context.frame.nodes.has(offset) || this.#insns >= MAX_INSNS) return;
    const block = this.#find(offset);
    if (block === undefined || !this.#isWorth(block, least)) return;
    if (context !== this.#root && this.#endsCallsAt?.(block) === true) return;
    if (!this.#lifted.has(offset)) this.#lifted.set(offset, this.#lifter.lift(block, offset));
    const lifted = this.#lifted.get(offset);
    if (lifted === undefined || lifted.insns.length === 0) return;
    this.#add(way, block, lifted);
  }

  /** Blocks that ran in a region alone have hardly been entered by the interpreter. */
  #isWorth(block: BlockInfo, least: number): boolean {
    return this.#view.entries(block) >= least || this.#again?.has(block.address) === true;
  }

  #find(offset: number): BlockInfo | undefined {
    const from = this.#inPage + offset;
    const distance = Math.floor(from / PAGE_BYTES);
    const inPage = from - distance * PAGE_BYTES;
    const near = this.#near.get(distance);
    if (near !== undefined) return this.#view.find(near + inPage, this.#key);
    const lin = this.#view.linearOf(this.#rip, offset, this.#key);
    const vpage = lin >> PAGE_SHIFT;
    const known = this.#pages.get(vpage);
    if (known === undefined && this.#pages.size > REGION_PAGES) return undefined;
    const page = known ?? this.#view.codePage(lin, this.#key);
    if (page === undefined) return undefined;
    const start = (page << 12) >>> 0;
    const block = this.#view.find(start + inPage, this.#key);
    if (block === undefined) return undefined;
    this.#pages.set(vpage, page);
    this.#near.set(distance, start);
    return block;
  }

  /** Where control may go from a node, within the contexts that are followed. */
  #waysFrom(block: BlockInfo, { context, least }: Way, lifted: LiftedBlock): Way[] {
    const { last, end, leavesCold } = lifted;
    if (leavesCold || last === undefined) return [];
    const next = { offset: end, context, least };
    const target = end + last.rel;
    switch (last.row.name) {
      case 'jmp':
        return [{ offset: target, context, least }];
      case 'jcc':
      case 'loop':
      case 'jcxz':
        return [next, { offset: target, context, least }];
      case 'call':
        return this.#call({ offset: target, context, least }, end);
      case 'ret':
        return this.#return(context, least);
      case 'jmpInd':
        return this.#targets(block).map((offset) => ({
          offset,
          context,
          least: MIN_TARGET_ENTRIES,
        }));
      case 'callInd':
        return this.#targets(block).flatMap((offset) =>
          this.#call({ offset, context, least: MIN_TARGET_ENTRIES }, end),
        );
      default:
        return [next];
    }
  }

  #targets(block: BlockInfo): number[] {
    return this.#view
      .targets(block)
      .slice(0, MAX_TARGETS)
      .map((rip) => Number(BigInt.asIntN(64, rip - this.#rip)));
  }

  /** A call of the region's own entry goes there again: its return is one of those that the region knows. */
  #call({ offset: callee, context, least }: Way, returnOffset: number): Way[] {
    if (callee === 0) {
      const isKnown = this.#returns.some(
        (way) => way.offset === returnOffset && way.context.frame === context.frame,
      );
      if (!isKnown && this.#returns.length < MAX_TARGETS)
        this.#returns.push({ offset: returnOffset, context, least });
      return [{ offset: 0, context: this.#root, least }];
    }
    const inner = this.#inner(context, callee, returnOffset);
    return inner === undefined ? [] : [{ offset: callee, context: inner, least }];
  }

  #return(context: Context, least: number): Way[] {
    if (context.parent === undefined) return [...this.#returns];
    return [{ offset: context.returnOffset, context: context.parent, least }];
  }

  /** The context of a call; undefined for a recursive one and where calls are too deep. */
  #inner(context: Context, callee: number, returnOffset: number): Context | undefined {
    if (context.depth >= MAX_DEPTH) return undefined;
    for (let at: Context | undefined = context; at?.parent !== undefined; at = at.parent)
      if (at.callee === callee) return undefined;
    const { calls } = context.frame;
    const frame = calls.get(returnOffset) ?? emptyFrame();
    calls.set(returnOffset, frame);
    return { parent: context, depth: context.depth + 1, callee, returnOffset, frame };
  }

  #node(candidate: Candidate): RegionNode {
    const { lifted, offset, context } = candidate;
    const { last, end } = lifted;
    const indirect = INDIRECT.has(last?.row.name ?? '');
    // Returns of the region's own entry are known only when all of it has been looked through.
    const ways = last?.row.name === 'ret' ? this.#return(context, MIN_ENTRIES) : candidate.ways;
    const edges = ways.map((w) => ({
      offset: w.offset,
      node: w.context.frame.nodes.get(w.offset),
    }));
    const edge = (to: number): RegionEdge =>
      edges.find((e) => e.offset === to) ?? { offset: to, node: undefined };
    const direct = last?.row.operands.some((o) => o.kind === 'J') === true;
    const repeats = last?.row.options.rep === true;
    return {
      offset,
      insns: lifted.insns,
      taken: direct && last !== undefined ? edge(end + last.rel) : undefined,
      next: edge(end),
      predicted: indirect ? edges.filter((e) => e.node !== undefined) : repeats ? [edge(end)] : [],
      calls: last?.row.name === 'callInd',
      leavesCold: lifted.leavesCold,
    };
  }
}
