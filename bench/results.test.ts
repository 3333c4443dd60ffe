import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PeerName } from './measurement.ts';
import { report } from './report.ts';
import { type Gathered, judge, ratiosOf, ratioTo } from './results.ts';
import { longestPauseMs, parseStats } from './ring0-stats.ts';
import { geometricMean, median, spread } from './statistics.ts';

const samples = (result: string, ...seconds: number[]): Gathered =>
  seconds.map((s) => ({ seconds: s, result }));

describe('statistics', () => {
  const medians = [
    { name: 'of an odd number is the middle one', values: [3, 1, 2], expected: 2 },
    { name: 'of an even number lies between two', values: [4, 1, 2, 8], expected: 3 },
    { name: 'sorts by value, not by digits', values: [10, 9, 100], expected: 10 },
  ];
  for (const { name, values, expected } of medians)
    it(`median ${name}`, () => assert.equal(median(values), expected));
  it('spread is a share of the median', () => assert.equal(spread([1, 2, 4]), 1.5));
  it('a geometric mean takes twice and half for even', () =>
    assert.equal(geometricMean([2, 0.5]), 1));
});

describe('judge', () => {
  const cases: { name: string; gathered: [PeerName, Gathered][]; failed: PeerName[] }[] = [
    {
      name: 'equal results all count',
      gathered: [
        ['ring0', samples('aa', 2, 3)],
        ['qemu', samples('aa', 1)],
      ],
      failed: [],
    },
    {
      name: 'who differs from native has failed',
      gathered: [
        ['ring0', samples('aa', 2)],
        ['qemu', samples('bb', 1)],
        ['native', samples('aa', 1)],
      ],
      failed: ['qemu'],
    },
    {
      name: 'one wrong round is enough',
      gathered: [
        [
          'ring0',
          [
            { seconds: 1, result: 'aa' },
            { seconds: 1, result: 'ab' },
          ],
        ],
        ['qemu', samples('aa', 1)],
      ],
      failed: ['ring0'],
    },
    {
      name: 'where native failed, QEMU says what is right',
      gathered: [
        ['ring0', samples('aa', 1)],
        ['qemu', samples('bb', 1)],
        ['native', { failed: 'not built' }],
      ],
      failed: ['ring0', 'native'],
    },
  ];
  for (const { name, gathered, failed } of cases)
    it(name, () => {
      const { peers } = judge('metal64', 'some', new Map(gathered));
      const all = Object.entries(peers);
      assert.deepEqual(
        all.filter(([, outcome]) => 'failed' in outcome).map(([peer]) => peer),
        failed,
      );
      assert.equal(all.length, gathered.length);
    });

  it('the time for an instruction is the median over rounds', () => {
    const run = (totalSeconds: number) => ({
      seconds: 1,
      result: '',
      instructions: 1e9,
      totalSeconds,
    });
    const { peers } = judge('metal64', 'some', new Map([['ring0', [run(4), run(2), run(3)]]]));
    assert.ok(peers.ring0 !== undefined && 'nsPerInstruction' in peers.ring0);
    assert.equal(peers.ring0.nsPerInstruction, 3);
  });
});

describe('ratios', () => {
  const fast = judge(
    'metal64',
    'fast',
    new Map([
      ['ring0', samples('', 1)],
      ['qemu', samples('', 4)],
    ]),
  );
  const slow = judge(
    'metal64',
    'slow',
    new Map([
      ['ring0', samples('', 9)],
      ['qemu', samples('', 1)],
    ]),
  );
  const lone = judge('metal64', 'lone', new Map([['ring0', samples('', 9)]]));

  it('are of ring0 to the peer', () => assert.equal(ratioTo('qemu', fast), 0.25));
  it('are none without the peer', () => assert.equal(ratioTo('qemu', lone), undefined));
  it('have a geometric mean over those that are', () => {
    const mean = geometricMean([0.25, 9]);
    assert.deepEqual(ratiosOf([fast, slow, lone]), {
      metal64: {
        qemu: { geometricMean: mean, ofQuickest: mean, workloads: 2 },
      },
    });
  });
  it('are of the quickest runs, too', () => {
    const rows = judge(
      'storage',
      'copy',
      new Map([
        ['ring0', samples('', 3, 1, 9)],
        ['qemu', samples('', 6, 5, 4)],
      ]),
    );
    const { geometricMean: ofMedians, ofQuickest } =
      ratiosOf([rows]).storage?.qemu ?? assert.fail();
    assert.deepEqual([ofMedians, ofQuickest], [3 / 5, 1 / 4]);
  });
  it('stand in the table, with what failed and who is absent', () => {
    const bad = judge('metal64', 'bad', new Map([['ring0', { failed: 'no such thing' }]]));
    const workloads = [fast, bad];
    const text = report({
      date: '2026-01-01',
      machine: 'a machine',
      rounds: 1,
      load: [0, 1],
      versions: { ring0: { version: '1' }, v86: { absent: 'not fetched' } },
      workloads,
      ratios: ratiosOf(workloads),
    });
    assert.match(text, /^v86: absent: not fetched$/m);
    assert.match(text, /^fast +1\.000 +4\.000 +0\.25 +0\.25 +0 % +-$/m);
    assert.match(text, /^bad +failed +- +- +- +- +-$/m);
    assert.match(text, /^bad on ring0 failed: no such thing$/m);
  });
});

describe('what a process cost', () => {
  const run = (cpuSeconds: number, peakMib: number) => ({
    seconds: 1,
    result: '',
    cpuSeconds,
    peakMib,
  });
  const workloads = [
    judge('storage', 'copy', new Map([['ring0', [run(4, 90), run(2, 70), run(3, 80)]]])),
    judge('storage', 'other', new Map([['ring0', samples('', 1)]])),
  ];

  it('stands in the table as medians, where it was measured', () => {
    const text = report({
      date: '2026-01-01',
      machine: 'a machine',
      rounds: 3,
      load: [0, 1],
      versions: { ring0: { version: '1' } },
      workloads,
      ratios: {},
    });
    assert.match(text, /spread +ns\/insn +ring0 CPU s +ring0 MiB$/m);
    assert.match(text, /^copy +1\.000 +0 % +- +3\.00 +80$/m);
    assert.match(text, /^other +1\.000 +0 % +- +- +-$/m);
  });
});

describe('parseStats', () => {
  const cases = [
    {
      name: 'the last line counts',
      text: 'note\n{"instructions":7,"seconds":2}\n',
      expected: { instructions: 7, totalSeconds: 2 },
    },
    { name: 'no statistics', text: 'ring0: ended\n', expected: {} },
    { name: 'nothing at all', text: '', expected: {} },
    { name: 'not a number', text: '{"instructions":"7","seconds":2}', expected: {} },
  ];
  for (const { name, text, expected } of cases)
    it(name, () => assert.deepEqual(parseStats(text), expected));
});

describe('longestPauseMs', () => {
  const cases = [
    {
      name: 'of the last line',
      text: 'x\n{"translation":{"longestPauseMs":4.5}}\n',
      expected: 4.5,
    },
    { name: 'all was interpreted', text: '{"instructions":7}', expected: undefined },
    { name: 'not a number', text: '{"translation":{"longestPauseMs":"4"}}', expected: undefined },
  ];
  for (const { name, text, expected } of cases)
    it(name, () => assert.equal(longestPauseMs(text), expected));
});
