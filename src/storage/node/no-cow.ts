import { type Libc, libc } from '#base/node/libc.ts';

/** Of ioctl(2), FS_IOC_GETFLAGS(2const): the flags of a file, in 4 bytes. */
const FS_IOC_GETFLAGS = 0x8008_6601;
const FS_IOC_SETFLAGS = 0x4008_6602;
const FS_NOCOW_FL = 0x0080_0000;

/** Marks an empty file as one that is not copied on write. Where that cannot be, nothing happens, as with QEMU. */
export function turnOffCow(fd: number, host: Pick<Libc, 'ioctl'> | null = libc()): void {
  const flags = new Uint32Array(2);
  const bytes = new Uint8Array(flags.buffer);
  if (host === null || host.ioctl(fd, FS_IOC_GETFLAGS, bytes) < 0) return;
  flags[0] = (flags[0] ?? 0) | FS_NOCOW_FL;
  host.ioctl(fd, FS_IOC_SETFLAGS, bytes);
}
