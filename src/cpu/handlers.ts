import type { HandlerSource, InterpreterLayout } from '#codegen/interpreter.ts';
import type { Block } from '#ir/block.ts';
import { S_EA } from '#ir/state.ts';
import type { InsnRow } from '#isa/x86/insn.ts';
import { TABLE } from '#isa/x86/table.ts';
import { Lifter } from '#translate/x86/lifter.ts';
import { LIFTS } from '#translate/x86/lifts.ts';
import { ADDRESS_FORMS } from './address-forms.ts';
import {
  coldContext,
  type Form,
  formKey,
  isMemoryOperand,
  MEM_BASE,
  MEM_INDEX,
  MEM_LEFT,
  MEM_NONE,
} from './forms.ts';

/** What the predecoder needs of the build: which handler serves a form. */
export interface HandlerMap {
  readonly keys: readonly number[];
  readonly ids: readonly number[];
  /** Handlers of address records and of internal ones, by name. */
  readonly special: Readonly<Record<string, number>>;
  /** Handlers from this one on end the block, as do the inlined ones listed. */
  readonly firstEnding: number;
  readonly endingInline: readonly number[];
  /** Handlers that write to their memory operand. */
  readonly writing: readonly number[];
}

/** Instructions common enough in 64-bit code, or in what uses the x87, to stand inside the interpreter's switch. */
const INLINE = new Set(
  `mov movzx movsx movsxd lea add sub and or xor cmp test inc dec push pop call ret jmp jcc shl shr sar imul nop
   fld_f64 fst_f64 farith_f64 farith farith_to farith_pop fld fst`.split(/\s+/),
);
const SIZES = [2, 4, 8] as const;

function sizesFor(matters: boolean | undefined, usual: 2 | 4 | 8): readonly (2 | 4 | 8)[] {
  return matters === true ? SIZES : [usual];
}

function memsOf(row: InsnRow): number[] {
  const { operands, options } = row;
  if (operands.some((o) => o.kind === 'O')) return [MEM_LEFT];
  if (!operands.some((o) => isMemoryOperand(o, MEM_BASE))) return [MEM_NONE];
  const memory = [MEM_BASE, MEM_INDEX, MEM_LEFT];
  if (options.mod === 'mem' || operands.some((o) => o.kind === 'M')) return memory;
  return options.mod === 'reg' || options.rm !== undefined ? [MEM_NONE] : [MEM_NONE, ...memory];
}

function opSizesOf(row: InsnRow): readonly (2 | 4 | 8)[] {
  const { size } = row.options;
  if (size === undefined) return SIZES;
  return [size === 1 ? 4 : size];
}

/** Every form that the decoder can hand to the predecoder. */
function allForms(): Form[] {
  return TABLE.flatMap((row) => {
    const { options } = row;
    let forms = opSizesOf(row).map(
      (opSize): Form => ({
        row,
        opSize,
        mem: MEM_NONE,
        rep: 0,
        addrSize: 8,
        codeSize: 8,
        stackSize: 8,
      }),
    );
    /** Each form so far with each value of one more thing it depends on. */
    const vary = <K extends keyof Form>(key: K, values: readonly Form[K][]): void => {
      forms = forms.flatMap((form) => values.map((value) => ({ ...form, [key]: value })));
    };
    vary('mem', memsOf(row));
    vary('rep', options.rep === true ? [0, 0xf2, 0xf3] : [0]);
    vary('addrSize', sizesFor(options.addrSize, 8));
    vary('codeSize', sizesFor(options.mode, 8));
    vary('stackSize', sizesFor(options.stack, 8));
    return forms;
  });
}

function liftForm(form: Form): Block {
  const lift = LIFTS[form.row.name];
  if (lift === undefined) throw new Error(`no lift named ${form.row.name}`);
  const x = new Lifter(coldContext(form));
  lift(x);
  return x.block;
}

