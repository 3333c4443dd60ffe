import { BootError } from './boot-error.ts';
import type { BootInput } from './plan-types.ts';

/** For a kernel of 64 bits: it would end in a triple fault, or halt without a word. @throws {BootError} */
export function needLongMode({ cpu }: BootInput): void {
  if (cpu.has64) return;
  throw new BootError(
    'unsupported',
    `the kernel is for 64 bits and ${cpu.name} has 32; give another model, or a 32-bit kernel`,
    { field: 'cpu' },
  );
}
