import { analyse, smallLoops, successors } from '#codegen/control-flow.ts';
import type { Region, RegionEdge, RegionNode } from '#codegen/region.ts';
import { askedOnce } from '#ir/block.ts';

/** What is known of a node when an entry is chosen. */
export interface NodeUse {
  /** How often it has been entered. */
  readonly entries: number;
  /** Not within a call: the region may be entered here. */
  readonly isOuter: boolean;
}

/** What leaving a region and entering another one costs, in moves of a register. */
const LEAVING = 100;
/** Another entry is worth it when its loops cost less than this share. */
const WORTH = 0.75;
/** How much rarer than the block that is hot another entry may be. */
const RARER = 256;
/** Entries that are looked at, those of the widest loops first. */
const MOST = 4;

/**
 * The node at which a region of these nodes is entered best; undefined when that is node 0. A loop that is entered in
 * its middle is two loops at once: what one of them changes is carried round by both, and jumps into it leave the region.
 */
export function betterEntry(region: Region, uses: readonly NodeUse[]): number | undefined {
  const candidates = headsAround(region, uses);
  if (candidates.length === 0) return undefined;
  const changes = region.nodes.map(changedBy);
  let best: number | undefined;
  let least = WORTH * loopCost(region, uses, changes);
  for (const head of candidates) {
    const cost = loopCost(enteredAt(region, head), swapped(uses, head), swapped(changes, head));
    if (cost >= least) continue;
    least = cost;
    best = head;
  }
  return best;
}

/** The registers that a node sets, by their offsets in the state. */
function changedBy({ insns }: RegionNode): ReadonlySet<number> {
  const found = new Set<number>();
  for (const { ir } of insns) for (const register of setBy(ir)) found.add(register);
  return found;
}

const setBy = askedOnce(({ insts }) =>
  insts.flatMap(({ op, attr: { slot } }) =>
    op.family === 'set' && slot !== undefined && 'fixed' in slot ? [slot.fixed & ~7] : [],
  ),
);

/** Where loops begin, by the addresses of their jumps back, that have node 0 in them. */
function headsAround(region: Region, uses: readonly NodeUse[]): number[] {
  const least = (uses[0]?.entries ?? 0) / RARER;
  const widths = new Map<number, number>();
  region.nodes.forEach(({ offset, taken, next, predicted }, n) => {
    if (uses[n]?.isOuter !== true || offset < 0) return;
    for (const edge of [taken, next, ...predicted]) {
      if (edge?.node === undefined || edge.node === 0 || edge.offset > 0) continue;
      const use = uses[edge.node];
      if (use?.isOuter !== true || use.entries < least) continue;
      widths.set(edge.node, Math.max(widths.get(edge.node) ?? 0, offset - edge.offset));
    }
  });
  const heads = [...widths].sort(([, a], [, b]) => b - a).map(([node]) => node);
  return heads.filter((node) => reaches(region, node)).slice(0, MOST);
}

/** Whether control may come from a node to node 0. */
function reaches({ nodes }: Region, from: number): boolean {
  const seen = new Set([from]);
  for (const n of seen) for (const to of successorsOf(nodes[n])) seen.add(to);
  return seen.has(0);
}

function successorsOf(node: RegionNode | undefined): readonly number[] {
  return node === undefined ? [] : successors(node);
}

/** What the loops of a region cost: each round all that may change in it, and each way into the middle of one a region's exit. */
function loopCost(
  region: Region,
  uses: readonly NodeUse[],
  changes: readonly ReadonlySet<number>[],
): number {
  const flow = analyse(region);
  const weight = (from: number, to: number) =>
    Math.min(uses[from]?.entries ?? 0, uses[to]?.entries ?? 0);
  let cost = 0;
  region.nodes.forEach((_, from) => {
    if ((flow.position[from] ?? -1) < 0) return;
    for (const to of flow.successors[from] ?? [])
      if (!flow.isKept(from, to)) cost += LEAVING * weight(from, to);
  });
  for (const body of smallLoops(flow, region.nodes.length)) {
    const [head = 0] = body;
    const changed = new Set(body.flatMap((n) => [...(changes[n] ?? [])]));
    for (const n of body)
      if (flow.successors[n]?.includes(head) === true) cost += changed.size * weight(n, head);
  }
  return cost;
}

/** The region with node `head` in the place of node 0. */
function enteredAt(region: Region, head: number): Region {
  const place = (n: number) => (n === 0 ? head : n === head ? 0 : n);
  const moved = (edge: RegionEdge): RegionEdge =>
    edge.node === undefined ? edge : { ...edge, node: place(edge.node) };
  const nodes = region.nodes.map((node) => ({
    ...node,
    taken: node.taken && moved(node.taken),
    next: moved(node.next),
    predicted: node.predicted.map(moved),
  }));
  return { ...region, nodes: swapped(nodes, head) };
}

/** A list with its first element and another one in each other's place. */
function swapped<T>(list: readonly T[], at: number): T[] {
  const copy = [...list];
  const [first, other] = [copy[0], copy[at]];
  if (first === undefined || other === undefined) return copy;
  copy[0] = other;
  copy[at] = first;
  return copy;
}
