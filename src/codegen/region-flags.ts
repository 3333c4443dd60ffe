import { askedOnce, type Inst } from '#ir/block.ts';
import type { ControlFlow } from './control-flow.ts';
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

/** That in which an instruction leaves the flags; `as before` when it does nothing with them. */
const formBehind = askedOnce(
  ({ insts }) => insts.map(formAfter).findLast((form) => form !== undefined) ?? 'as before',
);

function lastForm({ insns }: RegionNode): FlagForm | undefined {
  for (let n = insns.length - 1; n >= 0; n--) {
    const insn = insns[n];
    const form = insn === undefined ? 'as before' : formBehind(insn.ir);
    if (form !== 'as before') return form;
  }
  return undefined;
}

const OVERWRITING = new Set(['add', 'sub', 'logic']);
const READING = new Set(['cond', 'get_flags_res', 'get_flags_aux']);

/** What a node's predecessors owe it of the flags. */
export type FlagNeed = 'all' | 'carry' | 'nothing';

/** What a node needs that sets flags before it can be left. */
function needOf({ insns }: RegionNode): FlagNeed {
  for (const { ir } of insns) {
    const need = needFor(ir);
    if (need !== 'what comes') return need;
  }
  return 'all';
}

/** What an instruction needs; `what comes` when that is for the next one to say. */
const needFor = askedOnce((ir): FlagNeed | 'what comes' => {
  if (mayGiveUp(ir)) return 'all';
  return ir.insts.map(needAt).find((need) => need !== undefined) ?? 'what comes';
});

/** What an op needs; undefined when it does nothing with flags. INC and DEC keep CF, others set all. */
function needAt({ op, attr }: Inst): FlagNeed | undefined {
  if (op.family === 'call' || op.terminator === true || READING.has(op.name)) return 'all';
  if (op.name === 'set_flags_raw') return 'nothing';
  if (!op.name.startsWith('flags')) return undefined;
  const kind = attr.kind ?? '';
  if (OVERWRITING.has(kind)) return 'nothing';
  return kind === 'inc' || kind === 'dec' ? 'carry' : 'all';
}

/** What each node needs of the flags: where not all, its predecessors may leave them in any form. */
export function flagNeeds(region: Region): FlagNeed[] {
  return region.nodes.map(needOf);
}

/** What edges must settle for: their forms do not go together. Stays so, whatever comes. */
const SETTLED: FlagForm = { at: 'raw' };

/** What edges of two forms into one node make of it. */
function join(known: FlagForm | undefined, out: FlagForm): FlagForm {
  if (known === undefined || known === SETTLED) return known ?? out;
  if (sameForm(known, out)) return known;
  return isSameOperation(known, out) ? ({ ...known, at: 'mixed' } as FlagForm) : SETTLED;
}

/** A loop may be entered with any flags, which are computed then, and go round with the operands of an operation. */
function joinLoop(known: FlagForm | undefined, out: FlagForm, prefersOut: boolean): FlagForm {
  if (known === undefined || sameForm(known, out)) return known ?? out;
  const [better, other] = prefersOut ? [out, known] : [known, out];
  const operation = 'kind' in better ? better : other;
  return 'kind' in operation
    ? { at: 'mixed', kind: operation.kind, size: operation.size }
    : SETTLED;
}

function isBack({ position }: ControlFlow, from: number, to: number): boolean {
  return (position[to] ?? 0) <= (position[from] ?? 0);
}

/**
 * The form in which each node finds the flags: that of all edges into it when they agree, else the raw one. Begins with
 * what any edge says and goes on until nothing changes, so that loops keep what their back edges agree to.
 */
export function flagForms(region: Region, flow: ControlFlow): FlagForm[] {
  const after = region.nodes.map(lastForm);
  const forms = new Map<number, FlagForm>([[0, RAW]]);
  /** Loops whose form is that of a way back. */
  const decided = new Set<number>();
  const joinAt = (from: number, to: number, out: FlagForm): FlagForm => {
    const known = forms.get(to);
    if (flow.isLoop[to] !== true) return join(known, out);
    const decides = isBack(flow, from, to) && out.at === 'operation' && !decided.has(to);
    if (decides) decided.add(to);
    return joinLoop(known, out, decides);
  };
  const waiting = [0];
  for (let n = waiting.pop(); n !== undefined; n = waiting.pop()) {
    const out = after[n] ?? forms.get(n);
    if (out === undefined) continue;
    for (const to of flow.successors[n] ?? []) {
      if (!flow.isKept(n, to)) continue;
      const known = forms.get(to);
      const joined = joinAt(n, to, out);
      if (known !== undefined && known !== RAW && sameForm(known, joined)) continue;
      if (known === joined) continue;
      forms.set(to, joined);
      waiting.push(to);
    }
  }
  return region.nodes.map((_, n) => forms.get(n) ?? RAW);
}
