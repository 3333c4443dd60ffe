import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BareMachine } from '../x86/bare-machine.ts';
import { CaseRunner, makeCase } from '../x86/cases.ts';
import { Random } from '../x86/random.ts';
import { makeSequence, STRAIGHT_ROWS } from '../x86/sequences.ts';

// Each instruction that programs use, and straight lines of them, translated: the whole state is compared with the
// interpreter's, not only what the cases look at. RING0_SEED replays a run.

const seed = Number(process.env['RING0_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const CASES = 3;
const SEQUENCES = 300;
/** Of the runs some leave everything to the interpreter. */
const LEAST_SHARE = 0.5;

describe('instructions in lockstep', () => {
  const machine = new BareMachine(8 * 1024 * 1024, { verify: true });
  const runner = new CaseRunner(machine);
  const compared = () => machine.vcpu.lockstepStats?.compared ?? 0;

  it(`each of ${STRAIGHT_ROWS.length} rows, seed ${seed}`, () => {
    const random = new Random(seed);
    const before = compared();
    for (const row of STRAIGHT_ROWS)
      for (let i = 0; i < CASES; i++) runner.outcome(makeCase(row, random), true);
    assert.ok(compared() - before > STRAIGHT_ROWS.length * CASES * LEAST_SHARE);
  });

  it(`${SEQUENCES} sequences, seed ${seed}`, () => {
    const random = new Random(seed);
    const before = compared();
    for (let i = 0; i < SEQUENCES; i++) runner.outcome(makeSequence(random), true);
    assert.ok(compared() - before > SEQUENCES * LEAST_SHARE);
  });
});
