import { BootError } from './boot-error.ts';
import { isBzImage, planBzImage } from './bzimage.ts';
import { isElf } from './elf.ts';
import { planElf } from './elf-kernel.ts';
import type { BootInput, BootPlan } from './plan-types.ts';

/** Finds out what kind of kernel it is, and how it is to be started. @throws {BootError} */
export function planBoot(input: BootInput): BootPlan {
  if (isBzImage(input.kernel)) return planBzImage(input);
  if (isElf(input.kernel)) return planElf(input);
  throw new BootError(
    'not-a-kernel',
    'it is neither a bzImage nor an ELF file; give a Linux kernel (vmlinuz) or a vmlinux',
  );
}
