import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MIB } from '#base/units.ts';
import { createVm } from '#index.ts';
import { cannotAssemble } from './assemble.ts';
import { runSmallGuest } from './run-small-guest.ts';
import { smallKernel } from './small-kernel.ts';

// What small guests meet of the board: a digit is printed for each question.

const END = `
  mov $0, %al
  out %al, $0xf4
  hlt`;
const PRINT = `
print: add $'0', %al
  out %al, $0xe9
  ret`;

/** Runs below 1 MiB, because that is where the gate leaves code alone. */
const A20 = `
_start: mov $low, %esi
  mov $0x8000, %edi
  mov $low_end-low, %ecx
  rep movsb
  mov $0x8000, %eax
  jmp *%eax
low: mov $0x7000, %esp
  movl $1, 0x200500
  movl $2, 0x300500
  call look
  mov $0, %al
  out %al, $0x92
  call look
  mov $2, %al
  out %al, $0x92
  call look
  mov $0xd1, %al
  out %al, $0x64
  mov $0xdd, %al
  out %al, $0x60
  call look
  mov $0xd1, %al
  out %al, $0x64
  mov $0xdf, %al
  out %al, $0x60
  call look
${END}
look: mov 0x300500, %al
${PRINT}
low_end:`;

const TURNS = 300;
/** Ways to switch the gate: by port 0x92, and by the output port of the keyboard controller. */
const GATES = {
  'port 0x92': { off: 'mov $0, %al\n out %al, $0x92', on: 'mov $2, %al\n out %al, $0x92' },
  'the keyboard controller': {
    off: 'mov $0xd1, %al\n out %al, $0x64\n mov $0xdd, %al\n out %al, $0x60',
    on: 'mov $0xd1, %al\n out %al, $0x64\n mov $0xdf, %al\n out %al, $0x60',
  },
};

/**
 * A loop at 0x108000 and one of the same lengths where that lies while the gate is shut: what follows each OUT, and what is called
 * and read then, is where the gate leads to. It prints 1 for code, and 1 for data.
 */
function switching({ off, on }: { off: string; on: string }): string {
  const loop = (name: string, [one, other]: readonly [number, number]) => `
.balign 4096
${name}: ${off}
  add $${one}, %ebx
  add 0x300500, %edx
  call ${name}_away
  ${on}
  add $${other}, %ebx
  add 0x300500, %edx
  call ${name}_away
  dec %ecx
  jnz ${name}
  mov $after, %eax
  jmp *%eax
.balign 4096
${name}_away: add $${one}, %ebx
  ret`;
  const copy = (name: string, to: number) => `
  mov $${name}, %esi
  mov $${to}, %edi
  mov $after-high, %ecx
  rep movsb`;
  return `
_start: mov $0x7000, %esp
  movl $1, 0x200500
  movl $2, 0x300500
${copy('low', 0x8000)}
${copy('high', 0x108000)}
  mov $${TURNS}, %ecx
  xor %ebx, %ebx
  xor %edx, %edx
  mov $0x108000, %eax
  jmp *%eax
${loop('low', [0x100, 0x1000])}
${loop('high', [0x10000, 0x100000])}
after: cmp $${(2 * 0x100 + 0x100000 + 0x10000) * TURNS}, %ebx
  sete %al
  call print
  cmp $${3 * TURNS}, %edx
  sete %al
  call print
${END}
${PRINT}
`;
}

const NMI = `
_start: mov $stack, %esp
  lgdt gdtr
  ljmp $8, $1f
1: mov $16, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov $handler, %eax
  mov %ax, idt+16
  movw $8, idt+18
  movw $0x8e00, idt+20
  shr $16, %eax
  mov %ax, idt+22
  lidt idtr
  movl $0x1ff, 0xfee000f0
  movl $0, 0xfee00310
  movl $0x4400, 0xfee00300
  mov $1000, %ecx
2: loop 2b
  mov count, %al
  call print
${END}
${PRINT}
handler: incl count
  iret
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: .word 23
  .long gdt
idtr: .word 23
  .long idt
.bss
idt: .skip 24
count: .skip 4
.skip 1024
stack:`;

/** Prints a line, and more behind it. */
const LINES = `
_start: mov $text, %esi
1: lodsb
  out %al, $0xe9
  cmp $text_end, %esi
  jb 1b
${END}
text: .ascii "begin\nend\n!"
text_end:`;

describe('small guests on the board', { timeout: 300_000, skip: cannotAssemble }, () => {
  it('the A20 gate, by port 0x92 and by the keyboard controller', async () => {
    assert.equal(await runSmallGuest(smallKernel(A20)), '21212');
  });
  for (const [name, gate] of Object.entries(GATES)) {
    for (const [how, options] of [
      ['interpreted', { translate: false }],
      ['translated', { translate: 'at-once' }],
      ['in lockstep', { translate: 'at-once', verify: true }],
    ] as const)
      it(`the A20 gate leads elsewhere from the next instruction on, by ${name}, ${how}`, async () => {
        assert.equal(await runSmallGuest(smallKernel(switching(gate)), options), '11');
      });
  }
  it('a line on the debug port is handed over when it is written', async () => {
    const vm = await createVm({
      memoryBytes: 8 * MIB,
      kernel: smallKernel(LINES),
      append: '',
      cpuModel: 'ring0-v2',
      accel: 'software',
      noReboot: true,
      stats: false,
    });
    const parts: string[] = [];
    vm.console.onOutput((bytes) => parts.push(Buffer.from(bytes).toString('latin1')));
    try {
      assert.deepEqual(await vm.run(), { type: 'debug-exit', status: 1 });
    } finally {
      await vm.stop();
    }
    assert.equal(parts.join(''), 'begin\nend\n!');
    assert.equal(parts[0], 'begin\n');
  });
  it('an NMI that the local APIC sends to itself', async () => {
    assert.equal(await runSmallGuest(smallKernel(NMI)), '1');
  });
});
