import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { smallKernel } from './small-kernel.ts';

// A Multiboot 1 kernel as users run one: with a command line and modules, from files. Source: Multiboot Specification
// 0.6.96, 3.2 and 3.3.

const RING0 = fileURLToPath(new URL('../../bin/ring0.mjs', import.meta.url));
const missing = ['as', 'ld'].filter((tool) => spawnSync(tool, ['--version']).status !== 0);
const skip = missing.length > 0 ? `no ${missing.join(', ')}; install binutils` : false;

/** Prints to the serial port: its command line, then each module's string and contents; ends with status 1. */
const KERNEL = `
  .set FLAGS, 0
  .set CMDLINE, 16
  .set MODS_COUNT, 20
  .set MODS_ADDR, 24
  .set MODULE_BYTES, 16
_start: mov $stack, %esp
  mov %ebx, %ebp
  cmp $0x2badb002, %eax
  jne wrong
  mov FLAGS(%ebp), %eax
  and $0x0d, %eax
  cmp $0x0d, %eax       # memory, command line, modules
  jne wrong
  mov CMDLINE(%ebp), %esi
  call print_string
  mov MODS_ADDR(%ebp), %ebx
  mov MODS_COUNT(%ebp), %edi
next: mov 8(%ebx), %esi
  call print_string
  mov (%ebx), %esi
  testl $0xfff, (%ebx)
1: jnz wrong
  cmp 4(%ebx), %esi
  je 2f
  mov (%esi), %al
  call print
  inc %esi
  cmp %eax, %eax
  jmp 1b
2: mov $'\\n', %al
  call print
  add $MODULE_BYTES, %ebx
  dec %edi
  jnz next
  xor %al, %al
  out %al, $0xf4
wrong: mov $9, %al
  out %al, $0xf4
print_string: mov (%esi), %al
  inc %esi
  test %al, %al
  jz 1f
  call print
  jmp print_string
1: mov $'\\n', %al
print: push %eax
  mov $0x3fd, %dx
1: in %dx, %al
  test $0x20, %al
  jz 1b
  pop %eax
  mov $0x3f8, %dx
  out %al, %dx
  ret
.bss
  .skip 4096
stack:
`;

describe('a Multiboot kernel', { timeout: 300_000, skip }, () => {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-multiboot-'));
  after(() => rmSync(dir, { recursive: true }));

  it('gets its command line and its modules', () => {
    writeFileSync(path.join(dir, 'kernel'), smallKernel(KERNEL));
    writeFileSync(path.join(dir, 'one'), 'the first module');
    writeFileSync(path.join(dir, 'two'), 'x'.repeat(5000));
    const args = [
      '--kernel',
      'kernel',
      '--append',
      'answer=42 quiet',
      '--module',
      'one,a b',
      '--module',
      'two,c',
    ];
    const result = spawnSync(process.execPath, [RING0, 'run', ...args, '--timeout', '30'], {
      cwd: dir,
      encoding: 'utf8',
    });
    assert.equal(result.stderr, '');
    const lines = result.stdout.replaceAll('\r', '').trimEnd().split('\n');
    assert.deepEqual(lines, [
      'kernel answer=42 quiet',
      'a b',
      'the first module',
      'c',
      'x'.repeat(5000),
    ]);
    assert.equal(result.status, 1);
  });
});
