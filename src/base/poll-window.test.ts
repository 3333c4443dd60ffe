import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PollWindow } from './poll-window.ts';

const MOST_NS = 500_000;
const late = (times: number): number[] => Array(times).fill(1e9);
const cases = [
  { name: 'is none at first', waits: [], expected: 0 },
  { name: 'opens when work comes soon', waits: [60_000], expected: 50_000 },
  { name: 'grows while work comes too late for it', waits: [60_000, 60_000], expected: 100_000 },
  { name: 'grows no further than it may', waits: Array(9).fill(499_000), expected: MOST_NS },
  { name: 'stays when it is long enough', waits: [60_000, 40_000, 30_000], expected: 50_000 },
  { name: 'shrinks when work comes late', waits: [60_000, 60_000, ...late(4)], expected: 50_000 },
  { name: 'closes when work stays away', waits: [60_000, ...late(6)], expected: 0 },
];

describe('a window of polling', () => {
  for (const { name, waits, expected } of cases)
    it(name, () => {
      const window = new PollWindow(() => 0);
      for (const ns of waits) window.waited(ns);
      assert.equal(window.ns, expected);
    });

  it('stays when work is late for once', () => {
    const window = new PollWindow(() => 0);
    for (const ns of [60_000, 1e9, 40_000, 1e9, 1e9, 40_000]) window.waited(ns);
    assert.equal(window.ns, 50_000);
  });

  it('closes when time is up again and again before work comes, but for short times', () => {
    const window = new PollWindow(() => 0);
    window.waited(60_000);
    for (let times = 0; times < 9; times++) window.waitedInVain(400_000);
    assert.equal(window.ns, 50_000);
    for (let times = 0; times < 6; times++) window.waitedInVain(4e6);
    assert.equal(window.ns, 0);
  });

  it('looks until there is something, or time is up', () => {
    let now = 0;
    const window = new PollWindow(() => now);
    const at = (ns: number) => () => {
      now += 1000;
      return now >= ns;
    };
    window.look(at(5000), no, 100_000);
    assert.equal(now, 5000);
    window.look(at(1e9), no, 100_000);
    assert.equal(now, 106_000);
  });

  it('is closed for a while when the host gives the processor to others, for longer when it does so again', () => {
    const { window, pass, closedMs } = rig();
    const pause = () => window.look(pass(2e6), no, 50_000);
    const closed = [1, 2, 3, 4].map(() => {
      pause();
      return closedMs();
    });
    assert.deepEqual(closed, [2, 4, 8, 16]);
    pass(1e9)();
    pause();
    assert.equal(closedMs(), 2);
    for (let times = 0; times < 10; times++) {
      pause();
      closedMs();
    }
    pause();
    assert.equal(closedMs(), 200);
  });

  it('is closed for a while by a pause at the very beginning', () => {
    const { window, pass, closedMs } = rig(0);
    window.look(pass(2e6), no, 50_000);
    assert.equal(closedMs(), 2);
  });

  it('takes no heed of who was awaited before a sleep', () => {
    const { window, pass } = rig();
    window.look(pass(10_000), yes, 20_000);
    pass(4e6)();
    window.waitedInVain(4e6);
    window.look(pass(10_000), yes, 20_000);
    assert.equal(window.ns, 50_000);
  });

  it('is closed for a moment when who is awaited does not look', () => {
    const { window, pass, closedMs, nowNs } = rig();
    window.look(pass(10_000), yes, 100_000);
    assert.equal(window.ns, 50_000); // not for so long yet
    const before = nowNs();
    window.look(pass(10_000), yes, 100_000);
    assert.equal(nowNs() - before, 60_000);
    assert.equal(closedMs(), 4);
    window.look(pass(10_000), yes, 100_000);
    window.waited(10_000);
    window.look(pass(10_000), yes, 100_000);
    assert.equal(window.ns, 50_000);
  });
});

const no = () => false;
const yes = () => true;

/** A window that is open, in time that passes as it is told. */
function rig(now = 1e9) {
  const window = new PollWindow(() => now);
  window.waited(60_000);
  const pass = (ns: number) => () => {
    now += ns;
    return false;
  };
  /** Lets time pass until it opens. */
  const closedMs = () => {
    const since = now;
    while (window.ns === 0) now += 1e5;
    return Math.round((now - since) / 1e6);
  };
  return { window, pass, closedMs, nowNs: () => now };
}
