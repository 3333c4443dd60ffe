import assert from 'node:assert/strict';
import { it } from 'node:test';
import {
  A_JUMP_CACHE,
  A_REGIONS,
  JUMP_ENTRIES,
  KEY_BITS,
  REGION_SLOTS,
  S_AREA,
  S_JUMP_GENS,
} from '#ir/state.ts';
import { SystemMachine } from './system-machine.ts';

it('what is known of jumps is forgotten when their generations begin anew, and stays until then', () => {
  const machine = new SystemMachine();
  const { view, cpu } = machine;
  const area = view.getUint32(cpu + S_AREA, true);
  const last = 2 ** 32 - 2 ** KEY_BITS;
  const slots = [
    area + A_JUMP_CACHE + (JUMP_ENTRIES - 1) * 16,
    area + A_REGIONS + (REGION_SLOTS - 1) * 16,
  ];
  const flush = (): bigint[] => {
    machine.call('flush_tlb', cpu);
    return slots.map((slot) => view.getBigUint64(slot, true));
  };
  for (const slot of slots) view.setBigUint64(slot, 7n, true);
  for (const mode of [0, 4]) {
    view.setUint32(cpu + S_JUMP_GENS + mode, last - 2 ** KEY_BITS, true);
    assert.deepEqual(flush(), [7n, 7n]);
    assert.equal(view.getUint32(cpu + S_JUMP_GENS + mode, true), last);
    assert.deepEqual(flush(), [0n, 0n]);
    for (const slot of slots) view.setBigUint64(slot, 7n, true);
  }
});
