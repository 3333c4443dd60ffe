import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BounceBuffers } from './bounce-buffers.ts';

const KIB = 1024;

describe('bounce buffers', () => {
  const cases = [
    { name: 'serve again', first: 508 * KIB, second: 508 * KIB, isSame: true },
    {
      name: 'serve other lengths of about their size',
      first: 508 * KIB,
      second: 300 * KIB,
      isSame: true,
    },
    { name: 'do not serve what is longer', first: 508 * KIB, second: 600 * KIB, isSame: false },
    {
      name: 'are not kept when they are huge',
      first: 9000 * KIB,
      second: 9000 * KIB,
      isSame: false,
    },
  ];
  for (const { name, first, second, isSame } of cases)
    it(name, async () => {
      const buffers = new BounceBuffers();
      const one = await buffers.take(first);
      assert.equal(one.length, first);
      buffers.give(one);
      const two = await buffers.take(second);
      assert.equal(two.length, second);
      assert.equal(two.buffer === one.buffer, isSame);
    });

  it('are one for each request under way', async () => {
    const buffers = new BounceBuffers();
    assert.notEqual((await buffers.take(KIB)).buffer, (await buffers.take(KIB)).buffer);
  });
});

it('there is a bound to what is out, but for one that is larger; first come, first served', async () => {
  const buffers = new BounceBuffers();
  const got: number[] = [];
  const ask = async (mib: number) => {
    const buffer = await buffers.take(mib * KIB * KIB);
    got.push(mib);
    return buffer;
  };
  const settled = () => new Promise(setImmediate);
  const large = await ask(100);
  const waiting = [16, 32, 64, 1, 2].map(ask);
  await settled();
  assert.deepEqual(got, [100]);
  buffers.give(large);
  await settled();
  assert.deepEqual(got, [100, 16, 32]);
  for (const [i, served] of [
    [16, 32],
    [16, 32, 64],
    [16, 32, 64, 1, 2],
  ].entries()) {
    buffers.give((await waiting[i]) ?? assert.fail());
    await settled();
    assert.deepEqual(got, [100, ...served]);
  }
});
