import type { Inst } from '#ir/block.ts';
import type { ControlFlow } from './control-flow.ts';
import { successors } from './control-flow.ts';
import { type FlagForm, isSameOperation, RAW, sameForm } from './hot-flags.ts';
import { helperKind } from './hot-helpers.ts';
import { mayGiveUp } from './may-give-up.ts';
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

const OVERWRITING = new Set(['add', 'sub', 'logic']);
const READING = new Set(['cond', 'get_flags_res', 'get_flags_aux']);

/** True when a node sets all flags before it reads them, and before it may be left: what they are on the way in is nobody's business. */
function setsFlagsFirst(node: RegionNode): boolean {
  for (const { ir } of node.insns) {
    if (mayGiveUp(ir.insts)) return false;
    for (const { op, attr } of ir.insts) {
      if (op.family === 'call' || op.terminator === true || READING.has(op.name)) return false;
      if (op.name === 'set_flags_raw') return true;
      if (op.name.startsWith('flags')) return OVERWRITING.has(attr.kind ?? '');
    }
  }
  return false;
}

/** For each node whether its predecessors may leave the flags in any form. */
export function flagsDead(region: Region): boolean[] {
  return region.nodes.map(setsFlagsFirst);
}

/** What edges must settle for: their forms do not go together. Stays so, whatever comes. */
const SETTLED: FlagForm = { at: 'raw' };

/** What edges of two forms into one node make of it. A loop may be entered with computed flags, and go round with others. */
function join(known: FlagForm | undefined, out: FlagForm, isLoop: boolean): FlagForm {
  if (known === undefined || known === SETTLED) return known ?? out;
  if (sameForm(known, out)) return known;
  if (isSameOperation(known, out)) return { ...known, at: 'mixed' } as FlagForm;
  const operation = known.at === 'raw' ? out : known;
  const isMixed = isLoop && (known.at === 'raw' || out.at === 'raw') && 'kind' in operation;
  return isMixed ? { at: 'mixed', kind: operation.kind, size: operation.size } : SETTLED;
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
      const joined = join(known, out, flow.isLoop[to] === true);
      if (known !== undefined && known !== RAW && sameForm(known, joined)) continue;
      if (known === joined) continue;
      forms.set(to, joined);
      waiting.push(to);
    }
  }
  return region.nodes.map((_, n) => forms.get(n) ?? RAW);
}
