import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { runSmallGuest } from './run-small-guest.ts';
import { smallKernel } from './small-kernel.ts';

const tools = ['as', 'ld', 'objcopy'].filter((tool) => spawnSync(tool, ['--version']).status !== 0);
const skip = tools.length > 0 ? `no ${tools.join(', ')}; install binutils` : false;

/** Prints, does `how`, and waits for what it brings; a reset ends a small guest. */
const guest = (how: string) =>
  smallKernel(`_start: mov $'a', %al
    out %al, $0xe9
    ${how}
    mov $10000000, %ecx
    1: loop 1b
    mov $'b', %al
    out %al, $0xe9
    out %al, $0xf4
  `);

const INIT_SELF = 'movl $0, 0xfee00310\n movl $0x4500, 0xfee00300';

/** 64 KiB whose last 16 bytes are the reset vector; it runs in real mode at f000:0. */
function firmware(source: string): Uint8Array {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-firmware-'));
  try {
    const file = (name: string) => path.join(dir, name);
    const frame = `.code16\n.text\n${source}\n.org 0xfff0\n.code16\n ljmp $0xf000, $0\n .org 0x10000\n`;
    writeFileSync(file('firmware.s'), frame);
    execFileSync('as', ['--32', '-o', file('firmware.o'), file('firmware.s')]);
    execFileSync('objcopy', ['-O', 'binary', file('firmware.o'), file('firmware.bin')]);
    return readFileSync(file('firmware.bin'));
  } finally {
    rmSync(dir, { recursive: true });
  }
}

// Counts in CMOS, which no reset of the processor clears, and in RAM; the second time it ends, telling CR0.PE, EDX and
// the local APIC's spurious vector register.
const INIT_FIRMWARE = `
  xor %ax, %ax
  mov %ax, %ds
  mov $0x9000, %sp
  mov %ax, %ss
  incb 0x500
  mov 0x500, %al
  add $'0', %al
  out %al, $0xe9
  mov %cr0, %eax
  and $1, %al
  add $'0', %al
  out %al, $0xe9
  mov %dr0, %eax
  or %eax, %eax
  jnz wrong
  lgdtl %cs:gdtr
  mov $0x11, %eax
  mov %eax, %cr0
  ljmpl $8, $0xf0000 + protected
wrong: mov $'w', %al
  out %al, $0xe9
  out %al, $0xf4
.code32
protected: mov $16, %eax
  mov %eax, %ds
  mov %eax, %dr0
  mov 0xfee000f0, %eax
  cmp $0xff, %eax
  jne wrong
  cmpb $2, 0x500
  je 1f
  movl $0x1ff, 0xfee000f0
  ${INIT_SELF}
  hlt
1: xor %al, %al
  out %al, $0xf4
  hlt
.balign 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: .word 23
  .long 0xf0000 + gdt`;

describe('ways to reset', { timeout: 300_000, skip }, () => {
  const cases = [
    { name: 'pulse of the 8042', how: 'mov $0xfe, %al\n out %al, $0x64', expected: 'areset' },
    {
      name: 'output port of the 8042',
      how: 'mov $0xd1, %al\n out %al, $0x64\n mov $2, %al\n out %al, $0x60',
      expected: 'areset',
    },
    {
      name: 'port 0xcf9, when bit 2 rises',
      how: 'mov $0xcf9, %edx\n mov $2, %al\n out %al, %dx\n mov $6, %al\n out %al, %dx',
      expected: 'areset',
    },
    {
      name: 'port 0xcf9, not by bit 1',
      how: "mov $0xcf9, %edx\n mov $2, %al\n out %al, %dx\n in %dx, %al\n add $'0', %al\n out %al, $0xe9",
      expected: 'a2b',
    },
    { name: 'port 0x92', how: 'mov $3, %al\n out %al, $0x92', expected: 'areset' },
    { name: 'INIT, where there is no firmware', how: INIT_SELF, expected: 'areset' },
  ];
  for (const { name, how, expected } of cases)
    it(name, async () => assert.equal(await runSmallGuest(guest(how)), expected));

  it('INIT begins at the reset vector with memory kept, and the local APIC as after reset', async () => {
    const printed = await runSmallGuest({ firmware: firmware(INIT_FIRMWARE) });
    assert.equal(printed, '1020');
  });
});
