import assert from 'node:assert/strict';
import type { Translator } from '#cpu/hot-tier.ts';
import { readState } from '#cpu/vcpu-state.ts';
import { GuestMachine, type GuestOptions } from './guest-machine.ts';

function run(code: Uint8Array, options: GuestOptions): { machine: GuestMachine; result: bigint } {
  const machine = new GuestMachine(options);
  machine.load(code);
  machine.run();
  return { machine, result: readState(machine.memory, machine.cpu).regs[14] ?? 0n };
}

/** Each region serves misses from the first on, as one that gave up too often does. */
function serving(real: Translator): Translator {
  return {
    request: (request, epoch) => real.request({ ...request, again: request.again ?? [] }, epoch),
    hasNews: () => real.hasNews(),
    take: () => real.take(),
  };
}

/**
 * Runs a guest interpreted, translated (blocks that have run `heat` times), and with both in lockstep, as regions are at first
 * and as they are when they have been made again: each must leave the same in R14, which is `expected` where that is said. Gives the
 * machine that ran what was translated and serves misses.
 */
export function runInEachTier(code: Uint8Array, heat: number, expected?: bigint): GuestMachine {
  const { result } = run(code, { verify: false, heat: 0 });
  if (expected !== undefined) assert.equal(result, expected, 'interpreted');
  runBoth(code, { verify: false, heat }, result);
  return runBoth(code, { verify: false, heat, translator: serving }, result);
}

function runBoth(code: Uint8Array, options: GuestOptions, expected: bigint): GuestMachine {
  const translated = run(code, options);
  assert.equal(translated.result, expected, 'translated');
  assert.ok((translated.machine.vcpu.hotStats?.executed ?? 0) > 0);
  const both = run(code, { ...options, verify: true });
  assert.equal(both.result, expected, 'in lockstep');
  assert.ok((both.machine.vcpu.lockstepStats?.compared ?? 0) > 0);
  return translated.machine;
}
