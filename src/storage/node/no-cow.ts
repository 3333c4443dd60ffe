import { execFile } from 'node:child_process';
import path from 'node:path';

/**
 * Marks an empty file as one that is not copied on write: chattr(1), since Node has no ioctl. Where that cannot be, nothing
 * happens, as with QEMU.
 */
export function turnOffCow(file: string): Promise<void> {
  return new Promise((resolve) => {
    execFile('chattr', ['+C', path.resolve(file)], () => resolve());
  });
}
