import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { MIB } from '#base/units.ts';
import type { VmConfig, VmExit } from '#control/vm.ts';
import { createVm } from '#index.ts';
import { smallKernel } from './small-kernel.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-crash-'));
after(() => rmSync(dir, { recursive: true }));

const FRAME = 'push %ebp\n mov %esp, %ebp\n';
/** Switches paging on: the first 4 MiB are at 0 and at 1 GiB. */
const PAGING = `movl $0x83, tables
  movl $0x83, tables+0x400
  mov %cr4, %eax
  or $0x10, %eax
  mov %eax, %cr4
  mov $tables, %eax
  mov %eax, %cr3
  mov %cr0, %eax
  or $0x80000000, %eax
  mov %eax, %cr0
`;
const TABLES = `none: .word 0
  .long 0
.bss
.align 4096
tables: .skip 4096
.skip 4096
stack:
`;
// Three calls deep, without an interrupt table, comes an undefined instruction; memory is mapped at 0x40000000 too.
const CRASHING = smallKernel(`
_start: mov $stack, %esp
  xor %ebp, %ebp
  ${PAGING}
  call outer
outer: ${FRAME}
  call inner
  nop
inner: ${FRAME}
  lidt none
  in $0x77, %al
  call fatal
  nop
fatal: ${FRAME}
  mov $value, %esi
  ud2
.data
value: .long 0x55aa55aa
${TABLES}`);

const config: VmConfig = {
  memoryBytes: 8 * MIB,
  kernel: CRASHING,
  append: '',
  cpuModel: 'ring0-v2',
  accel: 'software',
  noReboot: true,
  stats: false,
};

type CrashExit = Extract<VmExit, { type: 'crash' }>;

async function crash(extra: Partial<VmConfig>): Promise<CrashExit> {
  const vm = await createVm({ ...config, ...extra });
  try {
    const exit = await vm.run();
    assert.equal(exit.type, 'crash');
    return exit as CrashExit;
  } finally {
    await vm.stop();
  }
}

it('an instruction that begins in the last byte of memory goes on where there is none', async () => {
  // Zeros are ADD %al, (%eax), of two bytes.
  const kernel = smallKernel(`
  _start: mov $'j', %al
    out %al, $0xe9
    xor %eax, %eax
    mov $0x7ffffb, %edx
    jmp *%edx\n`);
  const vm = await createVm({ ...config, kernel });
  const printed = new Promise((resolve) => vm.console.onOutput(resolve));
  const end = vm.run();
  await Promise.race([printed, end]);
  // It meets zeros on its way through 4 GiB: it goes on, as long as it is let.
  await new Promise((resolve) => setTimeout(resolve, 300));
  await vm.stop();
  assert.equal((await end).type, 'stopped');
});

