import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DiskRequests } from './disk-requests.ts';

/** Requests that end when they are told to, and what was done with each. */
function rig() {
  const requests = new DiskRequests();
  const done: string[] = [];
  const begin = (unit: number, isQuick: boolean): (() => void) => {
    const late = Promise.withResolvers<string>();
    requests.begin({
      unit,
      attempt: () => (isQuick ? `${unit} at once` : undefined),
      serve: () => late.promise,
      end: (answer) => done.push(answer),
    });
    return () => late.resolve(`${unit} late`);
  };
  return { requests, done, begin };
}

describe('the requests of a device', () => {
  it('end within the call when they can, and late else', async () => {
    const { requests, done, begin } = rig();
    const end = begin(1, false);
    begin(2, true);
    assert.deepEqual(done, ['2 at once']);
    assert.equal(requests.isIdle, false);
    end();
    await requests.idle();
    assert.deepEqual(done, ['2 at once', '1 late']);
    assert.equal(requests.isIdle, true);
  });

  it('are served at once up to a number, and anew with the next notification', () => {
    const { requests, done, begin } = rig();
    requests.notified();
    for (let count = 0; count < 100; count++) begin(1, true);
    assert.equal(done.length, 64);
    requests.notified();
    begin(1, true);
    assert.equal(done.length, 65);
  });

  it('have no answer after a reset', async () => {
    const { requests, done, begin } = rig();
    const end = begin(1, false);
    requests.reset();
    end();
    await requests.idle();
    begin(1, true);
    assert.deepEqual(done, ['1 at once']);
  });

  it('are waited for by unit', async () => {
    const { requests, done, begin } = rig();
    const ends = [1, 2, 3].map((unit) => begin(unit, false));
    ends[0]?.();
    ends[2]?.();
    await requests.idle([1, 3]);
    assert.deepEqual(done, ['1 late', '3 late']);
    assert.equal(requests.isIdle, false);
  });
});
