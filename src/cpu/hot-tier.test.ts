import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { S_AREA } from '#ir/state.ts';
import { HotTier, type TranslatedBatch } from './hot-tier.ts';
import { InsnTemplates } from './insn-templates.ts';
import { layOut } from './layout.ts';

const EMPTY = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);

/** A tier for which ten modules wait, each of which takes `costMs` to be put in place. */
function tierThatWaits(costMs: number): HotTier {
  const layout = layOut(1, 0, 0);
  const cpu = layout.cpus[0] ?? 0;
  const memory = new WebAssembly.Memory({
    initial: layout.pages,
    maximum: layout.pages,
    shared: true,
  });
  new DataView(memory.buffer).setUint32(cpu + S_AREA, layout.areas[0] ?? 0, true);
  const table = new WebAssembly.Table({ initial: 1, element: 'anyfunc' });
  const templates = new InsnTemplates(memory, cpu);
  const module = new WebAssembly.Module(EMPTY);
  let nowMs = 1000;
  let left = 10;
  const take = (): TranslatedBatch[] => {
    if (left === 0) return [];
    left--;
    nowMs += costMs;
    const nothing = { regions: [], elsewhere: [], covered: [] };
    return [{ wasm: EMPTY, module, ...nothing, refused: 1, epoch: 0, ms: 7 }];
  };
  const translator = { request: () => {}, hasNews: () => left > 0, take };
  const parts = { memory, table, templates, nowMs: () => nowMs };
  return new HotTier(parts, cpu, {}, translator, () => 0);
}

describe('what has been translated is put in place', () => {
  const cases = [
    { name: 'all at once while that is quick', costMs: 0.1, each: [10, 10], longestMs: 1 },
    { name: 'in pieces of 2 ms', costMs: 1, each: [2, 4, 6, 8, 10, 10], longestMs: 2 },
    { name: 'one module at least', costMs: 5, each: [1, 2, 3], longestMs: 5 },
  ];
  for (const { name, costMs, each, longestMs } of cases) {
    it(name, () => {
      const tier = tierThatWaits(costMs);
      const done = each.map(() => {
        tier.poll();
        return tier.stats().refused;
      });
      assert.deepEqual(done, each);
      assert.ok(Math.abs(tier.stats().longestPauseMs - longestMs) < 1e-6);
    });
  }
});