function isInline({ row, opSize, mem, stackSize }: Form): boolean {
  const jump = row.name === 'jcc' || row.name === 'jmp';
  return (
    INLINE.has(row.name) &&
    mem !== MEM_LEFT &&
    (opSize === 8 || (opSize === 4 && stackSize === 8)) &&
    (!jump || opSize === 8 || mem === MEM_NONE)
  );
}

interface Entry {
  readonly source: HandlerSource;
  readonly keys: number[];
  inline: boolean;
}

/** A text that is equal for handlers that do the same. */
function signature(block: Block, opSize: number): string {
  const numbers = new Map(block.insts.map((inst, i) => [inst, i]));
  const jumps = ['jump', 'branch'].includes(block.terminator?.op.name ?? '');
  const lines = block.insts.map((inst) => {
    const attr = JSON.stringify(inst.attr, (_, v: unknown) =>
      typeof v === 'bigint' ? `${v}n` : v,
    );
    return `${inst.op.name} ${inst.args.map((a) => numbers.get(a)).join(',')} ${attr}`;
  });
  return `${jumps ? opSize : ''}|${lines.join(';')}`;
}

/** Helpers that write to the memory operand whose address is their argument. */
const WRITING_HELPERS = /^(cmpxchg|fn?st|fn?save|fx?save|xsave|x87_st|store)/;

/** True when a store goes to the address that an address record left: segment rights are checked for writing then. */
function writesMemory(block: Block): boolean {
  return block.insts.some(({ op, args, attr }) => {
    const [first] = args;
    if (op.name.startsWith('call.')) return WRITING_HELPERS.test(attr.helper ?? '');
    if (!/^(store|loadw)/.test(op.name) || first === undefined) return false;
    const { slot } = first.attr;
    return slot !== undefined && 'fixed' in slot && slot.fixed === S_EA;
  });
}

/** Lifts all forms and lays the handlers out: the interpreter's module and the predecoder's map come from this. */
export function planHandlers(): { layout: InterpreterLayout; map: HandlerMap } {
  const entries = new Map<string, Entry>();
  const add = (
    block: Block,
    opSize: 2 | 4 | 8,
    key: number | undefined,
    inline: boolean,
  ): Entry => {
    const text = signature(block, opSize);
    const entry = entries.get(text) ?? { source: { block, opSize }, keys: [], inline: false };
    entries.set(text, entry);
    if (key !== undefined) entry.keys.push(key);
    entry.inline ||= inline;
    return entry;
  };
  for (const form of allForms()) add(liftForm(form), form.opSize, formKey(form), isInline(form));
  const specials = Object.entries(ADDRESS_FORMS).map(
    ([name, make]) => [name, add(make(), 8, undefined, name !== 'segmented')] as const,
  );
  const all = [...entries.values()];
  const inline = all.filter((e) => e.inline);
  const ends = (e: Entry) => e.source.block.terminator !== undefined;
  const called = all.filter((e) => !e.inline && !ends(e));
  const ending = all.filter((e) => !e.inline && ends(e));
  const order = [...inline, ...called, ...ending];
  const ids = new Map(order.map((e, i) => [e, i + 1]));
  const pairs = order.flatMap((e) => e.keys.map((key) => [key, ids.get(e) ?? 0] as const));
  const map: HandlerMap = {
    keys: pairs.map(([key]) => key),
    ids: pairs.map(([, id]) => id),
    special: Object.fromEntries(specials.map(([name, e]) => [name, ids.get(e) ?? 0])),
    firstEnding: 1 + inline.length + called.length,
    writing: order.filter((e) => writesMemory(e.source.block)).map((e) => ids.get(e) ?? 0),
    endingInline: inline.filter(ends).map((e) => ids.get(e) ?? 0),
  };
  const sources = (list: Entry[]) => list.map((e) => e.source);
  return {
    layout: { inline: sources(inline), called: sources(called), ending: sources(ending) },
    map,
  };
}
