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
    it(name, () => {
      const buffers = new BounceBuffers();
      const one = buffers.take(first);
      assert.equal(one.length, first);
      buffers.give(one);
      const two = buffers.take(second);
      assert.equal(two.length, second);
      assert.equal(two.buffer === one.buffer, isSame);
    });

  it('are one for each request under way', () => {
    const buffers = new BounceBuffers();
    assert.notEqual(buffers.take(KIB).buffer, buffers.take(KIB).buffer);
  });
});

it('there is a bound to what is out, but for one that is larger', async () => {
  const buffers = new BounceBuffers();
  const MIB = 1 << 20;
  const large = buffers.take(100 * MIB);
  assert.equal(buffers.hasRoom(4096), false);
  let isGiven = false;
  const given = buffers.given().then(() => {
    isGiven = true;
  });
  await Promise.resolve();
  assert.equal(isGiven, false);
  buffers.give(large);
  await given;
  const many = [];
  while (buffers.hasRoom(16 * MIB)) many.push(buffers.take(16 * MIB));
  assert.equal(many.length, 4);
  for (const one of many) buffers.give(one);
  assert.equal(buffers.hasRoom(100 * MIB), true);
});
