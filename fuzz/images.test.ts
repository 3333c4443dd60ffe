import assert from 'node:assert/strict';
import { it } from 'node:test';
import { TARGETS } from './images.ts';

for (const target of TARGETS)
  it(`damaged ${target.name} images are refused or read, and nothing else`, async () => {
    const { opened, refused } = await target.run(1, 10);
    assert.equal(opened + refused, 10);
  });
