import type { Inst } from '#ir/block.ts';
import type { ControlFlow } from './control-flow.ts';
import { successors } from './control-flow.ts';
import { type FlagForm, RAW, sameForm } from './hot-flags.ts';
import { helperKind } from './hot-helpers.ts';
import type { Region, RegionNode } from './region.ts';

/** The form that an op leaves the flags in; undefined when it leaves them as they are. */
function formAfter({ op, attr }: Inst): FlagForm | undefined {
  if (op.family === 'call') return helperKind(attr.helper ?? '') === 'whole' ? RAW : undefined;
  if (op.family !== 'other') return undefined;
  if (op.name === 'flags32' || op.name === 'flags64')
    return { at: 'operation', kind: attr.kind ?? 'logic', size: attr.size ?? 4 };
  if (op.name === 'set_flags_raw') return RAW;
  return undefined;
}

function lastForm(node: RegionNode): FlagForm | undefined {
  for (let n = node.insns.length - 1; n >= 0; n--) {
    const insts = node.insns[n]?.ir.insts ?? [];
    for (let i = insts.length - 1; i >= 0; i--) {
      const inst = insts[i];
      const form = inst && formAfter(inst);
      if (form !== undefined) return form;
    }
  }
  return undefined;
}

/** What edges of two forms into one node make of it. */
function join(known: FlagForm | undefined, out: FlagForm): FlagForm {
  return known === undefined || sameForm(known, out) ? out : RAW;
}

/**
 * The form in which each node finds the flags: that of all edges into it when they agree, else the raw one. Begins with
 * what any edge says and goes on until nothing changes, so that loops keep what their back edges agree to.
 */
export function flagForms(region: Region, flow: ControlFlow): FlagForm[] {
  const after = region.nodes.map(lastForm);
  const forms = new Map<number, FlagForm>([[0, RAW]]);
  const waiting = [0];
  for (let n = waiting.pop(); n !== undefined; n = waiting.pop()) {
    const out = after[n] ?? forms.get(n);
    const node = region.nodes[n];
    if (out === undefined || node === undefined) continue;
    for (const to of successors(node)) {
      if (!flow.isKept(n, to)) continue;
      const known = forms.get(to);
      const joined = join(known, out);
      if (known !== undefined && sameForm(known, joined)) continue;
      forms.set(to, joined);
      waiting.push(to);
    }
  }
  return region.nodes.map((_, n) => forms.get(n) ?? RAW);
}
