import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readState } from '#cpu/vcpu-state.ts';
import { assemble, DATA, GuestMachine, missingTools } from './guest-machine.ts';

// A region that is no loop gives up where the TLB does not have a page. After a thousand times it is made again, so that it
// asks core/ for the page.

const ROUNDS = 3000;

/** A round of two regions: CPUID and INVLPG are the interpreter's. */
const program = (access: string) => `
  on_irq: on_fault: hlt
  start: mov $${ROUNDS}, %r15d
  mov $${DATA}, %rsi
  mov $0x1122334455667788, %rax
  mov %rax, 4088(%rsi)
  mov %rax, 4096(%rsi)
  1: ${access}
  add %r8, %r14
  rol $3, %r14
  2: xor %eax, %eax
  cpuid
  invlpg (%rsi)
  dec %r15d
  jnz 1b
  out %al, $0xf4
  1: jmp 1b\n`;

const cases = [
  { name: 'a page that is always new', access: 'mov 8(%rsi), %r8', again: 1 },
  { name: 'bytes in two pages', access: 'mov 4092(%rsi), %r8', again: 1 },
  { name: 'a page that is there', access: 'mov 4096(%rsi), %r8', again: 0 },
];

describe('what a region gives up', { skip: missingTools() }, () => {
  for (const { name, access, again } of cases)
    it(`${name}: made again: ${again}`, () => {
      const code = assemble(program(access));
      const run = (verify: boolean, heat: number) => {
        let servesMisses = 0;
        const machine = new GuestMachine({
          verify,
          heat,
          translator: (real) => ({
            request: (request, epoch) => {
              if (request.servesMisses) servesMisses++;
              real.request(request, epoch);
            },
            hasNews: () => real.hasNews(),
            take: () => real.take(),
          }),
        });
        machine.load(code);
        machine.run();
        return { result: readState(machine.memory, machine.cpu).regs[14], servesMisses };
      };
      const interpreted = run(false, 0);
      for (const verify of [false, true])
        assert.deepEqual(run(verify, 2), { ...interpreted, servesMisses: again });
    });
});
