import assert from 'node:assert/strict';
import type { InsnRow } from '#isa/x86/insn.ts';
import { SYSTEM } from '#isa/x86/system.ts';
import { TABLE } from '#isa/x86/table.ts';
import { type Case, makeCase } from './cases.ts';
import { STATE } from './host-cpu.ts';
import type { Random } from './random.ts';

const MOST_INSNS = 10;
const CHAIN_INSNS = 8;
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
  return joined(cases);
}

function joined(cases: readonly Case[]): Case {
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

/** Arithmetic whose operands were results, or have been moved about; and what looks at the status of it. */
const CHAINS: Readonly<Record<'sse' | 'x87', RegExp>> = {
  sse: /^((add|sub|mul|div|sqrt)[ps][sd]|h(add|sub)p[sd]|mov[au]p[sd]|movs[sd]_sse|movss|shufp[sd]|pshufd|unpck.*|mov(hl|lh)ps|cvtsi2sd|xorps)$/,
  x87: /^(farith.*|f(ld|st)(_\w+)?|fldconst|fxch|fchs|fabs|fsqrt|fu?comi?|fi(ld|st)|fnstsw|frndint|fyl2x)$/,
};

/** Floating point that hardly faults, under the masks that programs have, so that long chains are gone through. */
export function makeChain(unit: 'sse' | 'x87', random: Random): Case {
  const rows = STRAIGHT_ROWS.filter((row) => CHAINS[unit].test(row.name));
  const chain = joined(
    Array.from({ length: CHAIN_INSNS }, () => makeCase(random.pick(rows), random)),
  );
  const view = new DataView(chain.state.buffer);
  view.setUint32(STATE.fx + 24, random.below(8) === 0 ? 0x1f80 : 0x1fa0, true);
  const control = random.pick([0x37f, 0x37f, 0x37f, 0x27f, 0xf7f, 0x340]);
  view.setUint16(STATE.fx, control, true);
  if (random.below(4) > 0) {
    // Room to push, and nothing that waits.
    const top = random.below(8);
    view.setUint16(STATE.fx + 2, top << 11, true);
    view.setUint8(STATE.fx + 4, (0x0f << top) | (0x0f >> (8 - top)));
  }
  return chain;
}
