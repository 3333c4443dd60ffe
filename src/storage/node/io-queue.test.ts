import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { noise } from '../testing.ts';
import { IoQueue } from './io-queue.ts';
import { PromptIo } from './prompt-io.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-io-queue-'));
after(() => rmSync(dir, { recursive: true }));

/** So many that the event loop gets its turn in between, too. */
const ROUNDS = 60;
const BLOCK = 512;
const BLOCKS = 256;

describe('IoQueue', () => {
  const strides = [
    { name: 'side by side', stride: 1 },
    { name: 'far apart', stride: 37 },
  ];
  const kinds = strides.flatMap((one) => [true, false].map((isNear) => ({ ...one, isNear })));
  for (const { name, stride, isNear } of kinds)
    it(`does many requests at once: ${name}, ${isNear ? 'near' : 'far'}`, async () => {
      const fd = openSync(path.join(dir, `f${stride}${isNear}`), 'w+');
      const queue = new IoQueue(fd, isNear ? new PromptIo(fd) : undefined);
      const model = new Uint8Array(BLOCK * BLOCKS);
      for (let round = 0; round < ROUNDS; round++) {
        const places = Array.from(
          { length: 24 },
          (_, one) => (((round + one) * stride) % BLOCKS) * BLOCK,
        );
        await Promise.all(
          places.map((place) => {
            model.set(noise(BLOCK, round + place), place);
            return queue.write(place, noise(BLOCK, round + place));
          }),
        );
        const blocks = await Promise.all(
          places.map(async (place) => {
            const into = new Uint8Array(BLOCK);
            assert.equal(await queue.read(place, into), BLOCK);
            return into;
          }),
        );
        blocks.forEach((block, index) => {
          const place = places[index] ?? 0;
          assert.deepEqual(block, model.slice(place, place + BLOCK));
        });
      }
      closeSync(fd);
    });

  for (const isNear of [true, false]) {
    const where = isNear ? 'near' : 'far';
    it(`tells how much there was at the end of the file: ${where}`, async () => {
      const fd = openSync(path.join(dir, 'short'), 'w+');
      const queue = new IoQueue(fd, isNear ? new PromptIo(fd) : undefined);
      await queue.write(0, noise(700, 1));
      const reads = [0, 512, 1024].map((place) => queue.read(place, new Uint8Array(512)));
      assert.deepEqual(await Promise.all(reads), [512, 188, 0]);
      closeSync(fd);
    });

    it(`fails those requests that the host refuses: ${where}`, async () => {
      const fd = openSync(path.join(dir, 'short'), 'r');
      const queue = new IoQueue(fd, isNear ? new PromptIo(fd) : undefined);
      const writes = [0, 512, 4096].map((place) => queue.write(place, new Uint8Array(512)));
      for (const result of await Promise.allSettled(writes))
        assert.equal(result.status, 'rejected');
      assert.equal(await queue.read(0, new Uint8Array(16)), 16);
      closeSync(fd);
    });
  }

  it('writes what is large within the call for who may wait', async () => {
    const fd = openSync(path.join(dir, 'patient'), 'w+');
    const bytes = noise(1 << 20, 1);
    const written = new IoQueue(fd, new PromptIo(fd)).write(0, bytes);
    assert.ok(written instanceof Promise);
    await written;
    assert.equal(new IoQueue(fd, new PromptIo(fd), true).write(0, bytes), bytes.length);
    closeSync(fd);
  });
});
