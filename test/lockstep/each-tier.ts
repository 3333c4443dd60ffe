import assert from 'node:assert/strict';
import { readState } from '#cpu/vcpu-state.ts';
import { GuestMachine, type GuestOptions } from './guest-machine.ts';

function run(code: Uint8Array, options: GuestOptions): { machine: GuestMachine; result: bigint } {
  const machine = new GuestMachine(options);
  machine.load(code);
  machine.run();
  return { machine, result: readState(machine.memory, machine.cpu).regs[14] ?? 0n };
}

/**
 * Runs a guest interpreted, translated (blocks that have run `heat` times), and with both in lockstep: each must leave the same
 * in R14, which is `expected` where that is said. Gives the machine that ran what was translated.
 */
export function runInEachTier(code: Uint8Array, heat: number, expected?: bigint): GuestMachine {
  const { result } = run(code, { verify: false, heat: 0 });
  if (expected !== undefined) assert.equal(result, expected, 'interpreted');
  const translated = run(code, { verify: false, heat });
  assert.equal(translated.result, result, 'translated');
  assert.ok((translated.machine.vcpu.hotStats?.executed ?? 0) > 0);
  const both = run(code, { verify: true, heat });
  assert.equal(both.result, result, 'in lockstep');
  assert.ok((both.machine.vcpu.lockstepStats?.compared ?? 0) > 0);
  return translated.machine;
}
