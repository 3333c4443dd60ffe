import assert from 'node:assert/strict';
import type { InsnRow } from '#isa/x86/insn.ts';
import { SYSTEM } from '#isa/x86/system.ts';
import { TABLE } from '#isa/x86/table.ts';
import { type Case, makeCase } from './cases.ts';
import { STATE } from './host-cpu.ts';
import type { Random } from './random.ts';

const MOST_INSNS = 10;
const SYSTEM_ROWS = new Set(SYSTEM);

/** Rows that hand control elsewhere, or whose result is not their operands' alone. */
const LEFT_OUT = /^(jmp|jmpInd|call|callInd|ret|ins|outs|x?rstor|fxrstor|xsave|fxsave|x[gs]etbv)$/;
/** Often, so that flags are made and read. */
const COMMON =
  /^(add|sub|cmp|adc|sbb|inc|dec|shl|shr|ror|and|test|jcc|setcc|cmov|imul|bt|lea|mov)$/;

function isUsed(row: InsnRow): boolean {
  if (row.options.not64 === true || LEFT_OUT.test(row.name) || SYSTEM_ROWS.has(row)) return false;
  // A near branch with a byte displacement goes on at the next instruction.
  return !row.operands.some((o) => 'SCDAO'.includes(o.kind) || (o.kind === 'J' && o.size !== 'b'));
}

/** Instructions that go on at the next one, or fault. */
export const STRAIGHT_ROWS = TABLE.filter(isUsed);
const common = STRAIGHT_ROWS.filter((row) => COMMON.test(row.name));

/** Several instructions one after another, on the state of the first. */
export function makeSequence(random: Random): Case {
  const length = 2 + random.below(MOST_INSNS - 1);
  const cases = Array.from({ length }, () =>
    makeCase(random.pick(random.below(3) === 0 ? STRAIGHT_ROWS : common), random),
  );
  const [first] = cases;
  if (first === undefined) throw new Error('an empty sequence');
  const parts = cases.map((c) => c.encoded.bytes);
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  const state = first.state.slice();
  // Addresses that the other instructions use, where they do not meet.
  for (const c of cases.slice(1)) {
    const { address } = c.encoded;
    for (const reg of [address?.base ?? -1, address?.index ?? -1]) {
      if (reg >= 0) state.set(c.state.subarray(reg * 8, reg * 8 + 8), reg * 8);
    }
  }
  assert.ok(STATE.size >= state.length);
  return { row: first.row, encoded: { ...first.encoded, bytes }, codeSize: 8, state };
}
