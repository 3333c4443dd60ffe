import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { newDeviceState, StateWords } from '#hw/state.ts';
import { LAPIC_STATE, REG_LVT_TIMER } from './lapic-regs.ts';
import { LapicTimer } from './lapic-timer.ts';

// A host may take any time between two looks at the clock: what is due meanwhile fires.

const MS = 1e6;

/** One-shot mode, not masked; a millisecond goes by with each look. */
function rig() {
  const words = new StateWords(newDeviceState(LAPIC_STATE), LAPIC_STATE);
  let ns = 0;
  const clock = {
    wallMs: () => 0,
    nowNs: () => {
      ns += MS;
      return ns;
    },
  };
  const timer = new LapicTimer(words, clock, Number);
  timer.reset();
  words.set(REG_LVT_TIMER, 0x40);
  return { words, clock, timer };
}

describe('a one-shot timer on a slow host', () => {
  it('fires when its count is over at once', () => {
    const { clock, timer } = rig();
    timer.setInitialCount(100);
    assert.ok(timer.expire(clock.nowNs()));
    assert.ok(!timer.expire(clock.nowNs()), 'once');
  });

  it('fires when its vector is changed after it was due', () => {
    const { words, clock, timer } = rig();
    timer.setInitialCount(100);
    words.set(REG_LVT_TIMER, 0x41);
    timer.lvtChanged(0x40);
    assert.ok(timer.expire(clock.nowNs()));
  });

  it('fires when its divider is changed after it was due', () => {
    const { clock, timer } = rig();
    timer.setInitialCount(100);
    timer.setDivide(3);
    assert.ok(timer.expire(clock.nowNs()));
  });
});
