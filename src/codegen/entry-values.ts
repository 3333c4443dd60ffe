import {
  type AddressGroups,
  ENTRY_VALUES,
  type EntryAccess,
  type Known,
} from './address-groups.ts';
import { type ControlFlow, successors } from './control-flow.ts';
import type { Region } from './region.ts';

/** What is known at the beginning of each node, whatever way leads there, and what its accesses reach by that. */
export interface EntryValues {
  readonly known: readonly Known[];
  readonly accesses: readonly (readonly EntryAccess[])[];
}

/**
 * Which registers hold what they, or others, held when the region was entered, plus a constant. Begins with what any way says
 * and goes on until nothing changes.
 */
export function entryValues(region: Region, flow: ControlFlow, groups: AddressGroups): EntryValues {
  const known: (Known | undefined)[] = [ENTRY_VALUES];
  const waiting = [0];
  for (let n = waiting.pop(); n !== undefined; n = waiting.pop()) {
    const node = region.nodes[n];
    if (node === undefined) continue;
    const after = groups.through(node, known[n] ?? new Map()).known;
    for (const to of successors(node)) {
      if (!flow.isKept(n, to)) continue;
      const before = known[to];
      const met = before === undefined ? after : meet(before, after);
      if (met === before) continue;
      known[to] = met;
      waiting.push(to);
    }
  }
  const found = region.nodes.map((_, n) => known[n] ?? new Map());
  const accesses = region.nodes.map(
    (node, n) => groups.through(node, found[n] ?? new Map()).accesses,
  );
  return { known: found, accesses };
}

/** What both know; `a` itself where `b` knows as much. */
function meet(a: Known, b: Known): Known {
  const same = [...a].filter(([register, { root, offset }]) => {
    const other = b.get(register);
    return other?.root === root && other.offset === offset;
  });
  return same.length === a.size ? a : new Map(same);
}
