import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MIB } from '#base/units.ts';
import type { VmConfig, VmStats } from '#control/vm.ts';
import { createVm } from '#index.ts';
import { smallKernel } from './small-kernel.ts';

const config: VmConfig = {
  memoryBytes: 8 * MIB,
  append: '',
  cpuModel: 'ring0-v2',
  accel: 'software',
  noReboot: false,
  stats: true,
};

async function statsOf(source: string): Promise<VmStats> {
  const vm = await createVm({ ...config, kernel: smallKernel(source) });
  try {
    assert.deepEqual(await vm.run(), { type: 'debug-exit', status: 1 });
    return vm.stats();
  } finally {
    await vm.stop();
  }
}

// Ten faults and ten software interrupts, six accesses of ports, four of MMIO, code that is changed, and a sleep of half a
// second: a host that takes the processor away before it begins leaves some of it.
const BUSY = `
_start: mov $stack, %esp
  lidt idtr
  mov $skip, %eax
  mov $idt+6*8, %edi
  call gate
  mov $back, %eax
  mov $idt+0x20*8, %edi
  call gate
  mov $10, %ecx
1: ud2
  int $0x20
  movb $0x90, changed
changed: nop
  loop 1b
  mov 0xfed00000, %eax
  mov 0xfed000f0, %eax
  mov $0x11, %al
  out %al, $0x20
  mov $0x20, %al
  out %al, $0x21
  mov $4, %al
  out %al, $0x21
  mov $1, %al
  out %al, $0x21
  mov $0xff, %al
  out %al, $0x21
  movl $0x1ff, 0xfee000f0
  movl $0x40020, 0xfee00320
  rdtsc
  add $500000000, %eax
  adc $0, %edx
  mov $0x6e0, %ecx
  wrmsr
  sti
  hlt
  cli
  xor %al, %al
  out %al, $0xf4
gate: mov %ax, (%edi)
  mov %cs, 2(%edi)
  movw $0xee00, 4(%edi)
  shr $16, %eax
  mov %ax, 6(%edi)
  ret
skip: addl $2, (%esp)
  iret
back: iret
idtr: .word 0x100*8-1
  .long idt
.bss
.align 16
idt: .skip 0x100*8
.skip 4096
stack:
`;

describe('statistics', { timeout: 300_000 }, () => {
  it('count what the guest did, by kind', async () => {
    const stats = await statsOf(BUSY);
    assert.ok(stats.instructions > 100 && stats.instructions < 1000, `${stats.instructions}`);
    assert.deepEqual(stats.faults, { '#UD': 10 });
    assert.deepEqual(stats.interrupts, { 32: 1 });
    assert.equal(stats.exits['mmio'], 4);
    assert.equal(stats.exits['port'], 6);
    assert.equal(stats.exits['hlt'], 1);
    assert.ok(stats.tlbMisses > 0 && stats.pageWalks > stats.tlbMisses);
    assert.ok(stats.blocks.made > 5 && stats.blocks.dropped > 0);
    assert.ok(stats.asleepSeconds > 0.001 && stats.asleepSeconds < stats.seconds);
  });

  it('go on over a reset', async () => {
    const kernel = smallKernel(
      '_start: mov $0x3f8, %dx\nout %al, (%dx)\nmov $0xfe, %al\nout %al, $0x64\n1: jmp 1b\n',
    );
    const vm = await createVm({ ...config, kernel });
    let starts = 0;
    vm.console.onOutput(() => {
      starts++;
      if (starts === 3) void vm.stop();
    });
    assert.deepEqual(await vm.run(), { type: 'stopped' });
    // The third time it may be stopped before its second access.
    assert.ok((vm.stats().exits['port'] ?? 0) >= 5);
    await vm.stop();
  });
});
