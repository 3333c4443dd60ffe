import type { Inst } from '#ir/block.ts';

const LEAVES = new WeakMap<Inst, readonly Inst[]>();

const OLD_FLAGS = new Set(['get_flags_res', 'get_flags_aux']);

/** What the flags' values come from that cannot be computed later: everything but pure ops, constants and the flags before. */
export function leavesOf(flags: Inst): readonly Inst[] {
  return found(flags).filter(({ op }) => !OLD_FLAGS.has(op.name));
}

/** Whether the flags' values come from the flags before. */
export function readsFlags(flags: Inst): boolean {
  return found(flags).some(({ op }) => OLD_FLAGS.has(op.name));
}

function found(flags: Inst): readonly Inst[] {
  const known = LEAVES.get(flags);
  if (known !== undefined) return known;
  const leaves = findLeaves(flags.args);
  LEAVES.set(flags, leaves);
  return leaves;
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
