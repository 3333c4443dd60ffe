import { assemble } from './assemble.ts';

/** A Multiboot kernel at 1 MiB of 32-bit assembly (GNU as), which begins at `_start` in flat protected mode. */
export function smallKernel(source: string): Uint8Array {
  const header = '.code32\n.text\n.align 4\n.long 0x1badb002, 0, -0x1badb002\n.globl _start\n';
  const link = ['-m', 'elf_i386', '-Ttext=0x100000', '--no-warn-rwx-segments'];
  return assemble(header + source, ['--32'], link);
}
