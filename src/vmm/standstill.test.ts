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

const BEGIN = ['pause', "a.raw: the host's disk is full"];
const END = ['go on', 'there is room again'];

describe('a machine whose host is full', () => {
  it('stands still until the last stalled request has its answer', async () => {
    const { log, standstill } = rig();
    standstill.stalled('a.raw', true);
    standstill.stalled('a.raw', true);
    assert.deepEqual(log, BEGIN);
    standstill.stalled('a.raw', false);
    await setImmediate();
    assert.deepEqual(log, BEGIN);
    standstill.stalled('a.raw', false);
    assert.deepEqual(log, BEGIN);
    await setImmediate();
    assert.deepEqual(log, [...BEGIN, ...END]);
  });

  it('stays so when the next request finds no room before it has gone on', async () => {
    const { log, standstill } = rig();
    standstill.stalled('a.raw', true);
    standstill.stalled('a.raw', false);
    standstill.stalled('a.raw', true);
    await setImmediate();
    assert.deepEqual(log, BEGIN);
  });

  it('says nothing more when it has ended', async () => {
    const { log, standstill } = rig();
    standstill.stalled('a.raw', true);
    standstill.connect(undefined);
    standstill.stalled('a.raw', false);
    await setImmediate();
    assert.deepEqual(log, BEGIN);
  });
});
