import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BareMachine } from './bare-machine.ts';
import { CaseRunner, makeCase } from './cases.ts';
import { DATA_PADDR, STATE } from './host-cpu.ts';
import { Random } from './random.ts';
import { STRAIGHT_ROWS } from './sequences.ts';

// Comparisons and conversions of special numbers, each with each, in both tiers: regions have short ways for usual ones.

const SINGLES = [
  ...[0x0000_0000, 0x8000_0000, 0x3f80_0000, 0xc020_0000, 0x0000_0001, 0x807f_ffff, 0x0080_0000],
  ...[0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0x7fa0_0000, 0x4f00_0000, 0xcf00_0000, 0x5f00_0000],
  ...[0xdf00_0000, 0x3f00_0000, 0x7f7f_ffff],
].map(BigInt);
const DOUBLES = [
  ...[0n, 1n << 63n, 0x3ff0_0000_0000_0000n, 0xc004_0000_0000_0000n, 1n, 0x800f_ffff_ffff_ffffn],
  ...[0x0010_0000_0000_0000n, 0x7ff0_0000_0000_0000n, 0xfff0_0000_0000_0000n],
  ...[0x7ff8_0000_0000_0000n, 0x7ff4_0000_0000_0000n, 0x41e0_0000_0000_0000n],
  ...[0xc1e0_0000_0000_0000n, 0xc1e0_0000_0020_0000n, 0x43e0_0000_0000_0000n],
  ...[0xc3e0_0000_0000_0000n, 0x3fe0_0000_0000_0000n, 0x7fef_ffff_ffff_ffffn],
];
/** XMM0, XMM1; EAX, XMM1. And conversions of what is in memory, behind INC EDX: no vector register is used then. */
const FORMS = [
  { name: '', before: [], modRm: 0xc1 },
  { name: ' from memory', before: [0xff, 0xc2], modRm: 0x03 },
];
const RBX = 3 * 8;
const REX_W = 0x48;
const XMM = STATE.fx + 160;
/** PE clear; PE set; truncating; denormals are zeros; #D and #I not masked. */
const CONTROLS = [0x1f80, 0x1fa0, 0x7fa0, 0x1fe0, 0x1ea0, 0x1f20];

const INSTRUCTIONS: readonly {
  readonly name: string;
  readonly bytes: readonly number[];
  readonly values: readonly bigint[];
}[] = [
  { name: 'UCOMISS', bytes: [0x0f, 0x2e], values: SINGLES },
  { name: 'COMISS', bytes: [0x0f, 0x2f], values: SINGLES },
  { name: 'UCOMISD', bytes: [0x66, 0x0f, 0x2e], values: DOUBLES },
  { name: 'COMISD', bytes: [0x66, 0x0f, 0x2f], values: DOUBLES },
  { name: 'CVTTSS2SI', bytes: [0xf3, 0x0f, 0x2c], values: SINGLES },
  { name: 'CVTSS2SI', bytes: [0xf3, 0x0f, 0x2d], values: SINGLES },
  { name: 'CVTTSD2SI', bytes: [0xf2, 0x0f, 0x2c], values: DOUBLES },
  { name: 'CVTSD2SI', bytes: [0xf2, 0x0f, 0x2d], values: DOUBLES },
  { name: 'CVTTSS2SI of 64 bits', bytes: [0xf3, REX_W, 0x0f, 0x2c], values: SINGLES },
  { name: 'CVTSS2SI of 64 bits', bytes: [0xf3, REX_W, 0x0f, 0x2d], values: SINGLES },
  { name: 'CVTTSD2SI of 64 bits', bytes: [0xf2, REX_W, 0x0f, 0x2c], values: DOUBLES },
  { name: 'CVTSD2SI of 64 bits', bytes: [0xf2, REX_W, 0x0f, 0x2d], values: DOUBLES },
];

describe('special numbers in both tiers', () => {
  const runner = new CaseRunner(new BareMachine(8 * 1024 * 1024));
  const row = STRAIGHT_ROWS.find(({ name }) => name === 'comisd');
  assert.ok(row !== undefined);
  const blank = makeCase(row, new Random(1));
  const cases = INSTRUCTIONS.flatMap((insn) =>
    FORMS.slice(0, insn.name.startsWith('CVT') ? 2 : 1).map((form) => ({ ...insn, form })),
  );
  for (const { name, bytes, values, form } of cases)
    it(name + form.name, () => {
      const code = Uint8Array.of(...form.before, ...bytes, form.modRm);
      const state = blank.state.slice();
      const view = new DataView(state.buffer);
      view.setBigUint64(RBX, BigInt(DATA_PADDR), true);
      view.setUint32(STATE.codeBytes, code.length, true);
      state.set(code, STATE.code);
      const special = { ...blank, state, encoded: { bytes: code, address: undefined } };
      const seen = new Set<string>();
      for (const control of CONTROLS) {
        view.setUint32(STATE.fx + 24, control, true);
        for (const x of name.startsWith('CVT') ? values.slice(0, 1) : values)
          for (const y of values) {
            view.setBigUint64(XMM, x, true);
            view.setBigUint64(XMM + 16, y, true);
            view.setBigUint64(STATE.data, y, true);
            const cold = runner.outcome(special, false);
            seen.add(cold);
            const at = `${control.toString(16)}: ${x.toString(16)} and ${y.toString(16)}`;
            assert.equal(runner.outcome(special, true), cold, at);
          }
      }
      assert.ok(seen.size > values.length * (CONTROLS.length - 1));
    });
});
