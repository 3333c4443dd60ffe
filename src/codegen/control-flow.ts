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
  /** Where the edges from each node lead, and where those come from that may be followed to it. */
  readonly successors: readonly (readonly number[])[];
  readonly predecessors: readonly (readonly number[])[];
}

export function successors({ taken, next, leavesCold, predicted }: RegionNode): number[] {
  const found: number[] = [];
  if (taken?.node !== undefined) found.push(taken.node);
  if (!leavesCold && next.node !== undefined) found.push(next.node);
  for (const { node } of predicted) if (node !== undefined) found.push(node);
  return found;
}

/** Reverse postorder from node 0. */
function reversePostorder(ways: readonly (readonly number[])[]): number[] {
  const order: number[] = [];
  const seen = ways.map((_, n) => n === 0);
  const stack = [0];
  /** How many of its successors have yet to be looked at, the last first. */
  const left = ways.map(({ length }) => length);
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const rest = (left[top] ?? 0) - 1;
    left[top] = rest;
    const to = rest < 0 ? undefined : ways[top]?.[rest];
    if (to === undefined) {
      order.push(top);
      stack.pop();
    } else if (seen[to] !== true) {
      seen[to] = true;
      stack.push(to);
    }
  }
  return order.reverse();
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
    let x = a;
    let y = b;
    while (x !== y) {
      while (x > y) x = idom[x] ?? 0;
      while (y > x) y = idom[y] ?? 0;
    }
    return x;
  };
  const aboveAll = (list: readonly number[]): number | undefined => {
    let found: number | undefined;
    for (const p of list)
      if ((idom[p] ?? -1) >= 0) found = found === undefined ? p : meet(found, p);
    return found;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = 1; i < order.length; i++) {
      const found = aboveAll(predecessors[i] ?? []);
      if (found !== undefined && idom[i] !== found) {
        idom[i] = found;
        changed = true;
      }
    }
  }
  return idom;
}

/** The loops of no more than `most` nodes. */
export function smallLoops(flow: ControlFlow, most: number): number[][] {
  return flow.isLoop.flatMap((isLoop, head) => {
    if (!isLoop) return [];
    const body = loopBody(head, flow, most);
    return body.size <= most ? [[...body]] : [];
  });
}

/** The nodes from which control goes back to `head`; not all of them when they are more than `most`. */
function loopBody(
  head: number,
  { position, predecessors }: ControlFlow,
  most: number,
): ReadonlySet<number> {
  const body = new Set([head]);
  const isBehind = (n: number) => (position[n] ?? -1) >= (position[head] ?? 0);
  const reach = (predecessors[head] ?? []).filter(isBehind);
  for (let n = reach.pop(); n !== undefined && body.size <= most; n = reach.pop()) {
    if (body.has(n)) continue;
    body.add(n);
    reach.push(...(predecessors[n] ?? []));
  }
  return body;
}

export function analyse({ nodes }: Region): ControlFlow {
  const ways = nodes.map(successors);
  const order = reversePostorder(ways);
  const position = nodes.map(() => -1);
  order.forEach((node, i) => {
    position[node] = i;
  });
  const at = (node: number) => position[node] ?? -1;
  const before: number[][] = order.map(() => []);
  order.forEach((node, i) => {
    for (const to of ways[node] ?? []) before[at(to)]?.push(i);
  });
  const idom = dominators(order, before);
  const dominates = (above: number, below: number): boolean => {
    let i = below;
    while (i > above) i = idom[i] ?? 0;
    return i === above;
  };
  const isKept = (from: number, to: number) => at(to) > at(from) || dominates(at(to), at(from));
  const children: number[][] = nodes.map(() => []);
  order.forEach((node, i) => {
    if (i > 0) children[order[idom[i] ?? 0] ?? 0]?.push(node);
  });
  const predecessors: number[][] = nodes.map(() => []);
  ways.forEach((list, n) => {
    if (at(n) >= 0) for (const to of list) if (isKept(n, to)) predecessors[to]?.push(n);
  });
  const isBack = (from: number, to: number) => at(from) >= at(to);
  return {
    position,
    children,
    isMerge: predecessors.map((list, n) => list.filter((from) => !isBack(from, n)).length > 1),
    isLoop: predecessors.map((list, n) => list.some((from) => isBack(from, n))),
    isKept,
    successors: ways,
    predecessors,
  };
}