describe('a triple fault', { timeout: 300_000 }, () => {
  it('is reported with state, exception, instructions, stack, and what was missing', async () => {
    const { reason, report, dumpFile } = await crash({});
    assert.equal(reason, 'triple fault');
    assert.equal(dumpFile, undefined);
    const expected = [
      /^rip=0{8}00100\w{3} <fatal\+0x8> rflags=/m,
      /^names: .*rsi <value>/m,
      /^cr0=80000011 cr2=\w+ cr3=0000000000102000 cr4=00000010/m,
      /^last exception: #UD error=0x0, and on its way #GP error=0x43$/m,
      /^ {3}0x\w+ <inner\+0x3>: 0f 01 1d .* lidt {3}ds:0x\w+\n(.*\n)? .*call {3}0x\w+ <fatal>\n.*push {3}ebp$/m,
      /^=> 0x\w+ <fatal\+0x8>: 0f 0b +ud2$/m,
      /^called from .*:\n {3}0x\w+ <inner\+0x\w+>\n {3}0x\w+ <outer\+0x8>\n {3}0x\w+ <outer>$/m,
      /^what was not there for the guest:\n {3}read of port 0x77$/m,
    ];
    for (const pattern of expected) assert.match(report, pattern);
  });

  it('says where nothing is mapped', async () => {
    const kernel = smallKernel(`_start: lidt none\n ${PAGING} jmp 0xd0000000\n ${TABLES}`);
    const { report } = await crash({ kernel });
    assert.match(report, /^last exception: #PF error=0x0 cr2=0xd0000000, and on its way #GP/m);
    assert.match(report, /^=> 0xd0000000: no memory is mapped here$/m);
  });

  for (const [code, note] of [
    ['mov $0x12345, %ecx\nrdmsr', 'read of MSR 0x12345, which is not there'],
    [
      'vzeroupper',
      'instruction c5 f8 77 .. .. .. .. .. at 0x10000c, which is none that ring0 knows',
    ],
    ['aesenc %xmm1, %xmm0', 'instruction aesenc .*, for which the CPU model lacks aes'],
  ] as const) {
    it(`names what is missing: ${code.replace('\n', '; ')}`, async () => {
      const { report } = await crash({
        kernel: smallKernel(`_start: ${code}\n`),
        cpuModel: 'Nehalem',
      });
      assert.match(report, new RegExp(`^what was not there for the guest:\n {3}${note}`, 'm'));
    });
  }

  it('guesses return addresses without frame pointers', async () => {
    const kernel = smallKernel(
      '_start: mov $0x200000, %esp\n xor %ebp, %ebp\n call first\n nop\nfirst: push $7\n call second\n nop\nsecond: lidt none\n ud2\nnone: .word 0\n .long 0\n',
    );
    const { report } = await crash({ kernel });
    assert.match(report, /^ \? 0x\w+ <first\+0x\w+>\n \? 0x\w+ <_start\+0x\w+>$/m);
  });
});

describe('the dump of a crash', () => {
  const program = 'LOAD +0x(\\w+) 0x(\\w+) 0x(\\w+) 0x(\\w+)';

  it('is a core file with the memory at its linear and its physical addresses', async () => {
    const { dumpFile = '', dumpFailed } = await crash({
      dump: { dir: path.join(dir, 'new', 'x') },
    });
    assert.equal(dumpFailed, undefined);
    const listed = execFileSync('readelf', ['-hlnW', dumpFile], { encoding: 'utf8' });
    assert.match(listed, /Type: +CORE[\s\S]*Machine: +Advanced Micro Devices X86-64/);
    assert.match(listed, /CORE +0x00000150\s+NT_PRSTATUS/);
    assert.match(listed, /QEMU +0x000001b8/);
    const segments = [...listed.matchAll(new RegExp(program, 'g'))].map((m) =>
      m.slice(1).map((word) => Number.parseInt(word, 16)),
    );
    const image = readFileSync(dumpFile);
    for (const linear of [0x100000, 0x40100000]) {
      const [offset = 0, vaddr = 0] =
        segments.find(([, start = 0, , bytes = 0]) => linear >= start && linear < start + bytes) ??
        [];
      // The Multiboot magic of the kernel.
      assert.equal(image.readUInt32LE(offset + linear - vaddr), 0x1badb002);
    }
    assert.equal(image.length % 4096, 0);
  });

  it('leaves as many older ones as it is told', async () => {
    const place = path.join(dir, 'kept');
    for (let i = 0; i < 2; i++) {
      await crash({ dump: { dir: place } });
      for (const name of readdirSync(place))
        if (name.startsWith('ring0-')) writeFileSync(path.join(place, `ring0-old${i}.core`), '');
    }
    writeFileSync(path.join(place, 'mine.core'), '');
    await crash({ dump: { dir: place, keep: 1 } });
    const names = readdirSync(place);
    assert.ok(names.includes('mine.core'));
    assert.equal(names.length, 3);
  });

  it('that cannot be written is said, and the report is there all the same', async () => {
    for (const place of ['/dev/null/folder', '/proc/ring0/folder']) {
      const { report, dumpFile, dumpFailed } = await crash({ dump: { dir: place } });
      assert.equal(dumpFile, undefined);
      assert.match(
        dumpFailed ?? '',
        new RegExp(`^${place}/ring0-.*\\.core: there is no such folder`),
      );
      assert.match(report, /triple|rip=/);
    }
  });
});
