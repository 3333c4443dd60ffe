import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SliceLength } from './slice-length.ts';

/** The length after slices that each took so long per instruction and left so much of their budget. */
function fitted(slices: number, nsPerInsn: number, left: (insns: number) => number): number {
  const slice = new SliceLength();
  let now = 0;
  for (let i = 0; i < slices; i++) {
    now += slice.insns * nsPerInsn;
    slice.fit(now, left(slice.insns));
  }
  return slice.insns;
}

describe('length of slices', () => {
  const rows = [
    { name: 'grows to the time of a slice', ns: 1, left: () => 0, expected: 150_000 },
    { name: 'grows where regions go over their budget', ns: 1, left: () => -9, expected: 150_000 },
    { name: 'has an upper end', ns: 0.01, left: () => 0, expected: 1_000_000 },
    { name: 'has a lower end', ns: 10_000, left: () => 0, expected: 1000 },
    { name: 'stays when cut short', ns: 1, left: (n: number) => n / 2, expected: 1000 },
  ];
  for (const { name, ns, left, expected } of rows)
    it(name, () => {
      const length = fitted(20, ns, left);
      assert.ok(Math.abs(length - expected) <= expected / 100, `${length}`);
    });

  it('becomes shorter at once after a pause, and long again within a few slices', () => {
    const slice = new SliceLength();
    let now = 0;
    const run = (pause: number) => {
      now += slice.insns + pause;
      slice.fit(now, 0);
    };
    for (let i = 0; i < 10; i++) run(0);
    run(50_000_000);
    assert.ok(slice.insns < 20_000);
    for (let i = 0; i < 4; i++) run(0);
    assert.ok(slice.insns > 140_000);
  });
});
