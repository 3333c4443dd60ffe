import assert from 'node:assert/strict';
import { it } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { S_BATCHES } from '#ir/state.ts';
import { BackgroundTranslator } from './background-translator.ts';

const CPU = 4096;

it('what another thread has translated comes batch by batch, none twice and none left', () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const words = new Int32Array(memory.buffer);
  const { port1, port2 } = new MessageChannel();
  const translator = new BackgroundTranslator(port1, memory, CPU);
  const post = (ms: number): void => {
    port2.postMessage({ epoch: 0, ms });
    Atomics.add(words, (CPU + S_BATCHES) >> 2, 1);
  };
  const taken = (): number[] => {
    const found: number[] = [];
    for (;;) {
      const batches = translator.take();
      if (batches.length === 0) return found;
      assert.equal(batches.length, 1);
      found.push(...batches.map((batch) => ('ms' in batch ? batch.ms : -1)));
    }
  };
  assert.deepEqual(taken(), []);
  for (const ms of [1, 2, 3]) post(ms);
  assert.deepEqual(taken(), [1, 2, 3]);
  assert.deepEqual(taken(), []);
  post(4);
  assert.deepEqual(taken(), [4]);
  port1.close();
});
