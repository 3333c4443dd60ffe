import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { assemble, GuestMachine, missingTools } from './guest-machine.ts';

// After a long sleep code is interpreted for 30,000 instructions, whatever regions there are of it.

const WAKES = 10;
const TURNS = 2000;
const CHILLED = 30_000;

/** Instructions that were interpreted after a sleep, on average; that of the first ones, before there is a region, too. */
function interpretedPerWake(sleepNs: number, nops: number): number {
  const machine = new GuestMachine({ verify: false, sleepNs });
  machine.load(
    assemble(`
      on_irq: iretq
      on_fault: hlt
      start: mov $${WAKES}, %r15d
      0: sti
      hlt
      mov $${TURNS}, %ecx
      1: .rept ${nops}
      nop
      .endr
      dec %ecx
      jnz 1b
      dec %r15d
      jnz 0b
      out %al, $0xf4`),
  );
  machine.run();
  const { instructions, hotStats } = machine.vcpu;
  return (instructions - (hotStats?.executed ?? 0)) / WAKES;
}

describe('behind a sleep', { skip: missingTools(), timeout: 120_000 }, () => {
  for (const nops of [30, 62, 100, 200]) {
    it(`of 10 ms loops of ${nops + 2} instructions are interpreted first`, () => {
      const interpreted = interpretedPerWake(10e6, nops);
      assert(interpreted > CHILLED - 1500 && interpreted < CHILLED + 1500, String(interpreted));
    });
    it(`of 1 ms they are not (${nops + 2})`, () => {
      const interpreted = interpretedPerWake(1e6, nops);
      assert(interpreted < 1500, String(interpreted));
    });
  }
});
