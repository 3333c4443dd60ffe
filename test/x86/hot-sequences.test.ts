import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BareMachine } from './bare-machine.ts';
import { CaseRunner } from './cases.ts';
import { Random } from './random.ts';
import { makeSequence } from './sequences.ts';

// Straight lines of random instructions, in both tiers: registers, flags and memory must agree, faults included, which
// come at whatever instruction meets a wild address. RING0_SEED replays a fresh run.

const FIXED_SEED = 7;
const SEQUENCES = Number(process.env['RING0_SEQUENCES'] ?? 400);
const freshSeed = Number(process.env['RING0_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
describe('sequences of instructions in both tiers', () => {
  const runner = new CaseRunner(new BareMachine(8 * 1024 * 1024));
  for (const [name, seed] of [
    ['fixed', FIXED_SEED],
    ['fresh', freshSeed],
  ] as const) {
    it(`${name} seed ${seed}: ${SEQUENCES} sequences`, () => {
      const random = new Random(seed);
      for (let i = 0; i < SEQUENCES; i++) {
        const sequence = makeSequence(random);
        const cold = runner.outcome(sequence, false);
        const hot = runner.outcome(sequence, true);
        const hex = [...sequence.encoded.bytes].map((b) => b.toString(16).padStart(2, '0'));
        assert.equal(hot, cold, `sequence ${i}: ${hex.join(' ')}`);
      }
    });
  }
});
