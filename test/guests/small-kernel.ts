import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** A Multiboot kernel at 1 MiB of 32-bit assembly (GNU as), which begins at `_start` in flat protected mode. */
export function smallKernel(source: string): Uint8Array {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-kernel-'));
  try {
    const file = (name: string) => path.join(dir, name);
    const header = '.code32\n.text\n.align 4\n.long 0x1badb002, 0, -0x1badb002\n.globl _start\n';
    writeFileSync(file('kernel.s'), header + source);
    execFileSync('as', ['--32', '-o', file('kernel.o'), file('kernel.s')]);
    const flags = ['-m', 'elf_i386', '-n', '-Ttext=0x100000', '--no-warn-rwx-segments'];
    execFileSync('ld', [...flags, '-o', file('kernel'), file('kernel.o')]);
    return readFileSync(file('kernel'));
  } finally {
    rmSync(dir, { recursive: true });
  }
}
