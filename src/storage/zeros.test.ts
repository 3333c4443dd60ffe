import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { sameBytes } from './node/same-bytes.ts';
import { isZero, zeroTest } from './zeros.ts';

const tests = [
  { name: 'isZero', test: isZero },
  { name: 'zeroTest of what compares bytes', test: zeroTest(sameBytes) },
];
for (const { name, test } of tests)
  describe(name, () => {
    for (const length of [0, 1, 7, 8, 9, 63, 64, 65, 128, 513])
      for (const start of [0, 3, 8])
        it(`sees each of ${length} bytes at ${start}`, () => {
          const bytes = new Uint8Array(600).subarray(start, start + length);
          assert.equal(test(bytes), true);
          for (let at = 0; at < length; at++) {
            bytes[at] = 1;
            assert.equal(test(bytes), false, `the byte ${at}`);
            bytes[at] = 0;
          }
        });
    it('does not take a pattern for zeros', () => {
      assert.equal(test(new Uint8Array(512).fill(7)), false);
    });
  });
