import type { RegionEdge } from './region.ts';

/** Targets of an indirect jump that one branch by a table tells apart: its index is (offset - first) >> shift. */
export interface TargetTable {
  readonly first: number;
  /** All offsets are first plus multiples of 1 << shift. */
  readonly shift: number;
  /** Where each index leads: the number of an edge; undefined for none. */
  readonly indexes: readonly (number | undefined)[];
}

/** Fewer than these are compared one by one. */
const FEWEST = 6;
/** The same of calls: where their targets cannot be foreseen, a comparison tells sooner than the load of a table's entry. */
const FEWEST_CALLED = 9;
const MOST_INDEXES = 512;

/** The table of an indirect jump's edges; undefined where they are few, or too far apart. */
export function targetTable(edges: readonly RegionEdge[], calls: boolean): TargetTable | undefined {
  if (edges.length < (calls ? FEWEST_CALLED : FEWEST)) return undefined;
  const first = Math.min(...edges.map(({ offset }) => offset));
  const distances = edges.map(({ offset }) => offset - first);
  const all = distances.reduce((bits, distance) => bits | distance, 0);
  const most = Math.max(...distances);
  if (all === 0 || most > 0xffff) return undefined;
  const shift = 31 - Math.clz32(all & -all);
  if (most >> shift >= MOST_INDEXES) return undefined;
  const indexes: (number | undefined)[] = Array.from({ length: (most >> shift) + 1 });
  for (const [i, distance] of distances.entries()) indexes[distance >> shift] ??= i;
  return { first, shift, indexes };
}
