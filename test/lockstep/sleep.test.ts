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

const SOON = 8;
const TICKS = 40;
const TICK_NS = 4e6;

/** Looks before each sleep of a guest that first is interrupted soon each time, and then by a timer alone. */
function looksOfSleeps(): number[] {
  const before: number[] = [];
  const machine = new GuestMachine({
    verify: false,
    sleepNs: 100_000,
    timerNs: () => {
      before.push(machine.looks);
      return before.length > SOON ? TICK_NS : undefined;
    },
  });
  machine.load(
    assemble(`
      on_irq: iretq
      on_fault: hlt
      start: mov $${SOON + TICKS}, %r15d
      0: sti
      hlt
      next_turn`),
  );
  machine.run();
  return before.map((looks, i) => (before[i + 1] ?? machine.looks) - looks);
}

describe('before a sleep', { skip: missingTools(), timeout: 120_000 }, () => {
  it('a vCPU looks for work while work came soon of late, and no more when only time passes', () => {
    const ticks = looksOfSleeps().slice(SOON);
    assert.equal(ticks.length, TICKS);
    assert.notEqual(ticks[0], 0);
    assert.equal(ticks.at(-1), 0, String(ticks));
  });
});

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
