import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { RequestError } from '#base/errors.ts';
import { MIB } from '#base/units.ts';
import type { TraceKind, VmConfig, VmExit } from '#control/vm.ts';
import { createVm } from '#index.ts';
import { smallKernel } from './small-kernel.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-trace-'));
after(() => rmSync(dir, { recursive: true }));

// Calls a function that writes to COM1, raises INT 0x80 and #UD, looks whether it sees a trap flag, and ends by port 0xf4.
const KERNEL = smallKernel(`
_start: mov $stack, %esp
  lidt idtr
  mov $handler, %eax
  mov $idt+0x80*8, %edi
  call gate
  mov $skip, %eax
  mov $idt+6*8, %edi
  call gate
  call print
  int $0x80
  ud2
  pushf
  pop %eax
  shr $8, %eax
  and $1, %al
  out %al, $0xf4
1: hlt
  jmp 1b
gate: mov %ax, (%edi)
  mov %cs, 2(%edi)
  movw $0xee00, 4(%edi)
  shr $16, %eax
  mov %ax, 6(%edi)
  ret
print: mov $0x41, %al
  mov $0x3f8, %dx
  out %al, (%dx)
  mov 0xfed00000, %ebx
  ret
handler: iret
skip: addl $2, (%esp)
  iret
idtr: .word 0x81*8-1
  .long idt
.bss
.align 16
idt: .skip 0x81*8
  .skip 4096
stack:
`);

const config: VmConfig = {
  memoryBytes: 16 * MIB,
  kernel: KERNEL,
  append: '',
  cpuModel: 'ring0-v2',
  accel: 'software',
  noReboot: true,
  stats: false,
};

async function run(extra: Partial<VmConfig>): Promise<VmExit> {
  const vm = await createVm({ ...config, ...extra });
  try {
    return await vm.run();
  } finally {
    await vm.stop();
  }
}

async function traceOf(kinds: TraceKind[], extra: Partial<VmConfig> = {}): Promise<string[]> {
  const file = path.join(dir, 'trace');
  const exit = await run({ ...extra, trace: { kinds, file } });
  // The trap flag that the guest sees is its own: 2 * 0 + 1.
  assert.deepEqual(exit, { type: 'debug-exit', status: 1 });
  return readFileSync(file, 'utf8').trimEnd().split('\n');
}

describe('a trace', { timeout: 300_000 }, () => {
  it('insn: every instruction with its symbol, bytes and text', async () => {
    const lines = await traceOf(['insn']);
    assert.match(lines[0] ?? '', /^insn 0x10000c <_start>: bc .. .. .. .. {7,}mov {4}esp,0x/);
    assert.match(lines[1] ?? '', /^insn 0x100011 <_start\+0x5>: 0f 01 1d .* lidt {3}ds:0x/);
    const at = lines.findIndex((line) => / <print>: b0 41 +mov {4}al,0x41$/.test(line));
    assert.match(lines[at - 1] ?? '', / call {3}0x[0-9a-f]+ <print>$/);
    assert.match(lines[at + 2] ?? '', /<print\+0x6>: ee +out {4}dx,al$/);
    assert.equal(lines.filter((line) => line.includes('<handler>')).length, 1);
    assert.equal(lines.filter((line) => /: 0f 0b +ud2$/.test(line)).length, 1);
    assert.equal(lines.at(-1), 'end  debug-exit');
    assert.ok(lines.every((line) => /^(insn|end) /.test(line)));
  });

  it('int: what is delivered, from where', async () => {
    const [soft, undefinedCode, end] = await traceOf(['int']);
    assert.match(
      soft ?? '',
      /^int {2}0x80 software at 0x[0-9a-f]+ <_start\+\S+> cpl=0 sp=0x.* rax=/,
    );
    assert.match(undefinedCode ?? '', /^int {2}0x6 #UD at 0x[0-9a-f]+ <_start\+\S+> cpl=0 sp=0x/);
    assert.equal(end, 'end  debug-exit');
  });

  it('mmu: misses of the TLB', async () => {
    const lines = await traceOf(['mmu']);
    assert.ok(lines.includes('mmu  miss fetch supervisor 0x10000c -> 0x10000c'));
    assert.ok(lines.some((line) => /^mmu {2}miss write supervisor 0x10\w+ -> 0x10\w+$/.test(line)));
  });

  it('io: accesses with the device and the value', async () => {
    const lines = await traceOf(['io']);
    assert.deepEqual(
      lines.map((line) => line.replace(/(hpet dword -> )0x[0-9a-f]+/, '$1…')),
      [
        'io   out 0x3f8 com1 byte <- 0x41',
        'io   mmio read 0xfed00000 hpet dword -> …',
        'io   out 0xf4 debug-exit byte <- 0x0',
        'end  debug-exit',
      ],
    );
  });

  it('all kinds: an instruction comes before what it does', async () => {
    const lines = await traceOf(['insn', 'int', 'mmu', 'io']);
    const out = lines.indexOf('io   out 0x3f8 com1 byte <- 0x41');
    assert.match(lines[out - 1] ?? '', /^insn .*out {4}dx,al$/);
    const fault = lines.findIndex((line) => line.startsWith('int  0x6 #UD'));
    assert.match(lines[fault - 1] ?? '', /^insn .* ud2$/);
  });

  it('takes names from the file that is given', async () => {
    const symbols = new TextEncoder().encode('0000000000100000 T from_the_map\n');
    const lines = await traceOf(['insn'], { symbols });
    assert.match(lines[0] ?? '', /<from_the_map\+0xc>/);
  });

  it('of a guest that is stopped has all until then', async () => {
    const file = path.join(dir, 'endless');
    const kernel = smallKernel('_start: mov $0x3f8, %dx\nout %al, (%dx)\n1: jmp 1b\n');
    const vm = await createVm({ ...config, kernel, trace: { kinds: ['insn'], file } });
    const running = vm.run();
    while (!readFileSync(file, 'utf8').includes('jmp')) await setTimeout(1);
    await vm.stop();
    assert.deepEqual(await running, { type: 'stopped' });
    assert.match(readFileSync(file, 'utf8'), /jmp {4}0x100011 <_start\+0x5>\nend {2}stopped\n$/);
  });
});

describe('a trace that cannot be written', () => {
  const cases = [
    { file: '/nonexistent/folder/trace', message: /no such folder; make it or name another/ },
    { file: dir, message: /is a folder; name a file/ },
    {
      file: '/dev/full',
      message: /\/dev\/full: the disk is full; make room or name another place/,
    },
  ];
  for (const { file, message } of cases)
    it(file.replace(dir, 'a folder'), async () => {
      const wrong = (error: unknown) =>
        error instanceof RequestError && error.field === 'trace' && message.test(error.message);
      await assert.rejects(run({ trace: { kinds: ['insn'], file } }), wrong);
    });

  it('symbols that are none', async () => {
    const wrong = (error: unknown) => error instanceof RequestError && error.field === 'symbols';
    await assert.rejects(run({ symbols: Uint8Array.of(1, 2, 3) }), wrong);
  });
});
