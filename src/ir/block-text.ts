import type { Attributes, Inst, Slot } from './block.ts';
import { slotName } from './slot-name.ts';

/** The IR as text, a line a value: `v2 = i64.add v0 v1`. Constants stand where they are used. */
export function blockText(
  insts: readonly Inst[],
  noteOf: (inst: Inst) => string | undefined = () => undefined,
): string[] {
  const names = new Map<Inst, string>();
  const lines: string[] = [];
  let values = 0;
  for (const inst of insts) {
    const { op, args, attr } = inst;
    if (op.family === 'const') {
      names.set(inst, constant(attr));
      continue;
    }
    const words = [op.name, ...attributes(attr), ...args.map((arg) => names.get(arg) ?? '_')];
    const note = noteOf(inst);
    let line = words.join(' ');
    if (op.result !== 'void') {
      const name = `v${values++}`;
      names.set(inst, name);
      line = `${name} = ${line}`;
    }
    lines.push(note === undefined ? line : `${line}  ; ${note}`);
  }
  return lines;
}

function constant({ imm, bytes }: Attributes): string {
  if (bytes !== undefined) return hexBytes(bytes);
  if (imm === undefined) return '0';
  if (typeof imm === 'number' && !Number.isInteger(imm)) return `${imm}`;
  return imm > -10 && imm < 10
    ? `${imm}`
    : imm < 0
      ? `-0x${(-imm).toString(16)}`
      : `0x${imm.toString(16)}`;
}

function hexBytes(bytes: Uint8Array): string {
  return `0x${[...bytes].map((b) => b.toString(16).padStart(2, '0')).join('')}`;
}

function attributes({ imm, bytes, slot, kind, size, cc, helper }: Attributes): string[] {
  return [
    ...(slot === undefined ? [] : [slotText(slot)]),
    ...(kind === undefined ? [] : [kind]),
    ...(size === undefined ? [] : [`${size * 8}`]),
    ...(cc === undefined ? [] : [CONDITIONS[cc] ?? `${cc}`]),
    ...(helper === undefined ? [] : [helper]),
    ...(imm === undefined ? [] : [`#${imm}`]),
    ...(bytes === undefined ? [] : [hexBytes(bytes)]),
  ];
}

/** Condition codes as Jcc writes them. SDM vol. 1, appendix B. */
const CONDITIONS = 'o no b ae e ne be a s ns p np l ge le g'.split(' ');

function slotText(slot: Slot): string {
  if ('fixed' in slot) return slotName(slot.fixed);
  return 'base' in slot ? `[rec+${slot.field}].v` : `[rec+${slot.field}]`;
}
