import { S_FLAGS_AUX, S_FLAGS_RES } from '#ir/state.ts';
import { arithmeticFlags } from '../vcpu-state.ts';
import type { ByteDifference } from './journal.ts';
import { COMPARED_STATE, fieldAt } from './state-fields.ts';

const MOST_FIELDS = 16;

const hex = (value: bigint | number, digits = 0) => `0x${value.toString(16).padStart(digits, '0')}`;

/** The six arithmetic flags of a state at an address. */
export function flagsOf(view: DataView, state: number): number {
  const field = (at: number) => view.getBigUint64(state + at, true);
  return arithmeticFlags(field(S_FLAGS_RES), field(S_FLAGS_AUX));
}

/** A line for each register that differs between two states. */
export function registerLines(view: DataView, translated: number, interpreted: number): string[] {
  const lines: string[] = [];
  const [hot, cold] = [flagsOf(view, translated), flagsOf(view, interpreted)];
  if (hot !== cold) lines.push(line('flags', hex(hot), hex(cold)));
  const named = new Set<string>();
  for (const { from, to } of COMPARED_STATE) {
    for (let at = from; at < to && lines.length < MOST_FIELDS; at += 4) {
      const a = view.getUint32(translated + at, true);
      const b = view.getUint32(interpreted + at, true);
      if (a === b) continue;
      const field = fieldAt(at);
      const name = at - field.from < 8 ? field.name : `${field.name} from byte ${at - field.from}`;
      if (named.has(field.name) && at - field.from === 4) continue;
      named.add(field.name);
      lines.push(line(name, word(view, translated + at), word(view, interpreted + at)));
    }
  }
  return lines;
}

/** The 8 bytes that hold an address. */
function word(view: DataView, at: number): string {
  return hex(view.getBigUint64(at & ~7, true), 16);
}

function line(name: string, translated: string, interpreted: string): string {
  return `  ${name}: translated ${translated}, interpreted ${interpreted}`;
}

/** A line for each byte of memory. */
export function memoryLines(differences: readonly ByteDifference[]): string[] {
  return differences.map(({ paddr, first, second }) =>
    line(`memory at physical ${hex(paddr)}`, hex(first, 2), hex(second, 2)),
  );
}
