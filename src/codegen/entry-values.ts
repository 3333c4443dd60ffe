import { type AddressGroups, ENTRY_VALUES, type Known, NOTHING_KNOWN } from './address-groups.ts';
import type { ControlFlow } from './control-flow.ts';
import type { Region } from './region.ts';

/**
 * Which registers hold at the beginning of each node, whatever way leads there, what they, or others, held when the region was
 * entered, plus a constant. Begins with what any way says and goes on until nothing changes.
 */
export function entryValues(region: Region, flow: ControlFlow, groups: AddressGroups): Known[] {
  const known: (Known | undefined)[] = [ENTRY_VALUES];
  const waiting = [0];
  for (let n = waiting.pop(); n !== undefined; n = waiting.pop()) {
    const node = region.nodes[n];
    if (node === undefined) continue;
    const after = groups.through(node, known[n] ?? NOTHING_KNOWN);
    for (const to of flow.successors[n] ?? []) {
      if (!flow.isKept(n, to)) continue;
      const before = known[to];
      const met = before === undefined ? after : meet(before, after);
      if (met === before) continue;
      known[to] = met;
      waiting.push(to);
    }
  }
  return region.nodes.map((_, n) => known[n] ?? NOTHING_KNOWN);
}

/** What both know; `a` itself where `b` knows as much. */
function meet(a: Known, b: Known): Known {
  const isSame = (value: Known[number], i: number) =>
    value === undefined || (b[i]?.root === value.root && b[i].offset === value.offset);
  return a.every(isSame) ? a : a.map((value, i) => (isSame(value, i) ? value : undefined));
}
