import { BootError } from './boot-error.ts';
import { isBzImage, planBzImage } from './bzimage.ts';
import { isElf } from './elf.ts';
import { planElf } from './elf-kernel.ts';
import { planMultiboot } from './multiboot.ts';
import { findMultiboot } from './multiboot-header.ts';
import { checkPlacements } from './placement.ts';
import type { BootInput, BootPlan } from './plan-types.ts';

const MAX_COMMAND_BYTES = 65535;

/** Finds out what kind of kernel it is, and how it is to be started. @throws {BootError} */
export function planBoot(input: BootInput): BootPlan {
  if (new TextEncoder().encode(input.cmdline).length > MAX_COMMAND_BYTES)
    throw new BootError('too-large', 'the command line is longer than 64 KiB; give a shorter one', {
      field: 'append',
    });
  const plan = planByFormat(input);
  checkPlacements(plan.writes, input.memoryBytes);
  return plan;
}

function planByFormat(input: BootInput): BootPlan {
  const { kernel, modules = [] } = input;
  const linux = isBzImage(kernel);
  const header = linux ? undefined : findMultiboot(kernel);
  if (header !== undefined) return planMultiboot(input, header);
  if (!linux && !isElf(kernel)) {
    throw new BootError(
      'not-a-kernel',
      'it is neither a bzImage nor an ELF or Multiboot file; give a Linux kernel (vmlinuz) or a vmlinux',
    );
  }
  if (modules.length > 0)
    throw new BootError(
      'unsupported',
      'the kernel takes no modules; give a Multiboot kernel, or an initrd',
      { field: 'module' },
    );
  return linux ? planBzImage(input) : planElf(input);
}
