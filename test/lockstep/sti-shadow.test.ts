import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { S_RIP } from '#ir/state.ts';
import { assemble, CODE, DATA_PADDR, GuestMachine, missingTools } from './guest-machine.ts';

// An interrupt that comes between STI and the next instruction waits for that one, whichever way the run loop had come
// to look around there. The handler adds up EBX, which that instruction sets.

const GUEST = `
  .quad shadow
  on_fault: hlt
  on_irq: add %ebx, DATA
    incl DATA + 4
    iretq
  start: mov $20000, %ecx
  1: cli
    xor %ebx, %ebx
    sti
  shadow: mov $1, %ebx
    nop
    dec %ecx
    jnz 1b
    out %al, $0xf4
`;
const LEAST_SLICE = 64;
const JUMP_TO_ITSELF = [0xeb, 0xfe];

describe('the shadow of STI', { skip: missingTools() }, () => {
  for (const verify of [false, true])
    it(`holds at the end of a slice${verify ? ', in lockstep' : ''}`, () => {
      let slices = 0;
      let asked = 0;
      let shadow = 0n;
      const machine = new GuestMachine({
        verify,
        // No multiple of the loop's length: the end falls now here, now there.
        slice: () => LEAST_SLICE + (slices++ % 11),
        boundary: (m) => {
          if (m.irq || m.view.getBigUint64(m.cpu + S_RIP, true) !== shadow) return;
          m.irq = true;
          asked++;
        },
      });
      machine.load(assemble(GUEST));
      shadow = machine.word(CODE + 24);
      machine.run();
      const [behind, taken] = [0, 4].map((at) =>
        machine.view.getUint32(machine.ram + DATA_PADDR + at, true),
      );
      assert.deepEqual([behind, taken], [asked, asked]);
      assert.ok(asked > 100, `${asked} interrupts`);
    });

  it('does not hold at address 0 where no STI was', () => {
    const machine = new GuestMachine({
      verify: false,
      boundary: (m) => {
        if (m.view.getBigUint64(m.cpu + S_RIP, true) === 0n) m.irq = true;
      },
    });
    machine.load(assemble('on_fault: hlt\n on_irq: out %al, $0xf4\n start: jmp *%rax\n'));
    machine.bytes.set(JUMP_TO_ITSELF, machine.ram);
    machine.run();
  });
});
