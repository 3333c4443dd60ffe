import type { Inst } from '#ir/block.ts';

const LEAVES = new WeakMap<Inst, readonly Inst[]>();

/** What the flags' values come from that cannot be computed later: everything but pure ops and constants. */
export function leavesOf(flags: Inst): readonly Inst[] {
  const known = LEAVES.get(flags);
  if (known !== undefined) return known;
  const found = findLeaves(flags.args);
  LEAVES.set(flags, found);
  return found;
}

function findLeaves(values: readonly Inst[]): readonly Inst[] {
  const leaves = new Set<Inst>();
  const seen = new Set<Inst>();
  const visit = (inst: Inst): void => {
    if (seen.has(inst)) return;
    seen.add(inst);
    const { op } = inst;
    if (op.family === 'const') return;
    if (op.family === 'pure' || op.family === 'select') inst.args.forEach(visit);
    else leaves.add(inst);
  };
  values.forEach(visit);
  return [...leaves];
}
