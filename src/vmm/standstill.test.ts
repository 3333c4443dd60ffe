import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Standstill } from './standstill.ts';

function rig() {
  const log: string[] = [];
  const standstill = new Standstill((notice) => log.push(notice.replace(/;.*/, '')));
  standstill.connect({ setPaused: (isPaused) => log.push(isPaused ? 'pause' : 'go on') });
  return { log, standstill };
}

const WHY = 'a.raw: it is full';
const BEGIN = ['pause', WHY];
const END = ['go on', 'no write waits for room any more'];

describe('a machine whose host is full', () => {
  it('stands still until the last stalled request has its answer', async () => {
    const { log, standstill } = rig();
    standstill.stalled(WHY);
    standstill.stalled(WHY);
    assert.deepEqual(log, BEGIN);
    standstill.stalled(undefined);
    await setImmediate();
    assert.deepEqual(log, BEGIN);
    standstill.stalled(undefined);
    assert.deepEqual(log, BEGIN);
    await setImmediate();
    assert.deepEqual(log, [...BEGIN, ...END]);
  });

  it('stays so when the next request finds no room before it has gone on', async () => {
    const { log, standstill } = rig();
    standstill.stalled(WHY);
    standstill.stalled(undefined);
    standstill.stalled(WHY);
    await setImmediate();
    assert.deepEqual(log, BEGIN);
  });

  it('says nothing more when it has ended', async () => {
    const { log, standstill } = rig();
    standstill.stalled(WHY);
    standstill.connect(undefined);
    standstill.stalled(undefined);
    await setImmediate();
    assert.deepEqual(log, BEGIN);
  });
});
