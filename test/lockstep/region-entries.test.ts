import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Translator } from '#cpu/hot-tier.ts';
import { assemble, GuestMachine, missingTools } from './guest-machine.ts';

// While the region of a hot block is made, which is entered where its loop begins, that block becomes hot as well.

const LOOPS = `
  on_irq: on_fault: hlt
  start: mov $20000, %r15d
  jmp 3f
  1: inc %eax
  add %eax, %edx
  test $1, %al
  jz 2f
  inc %ebx
  2: inc %ecx
  xor %ecx, %esi
  3: dec %edi
  add $3, %r8
  test $3, %dil
  jnz 2b
  inc %r9
  dec %r15d
  jnz 1b
  out %al, $0xf4
  1: jmp 1b\n`;

/** Looks around until the translator has done what was asked for first. */
const LATE = 40;

describe('regions that are asked for twice', { skip: missingTools() }, () => {
  it('are entered at one block each', () => {
    let looks = 0;
    const made: string[] = [];
    const late = (real: Translator): Translator => ({
      request: (request, epoch) => real.request(request, epoch),
      hasNews: () => ++looks > LATE && real.hasNews(),
      take: () => {
        const batches = real.take();
        for (const batch of batches)
          if ('epoch' in batch) made.push(...batch.regions.map(({ rip }) => `${rip}`));
        return batches;
      },
    });
    const machine = new GuestMachine({
      verify: false,
      heat: 30,
      slice: () => 2000,
      translator: late,
    });
    machine.load(assemble(LOOPS));
    machine.run();
    const { regions = 0, dropped = 0 } = machine.vcpu.hotStats ?? {};
    assert.ok(made.length > new Set(made).size);
    assert.equal(regions - dropped, new Set(made).size);
  });
});
