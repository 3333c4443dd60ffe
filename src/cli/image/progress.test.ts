import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { makeProgress } from './progress.ts';

it('percentages end once, however long the last step took', async () => {
  const streams = { stdout: new PassThrough(), stderr: new PassThrough() };
  const progress = makeProgress(streams, 'percent');
  progress.start(2);
  await setTimeout(150);
  progress.add(1);
  await setTimeout(150);
  progress.add(1);
  progress.end();
  const text = String(streams.stdout.read());
  assert.equal(text, '    (0.00/100%)\r    (50.00/100%)\r    (100.00/100%)\r\n');
});
