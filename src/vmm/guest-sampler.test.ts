import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { layOut } from '#cpu/layout.ts';
import { GuestSampler } from './guest-sampler.ts';

const SECOND_NS = 1e9;
const SLICE_NS = 150_000;

/** Samples of a guest that runs for a second, when the processor time of each look is this. */
function samplesIn(lookNs: number): number {
  const layout = layOut(1, 4096, 0);
  const memory = new WebAssembly.Memory({ initial: layout.pages, maximum: 65536, shared: true });
  let spent = 0;
  // Asked for before and after each look.
  const sampler = new GuestSampler(memory, layout, false, () => (spent += lookNs));
  for (let now = 0; now < SECOND_NS; now += SLICE_NS) sampler.look(now, false);
  return sampler.samples(SECOND_NS).times.length;
}

describe('how often the guest is looked at', () => {
  const cases = [
    { name: 'once a millisecond, between two slices', lookNs: 20_000, least: 950, most: 1000 },
    { name: 'for 10 % of the time where that is more', lookNs: 400_000, least: 230, most: 350 },
    { name: 'but every 20 ms', lookNs: 500_000_000, least: 49, most: 51 },
  ];
  for (const { name, lookNs, least, most } of cases) {
    it(name, () => {
      const samples = samplesIn(lookNs);
      assert.ok(samples >= least && samples <= most, `${samples} samples`);
    });
  }
});
