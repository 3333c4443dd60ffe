import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { assemble, DATA_PADDR, GuestMachine, missingTools } from './guest-machine.ts';

// Translated code does IN and OUT itself. What a device wants of the processor it sees before the next instruction.

const TURNS = 3000;
const GUEST = `
  on_fault: hlt
  on_irq: incl DATA
    iretq
  start: mov $${TURNS}, %ecx
    mov $0x80, %edx
  1: mov %ecx, %eax
    out %ax, %dx
    in $0x81, %al
    movzx %al, %ebx
    add %ebx, DATA + 4
    dec %ecx
    jnz 1b
    out %al, $0xf4
`;

describe('ports in translated code', { skip: missingTools() }, () => {
  for (const verify of [false, true])
    it(`are reached once each${verify ? ', in lockstep' : ''}`, () => {
      const machine = new GuestMachine({ verify, slice: () => 1_000_000 });
      machine.load(assemble(GUEST));
      machine.run();
      const expected = Array.from({ length: TURNS }, (_, i) => TURNS - i);
      assert.deepEqual(machine.outs, expected);
      assert.equal(machine.view.getUint32(machine.ram + DATA_PADDR + 4, true), TURNS * 0xff);
      const { leftCold = 0, executed = 0 } = machine.vcpu.hotStats ?? {};
      if (!verify) assert.ok(leftCold < 100 && executed > TURNS * 6, `${leftCold}, ${executed}`);
    });

  it('let the interrupt in that a device asks for', () => {
    const machine = new GuestMachine({
      verify: false,
      slice: () => 1_000_000,
      portWritten: (m) => {
        m.irq = true;
        m.attention();
      },
    });
    machine.load(assemble(GUEST));
    machine.run();
    assert.equal(machine.view.getUint32(machine.ram + DATA_PADDR, true), TURNS);
  });
});
