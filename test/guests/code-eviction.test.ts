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

const UNITS = 45_000;
const MOST_ATTEMPTS = 5;
const LEAST_COMPARED = 1000;
// Writes units of code, 59 NOPs and a call of `hot` each, and runs them once: their blocks make each other room while `hot`
// is translated. Ends with 0 when all have called it.
const CALLING = `
_start: mov $stack, %esp
  mov $0x400000, %edi
  mov $${UNITS}, %edx
unit: mov $59, %ecx
  mov $0x90, %al
  rep stosb
  movb $0xe8, (%edi)
  mov $hot, %eax
  sub %edi, %eax
  sub $5, %eax
  mov %eax, 1(%edi)
  add $5, %edi
  dec %edx
  jnz unit
  movb $0xc3, (%edi)
  mov $100000, %esi
1: call hot
  dec %esi
  jnz 1b
  xor %ebx, %ebx
  mov $0x400000, %ecx
  call *%ecx
  xor %eax, %eax
  cmp $${UNITS}, %ebx
  setne %al
  mov $0xf4, %edx
  out %al, %dx
  hlt
hot: xor %eax, %eax
  add $3, %eax
  imul $3, %eax, %eax
  inc %ebx
  ret
.bss
.skip 4096
stack:
`;

function config(kernel: string) {
  return {
    memoryBytes: 16 * MIB,
    append: '',
    cpuModel: 'ring0-v2',
    accel: 'software',
    noReboot: true,
    stats: false,
    kernel: smallKernel(kernel),
  } as const;
}

describe('code without end', () => {
  it('makes room in lockstep too', async () => {
    let compared = 0;
    // On a busy machine the guest may end before `hot` has been translated.
    for (let attempt = 0; compared <= LEAST_COMPARED && attempt < MOST_ATTEMPTS; attempt++) {
      const vm = await createVm({ ...config(CALLING), verify: true });
      try {
        assert.deepEqual(await vm.run(), { type: 'debug-exit', status: 1 });
        const { blocks, verified } = vm.stats();
        assert.ok(blocks.evicted > 5000, `${blocks.evicted} blocks evicted`);
        compared = verified?.compared ?? 0;
      } finally {
        await vm.stop();
      }
    }
    assert.ok(compared > LEAST_COMPARED, `${compared} runs compared`);
  });

  it('makes room for itself, oldest first, and stays right', async () => {
    const vm = await createVm(config(KERNEL));
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
