import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isZero } from './zeros.ts';

describe('isZero', () => {
  for (const length of [0, 1, 7, 8, 9, 64, 513])
    for (const start of [0, 3, 8]) {
      it(`sees the last of ${length} bytes at ${start}`, () => {
        const bytes = new Uint8Array(600).subarray(start, start + length);
        assert.equal(isZero(bytes), true);
        if (length === 0) return;
        bytes[length - 1] = 1;
        assert.equal(isZero(bytes), false);
      });
    }
});
