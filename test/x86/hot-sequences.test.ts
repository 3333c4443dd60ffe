import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BareMachine } from './bare-machine.ts';
import { type Case, CaseRunner } from './cases.ts';
import { Random } from './random.ts';
import { makeChain, makeSequence } from './sequences.ts';

// Straight lines of random instructions, in both tiers: registers, flags and memory must agree, faults included, which
// come at whatever instruction meets a wild address. RING0_SEED replays a fresh run.

const FIXED_SEED = 7;
const SEQUENCES = Number(process.env['RING0_SEQUENCES'] ?? 400);
const freshSeed = Number(process.env['RING0_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const CHAINS = SEQUENCES / 4;
const KINDS: readonly [string, number, (random: Random) => Case][] = [
  ['sequences', SEQUENCES, makeSequence],
  ['chains of SSE', CHAINS, (random) => makeChain('sse', random)],
  ['chains of x87', CHAINS, (random) => makeChain('x87', random)],
];
describe('sequences of instructions in both tiers', () => {
  const runner = new CaseRunner(new BareMachine(8 * 1024 * 1024));
  for (const [name, seed] of [
    ['fixed', FIXED_SEED],
    ['fresh', freshSeed],
  ] as const) {
    for (const [kind, count, make] of KINDS) {
      it(`${name} seed ${seed}: ${count} ${kind}`, () => {
        const random = new Random(seed);
        for (let i = 0; i < count; i++) {
          const sequence = make(random);
          const cold = runner.outcome(sequence, false);
          const hot = runner.outcome(sequence, true);
          const hex = [...sequence.encoded.bytes].map((b) => b.toString(16).padStart(2, '0'));
          assert.equal(hot, cold, `${kind}, number ${i}: ${hex.join(' ')}`);
        }
      });
    }
  }
});
