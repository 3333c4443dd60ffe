import assert from 'node:assert/strict';
import { it } from 'node:test';
import { GuestClock } from './guest-clock.ts';

it('the guest sees nothing of the time in which its machine stood still', () => {
  let hostNs = 0;
  const clock = new GuestClock(
    () => hostNs,
    () => 1000 + hostNs / 1e6,
  );
  hostNs = 5e6;
  assert.equal(clock.nowNs(), 5e6);
  clock.standStill(() => {
    hostNs = 90e6;
  });
  assert.equal(clock.nowNs(), 5e6);
  hostNs = 91e6;
  assert.equal(clock.nowNs(), 6e6);
  assert.equal(clock.wallMs(), 1091);
});
