import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
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

describe('small guests on the board', { timeout: 300_000, skip: cannotAssemble }, () => {
  it('the A20 gate, by port 0x92 and by the keyboard controller', async () => {
    assert.equal(await runSmallGuest(smallKernel(A20)), '21212');
  });
  it('an NMI that the local APIC sends to itself', async () => {
    assert.equal(await runSmallGuest(smallKernel(NMI)), '1');
  });
});
