import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { InsnRow } from '#isa/x86/insn.ts';
import { SYSTEM } from '#isa/x86/system.ts';
import { TABLE } from '#isa/x86/table.ts';
import { BareMachine } from './bare-machine.ts';
import { CaseRunner, type Difference, makeCase } from './cases.ts';
import type { CodeSize } from './encode.ts';
import { buildHostCpu, STATE } from './host-cpu.ts';
import { Random } from './random.ts';

// Every user-mode form of every instruction, in 64-, 32- and 16-bit code, against the processor this runs on. RING0_SEED replays a
// fresh run; RING0_CASES sets how many cases each row gets, RING0_ROWS which rows: a regular expression of their names.

const FIXED_SEED = 20261121;
const CASES_A_ROW = Number(process.env['RING0_CASES'] ?? 150);
/** Translating a case takes some 0.2 ms. */
const HOT_CASES_A_ROW = Number(process.env['RING0_HOT_CASES'] ?? 30);
const WANTED = new RegExp(process.env['RING0_ROWS'] ?? '');
const freshSeed = Number(process.env['RING0_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

/** Instructions whose result is not their operands' alone. System instructions have no host to ask. */
const LEFT_OUT = new Set([
  'xsave',
  'xrstor',
  'fxsave',
  'fxrstor',
  'xgetbv',
  'xsetbv',
  'ins',
  'outs',
  'clflush',
]);
const SYSTEM_ROWS = new Set(SYSTEM);

function isTested(row: InsnRow, codeSize: CodeSize): boolean {
  const { options, operands } = row;
  if (
    (codeSize === 8 ? options.not64 : options.only64) === true ||
    LEFT_OUT.has(row.name) ||
    /^(rsqrt|rcp)[ps]s$/.test(row.name) ||
    SYSTEM_ROWS.has(row)
  )
    return false;
  return !operands.some((o) => 'SCDAO'.includes(o.kind));
}

function describeDifference(d: Difference): string {
  return `${d.row} [${d.bytes}] ${d.what}: host ${d.host}, ring0 ${d.ours}`;
}

const host = buildHostCpu();

describe('instructions against the host', {
  skip: host === undefined ? 'needs gcc on x86-64 Linux' : false,
}, () => {
  for (const codeSize of [8, 4, 2] as const) testCode(codeSize);
});

/** Tests all instructions in code of one size. */
function testCode(codeSize: CodeSize): void {
  const runner = new CaseRunner(new BareMachine(8 * 1024 * 1024), codeSize);
  const rows = TABLE.filter((row) => isTested(row, codeSize) && WANTED.test(row.name));
  const casesARow = codeSize === 8 ? CASES_A_ROW : Math.ceil(CASES_A_ROW / 5);
  const hotARow = codeSize === 8 ? HOT_CASES_A_ROW : Math.ceil(HOT_CASES_A_ROW / 30);
  for (const [name, seed] of [
    ['fixed', FIXED_SEED],
    ['fresh', freshSeed],
  ] as const) {
    it(`${codeSize * 8}-bit, ${name} seed ${seed}: ${rows.length} rows, ${casesARow} cases each`, () => {
      const random = new Random(seed);
      const cases = rows.flatMap((row) =>
        Array.from({ length: casesARow }, () => makeCase(row, random, codeSize)),
      );
      const input = new Uint8Array(cases.length * STATE.size);
      cases.forEach((c, i) => {
        input.set(c.state, i * STATE.size);
      });
      const output = host?.run(input) ?? new Uint8Array();
      const stuck = cases[Math.floor(output.length / STATE.size)];
      assert.equal(
        output.length,
        input.length,
        `the host ended at ${stuck?.row.name} ${stuck?.encoded.bytes}`,
      );
      const differences: Difference[] = [];
      cases.forEach((c, i) => {
        const expected = output.subarray(i * STATE.size, (i + 1) * STATE.size);
        const difference = runner.compare(c, expected);
        if (difference !== undefined) differences.push(difference);
        if (i % casesARow >= hotARow) return;
        const inHot = runner.compare(c, expected, true);
        if (inHot !== undefined) differences.push({ ...inHot, row: `hot: ${inHot.row}` });
      });
      const shown = summary(differences);
      assert.equal(
        differences.length,
        0,
        `${differences.length} of ${cases.length} differ:\n${shown}`,
      );
    });
  }
}

/** A few differences of each row. */
function summary(differences: readonly Difference[]): string {
  const seen = new Map<string, number>();
  const lines: string[] = [];
  for (const d of differences) {
    const key = `${d.row} ${d.what}`;
    const count = seen.get(key) ?? 0;
    seen.set(key, count + 1);
    if (count < 2) lines.push(describeDifference(d));
  }
  return lines.slice(0, 80).join('\n');
}

process.on('exit', () => host?.close());
