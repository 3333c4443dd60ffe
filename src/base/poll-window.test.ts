import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PollWindow } from './poll-window.ts';

const MOST_NS = 500_000;
const cases = [
  { name: 'is none at first', waits: [], expected: 0 },
  { name: 'opens when work comes soon', waits: [60_000], expected: 50_000 },
  { name: 'grows while work comes too late for it', waits: [60_000, 60_000], expected: 100_000 },
  { name: 'grows no further than it may', waits: Array(9).fill(499_000), expected: MOST_NS },
  { name: 'stays when it is long enough', waits: [60_000, 40_000, 30_000], expected: 50_000 },
  { name: 'shrinks when work comes late', waits: [60_000, 60_000, 1e9], expected: 50_000 },
  { name: 'closes when work stays away', waits: [60_000, 1e9, 1e9, 1e9], expected: 0 },
];

describe('a window of polling', () => {
  for (const { name, waits, expected } of cases)
    it(name, () => {
      const window = new PollWindow(() => 0);
      for (const ns of waits) window.waited(ns);
      assert.equal(window.ns, expected);
    });

  it('looks until there is something, or time is up', () => {
    let now = 0;
    const window = new PollWindow(() => now);
    const at = (ns: number) => () => {
      now += 1000;
      return now >= ns;
    };
    assert.equal(window.look(at(5000), 100_000), 4000);
    assert.equal(window.look(at(1e9), 100_000), 100_000);
  });

  it('is closed for a while when the host has no processor to spare', () => {
    let now = 0;
    const window = new PollWindow(() => now);
    window.waited(60_000);
    assert.equal(window.ns, 50_000);
    window.look(() => {
      now += 2_000_000;
      return false;
    }, 50_000);
    assert.equal(window.ns, 0);
    now += 1e9;
    assert.equal(window.ns, 50_000);
  });
});
