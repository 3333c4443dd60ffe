import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { DevicePoll } from './device-poll.ts';

/**
 * A link that counts what happens to it; `late` accesses are posted while the thread goes to sleep.
 * A microsecond passes with each look at the clock, so that a busy host changes nothing.
 */
function rig(late = 0) {
  let nowNs = 1e9;
  const link = { posted: 0, served: 0, sleeps: 0 };
  const poll = new DevicePoll(
    {
      get hasPosted() {
        return link.posted > link.served;
      },
      isAwaited: false,
      sleep: () => {
        link.sleeps++;
        if (late-- > 0) link.posted++;
      },
    },
    () => void link.served++,
    () => (nowNs += 1000),
  );
  const post = () => {
    link.posted++;
    poll.wake();
  };
  return { link, poll, post };
}

describe('the poll of the device thread', () => {
  it('serves at once, and sleeps', () => {
    const { link, post } = rig();
    post();
    assert.deepEqual(link, { posted: 1, served: 1, sleeps: 1 });
  });

  it('serves all, and lets other work of the thread have its turn', async () => {
    const { link, post } = rig();
    link.posted = 100_000;
    post();
    assert.ok(link.served > 0 && link.served < link.posted);
    while (link.served < link.posted) await setTimeout(1);
    assert.equal(link.served, 100_001);
  });

  it('sees what is posted while it goes to sleep', () => {
    const { link, post } = rig(1);
    post();
    assert.deepEqual(link, { posted: 2, served: 2, sleeps: 2 });
  });

  it('serves nothing once it is stopped', () => {
    const { link, poll, post } = rig();
    poll.stop();
    post();
    assert.equal(link.served, 0);
  });
});
