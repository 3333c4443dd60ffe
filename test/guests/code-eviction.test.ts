import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MIB } from '#base/units.ts';
import { createVm } from '#index.ts';
import { smallKernel } from './small-kernel.ts';

const PAGES = 1000;
const COUNTED = 4084;
const ROUNDS = 2;
/** A record of 24 bytes an instruction: two rounds fill the arena of 64 MiB three times. */
const LEAST_EVICTED = 20_000;

// Writes pages of code, each of which counts COUNTED twice over: 4 MiB whose blocks take over 95 MiB. Runs them round after
// round. Ends with 0 when the count is right.
const KERNEL = `
_start: mov $stack, %esp
  xor %ebp, %ebp
  mov $${ROUNDS}, %esi
round:
  mov $0x400000, %edi
  mov $${PAGES}, %edx
page: mov $${COUNTED}, %ecx
  mov $0x40, %al
  rep stosb
  movb $0x4b, (%edi)
  movw $0x850f, 1(%edi)
  movl $-${COUNTED + 7}, 3(%edi)
  movb $0xbb, 7(%edi)
  movl $2, 8(%edi)
  add $12, %edi
  dec %edx
  jnz page
  movb $0xc3, (%edi)
  xor %eax, %eax
  mov $2, %ebx
  mov $0x400000, %ecx
  call *%ecx
  add %eax, %ebp
  dec %esi
  jnz round
  xor %eax, %eax
  cmp $${PAGES * COUNTED * 2 * ROUNDS}, %ebp
  setne %al
  mov $0xf4, %edx
  out %al, %dx
  hlt
.bss
.skip 4096
stack:
`;

describe('code without end', () => {
  it('makes room for itself, oldest first, and stays right', async () => {
    const vm = await createVm({
      memoryBytes: 16 * MIB,
      append: '',
      cpuModel: 'ring0-v2',
      accel: 'software',
      noReboot: true,
      stats: false,
      kernel: smallKernel(KERNEL),
    });
    try {
      const before = process.memoryUsage().rss;
      assert.deepEqual(await vm.run(), { type: 'debug-exit', status: 1 });
      const { made, dropped, evicted } = vm.stats().blocks;
      const left = made - dropped - evicted;
      assert.ok(evicted > LEAST_EVICTED, `${evicted} of ${made} blocks evicted`);
      assert.ok(left < 45_000, `${left} blocks left of ${made}`);
      const grown = (process.memoryUsage().rss - before) / MIB;
      assert.ok(grown < 400, `${grown.toFixed(0)} MiB more than before`);
    } finally {
      await vm.stop();
    }
  });
});
