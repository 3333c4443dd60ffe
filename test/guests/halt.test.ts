import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MIB } from '#base/units.ts';
import { createVm } from '#index.ts';
import { smallKernel } from './small-kernel.ts';

/** The handler of #UD is `handler`. */
const GATE = `mov $0x200000, %esp
  mov $handler, %eax
  mov %ax, idt+6*8
  mov %cs, idt+6*8+2
  movw $0x8e00, idt+6*8+4
  shr $16, %eax
  mov %ax, idt+6*8+6
  lidt idtr
`;
const TABLE = `.data
idtr: .word 7*8-1
  .long idt
idt: .skip 7*8
`;
const HALTED = 'the guest has halted with interrupts disabled, and only an NMI or a reset wakes it';

const cases = [
  { name: 'for good', body: 'cli\nhlt\n', cpuModel: 'ring0-v2', expected: HALTED },
  {
    name: 'after an instruction that the CPU model lacks',
    body: `${GATE}cmovne %eax, %ecx\nhandler: cli\n1: hlt\njmp 1b\n${TABLE}`,
    cpuModel: '486',
    expected: `${HALTED}; before that it ran instruction cmovne (0f 45 c8`,
  },
];

describe('a guest that halts', { timeout: 120_000 }, () => {
  for (const { name, body, cpuModel, expected } of cases)
    it(`${name} is told of`, async () => {
      const vm = await createVm({
        memoryBytes: 8 * MIB,
        kernel: smallKernel(`_start: ${body}`),
        append: '',
        cpuModel,
        accel: 'software',
        noReboot: true,
        stats: false,
      });
      const told = new Promise<string>((resolve) => vm.onWarning(resolve));
      const running = vm.run();
      try {
        const line = await told;
        assert.equal(line.slice(0, expected.length), expected);
      } finally {
        await vm.stop();
      }
      assert.equal((await running).type, 'stopped');
    });
});
