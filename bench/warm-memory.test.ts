import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import { WarmMemory } from './warm-memory.ts';

/** Readings of the clock for turns that cost this much. */
function clockOf(costs: readonly number[]): () => number {
  const readings = costs.flatMap((cost) => [0, cost]);
  return () => readings.shift() ?? assert.fail('asked once too often');
}

const cases = [
  { name: 'the first turn is never enough', costs: [1, 1], turns: 2 },
  { name: 'goes on while it costs more than once', costs: [1, 5, 4, 1.2], turns: 4 },
  { name: 'a cheaper turn is the new measure', costs: [9, 3, 3], turns: 2 },
  { name: 'gives up after six', costs: [1, 2, 2, 2, 2], turns: 6 },
];
for (const { name, costs, turns } of cases)
  it(`memory is warmed: ${name}`, async () => {
    const dir = await mkdtemp(path.join(os.tmpdir(), 'ring0-warm-'));
    try {
      assert.equal(await new WarmMemory(dir, 1, clockOf(costs)).warm(), turns);
      assert.deepEqual(await readdir(dir), []);
    } finally {
      await rm(dir, { recursive: true });
    }
  });
