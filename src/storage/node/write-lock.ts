import { readFile } from 'node:fs/promises';
import type { Server } from 'node:net';
import { ImageError } from '../image.ts';

/** The byte of an image that QEMU locks while it may write it (RAW_LOCK_PERM_BASE and BLK_PERM_WRITE of QEMU's file driver). */
const QEMU_WRITER_BYTE = 101;

/**
 * Keeps a second writer off the file that `device` and `inode` name, until `release`. Node has no fcntl locks, so the
 * lock is a listening abstract socket (unix(7)) named after the file: the kernel takes it back however we end. It is seen
 * by all of ring0 in this network namespace. What QEMU has open is found in /proc/locks.
 */
export async function lockForWriting(
  path: string,
  device: bigint,
  inode: bigint,
): Promise<() => Promise<void>> {
  if (process.platform !== 'linux') return () => Promise.resolve();
  // Loaded here: who only reads has no need of it.
  const { createServer } = await import('node:net');
  const server = createServer((socket) => socket.destroy());
  await listen(server, `\0ring0-image-${device}-${inode}`, path);
  server.unref();
  const release = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
    });
  if (await isOpenInQemu(device, inode)) {
    await release();
    throw lockedError(path, 'QEMU');
  }
  return release;
}

function listen(server: Server, name: string, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') reject(lockedError(path, 'another writer'));
      else
        reject(
          new ImageError(
            'io',
            `${path}: cannot be locked: ${error.message}`,
            { path },
            { cause: error },
          ),
        );
    });
    server.listen({ path: name, exclusive: true }, resolve);
  });
}

function lockedError(path: string, by: string): ImageError {
  return new ImageError(
    'locked',
    `${path}: in use by ${by}; end that first, or open it read-only`,
    {
      path,
    },
  );
}

async function isOpenInQemu(device: bigint, inode: bigint): Promise<boolean> {
  const text = await readFile('/proc/locks', 'utf8').catch(() => '');
  const { major, minor } = deviceNumbers(device);
  const hex = (value: bigint): string => value.toString(16).padStart(2, '0');
  const file = `${hex(major)}:${hex(minor)}:${inode}`;
  return text.split('\n').some((line) => {
    // 1: OFDLCK ADVISORY READ -1 08:01:1234 100 101
    const fields = line.trim().split(/\s+/);
    const at = fields.indexOf(file);
    if (at < 0 || fields[1] !== 'OFDLCK') return false;
    const [first, last] = [Number(fields[at + 1]), fields[at + 2]];
    return first <= QEMU_WRITER_BYTE && (last === 'EOF' || Number(last) >= QEMU_WRITER_BYTE);
  });
}

/** Linux's dev_t: 12 bits of major above 8 bits of minor, the minor's other bits above both (makedev(3)). */
export function deviceNumbers(device: bigint): { major: bigint; minor: bigint } {
  return {
    major: (device >> 8n) & 0xfffn,
    minor: (device & 0xffn) | ((device >> 12n) & 0xfff00n),
  };
}
