import path from 'node:path';

/**
 * Marks an empty file as one that is not copied on write: chattr(1), since Node has no ioctl. Where that cannot be, nothing
 * happens, as with QEMU.
 */
export async function turnOffCow(file: string): Promise<void> {
  // It takes 10 ms to load, which most images do without.
  const { execFile } = await import('node:child_process');
  await new Promise<void>((resolve) => {
    execFile('chattr', ['+C', path.resolve(file)], () => resolve());
  });
}
