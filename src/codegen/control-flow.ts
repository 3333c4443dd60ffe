import type { Region, RegionNode } from './region.ts';

/** The shape of a region, as structured control flow needs it. Numbers are those of the nodes. */
export interface ControlFlow {
  /** Position of each node in reverse postorder. */
  readonly position: readonly number[];
  /** Nodes that each node dominates at once, in reverse postorder. */
  readonly children: readonly (readonly number[])[];
  /** Nodes that several edges from before lead to. */
  readonly isMerge: readonly boolean[];
  /** Nodes that an edge from behind leads to. */
  readonly isLoop: readonly boolean[];
  /** Whether an edge may be followed: not those into the middle of a loop, which no structure has. */
  isKept(from: number, to: number): boolean;
}

export function successors(node: RegionNode): number[] {
  const edges = [node.taken, node.leavesCold ? undefined : node.next, ...node.predicted];
  return edges.flatMap((edge) => (edge?.node === undefined ? [] : [edge.node]));
}

/** Reverse postorder from node 0. */
function reversePostorder(region: Region): number[] {
  const order: number[] = [];
  const seen = new Set<number>([0]);
  const stack: { node: number; next: number[] }[] = [{ node: 0, next: followed(region, 0) }];
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const to = top.next.pop();
    if (to === undefined) {
      order.push(top.node);
      stack.pop();
    } else if (!seen.has(to)) {
      seen.add(to);
      stack.push({ node: to, next: followed(region, to) });
    }
  }
  return order.reverse();
}

function followed(region: Region, node: number): number[] {
  const found = region.nodes[node];
  return found === undefined ? [] : successors(found);
}

/**
 * Immediate dominators by position in `order`. Source: Cooper, Harvey, Kennedy, "A simple, fast dominance algorithm" (2001).
 */
function dominators(
  order: readonly number[],
  predecessors: readonly (readonly number[])[],
): number[] {
  const idom: number[] = order.map((_, i) => (i === 0 ? 0 : -1));
  const meet = (a: number, b: number): number => {
    let [x, y] = [a, b];
    while (x !== y) {
      while (x > y) x = idom[x] ?? 0;
      while (y > x) y = idom[y] ?? 0;
    }
    return x;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = 1; i < order.length; i++) {
      const known = (predecessors[i] ?? []).filter((p) => (idom[p] ?? -1) >= 0);
      const first = known[0];
      if (first === undefined) continue;
      const found = known.slice(1).reduce(meet, first);
      if (idom[i] !== found) {
        idom[i] = found;
        changed = true;
      }
    }
  }
  return idom;
}

/** The loops of no more than `most` nodes. */
export function smallLoops(region: Region, flow: ControlFlow, most: number): number[][] {
  const predecessors: number[][] = region.nodes.map(() => []);
  for (const n of region.nodes.keys())
    if ((flow.position[n] ?? -1) >= 0)
      for (const to of followed(region, n)) if (flow.isKept(n, to)) predecessors[to]?.push(n);
  return region.nodes.flatMap((_, head) => {
    if (flow.isLoop[head] !== true) return [];
    const body = loopBody(head, predecessors, flow, most);
    return body.size <= most ? [[...body]] : [];
  });
}

/** The nodes from which control goes back to `head`; not all of them when they are more than `most`. */
function loopBody(
  head: number,
  predecessors: readonly (readonly number[])[],
  flow: ControlFlow,
  most: number,
): Set<number> {
  const body = new Set([head]);
  const isBehind = (n: number) => (flow.position[n] ?? -1) >= (flow.position[head] ?? 0);
  const reach = (predecessors[head] ?? []).filter(isBehind);
  for (let n = reach.pop(); n !== undefined && body.size <= most; n = reach.pop()) {
    if (body.has(n)) continue;
    body.add(n);
    reach.push(...(predecessors[n] ?? []));
  }
  return body;
}

export function analyse(region: Region): ControlFlow {
  const order = reversePostorder(region);
  const position = region.nodes.map(() => -1);
  order.forEach((node, i) => {
    position[node] = i;
  });
  const at = (node: number) => position[node] ?? -1;
  const predecessors: number[][] = order.map(() => []);
  order.forEach((node, i) => {
    for (const to of followed(region, node)) predecessors[at(to)]?.push(i);
  });
  const idom = dominators(order, predecessors);
  const dominates = (above: number, below: number): boolean => {
    let i = below;
    while (i > above) i = idom[i] ?? 0;
    return i === above;
  };
  const isKept = (from: number, to: number) => at(to) > at(from) || dominates(at(to), at(from));
  const children: number[][] = region.nodes.map(() => []);
  order.forEach((node, i) => {
    if (i > 0) children[order[idom[i] ?? 0] ?? 0]?.push(node);
  });
  const count = (node: number, back: boolean) =>
    (predecessors[at(node)] ?? []).filter(
      (p) => p >= at(node) === back && isKept(order[p] ?? 0, node),
    ).length;
  return {
    position,
    children,
    isMerge: region.nodes.map((_, n) => at(n) >= 0 && count(n, false) > 1),
    isLoop: region.nodes.map((_, n) => at(n) >= 0 && count(n, true) > 0),
    isKept,
  };
}
