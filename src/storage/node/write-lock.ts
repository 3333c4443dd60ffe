import { readFile } from 'node:fs';
import type { Server } from 'node:net';
import { promised } from '#base/node/promised.ts';
import { ImageError } from '../image.ts';

/** The byte of an image that QEMU locks while it may write it (RAW_LOCK_PERM_BASE and BLK_PERM_WRITE of QEMU's file driver). */
const QEMU_WRITER_BYTE = 101;
/** A process that was killed a moment ago may hold its lock still: so long is it waited for, looked at so often. */
const LAST_MOMENT_MS = 250;
const LOOK_AGAIN_MS = 10;
/** Exit statuses of the script below. */
const FREE = 0;
const TAKEN = 3;

/**
 * Locks descriptor 3 as QEMU does (raw_handle_perm_lock): bytes from 100 on say what one does with the file, those from 200 on what
 * nobody else may; read, write and resize are bits 0, 1 and 3. 37 and 36 are F_OFD_SETLK and F_OFD_GETLK, 1 and 2 F_WRLCK and
 * F_UNLCK of fcntl(2).
 */
const QEMU_LOCKS = `
  sub at { return pack('ssx4qqix4', $_[0], 0, $_[1], 1, 0) }
  open(my $file, '+<&=', 3) or exit 1;
  for my $byte (100, 101, 103, 201, 203) { fcntl($file, 37, at(0, $byte)) or exit 1 }
  for my $byte (101, 103, 200, 201, 203) {
    my $lock = at(1, $byte);
    fcntl($file, 36, $lock) or exit 1;
    exit ${TAKEN} if unpack('s', $lock) != 2;
  }`;

export interface OpenFile {
  readonly path: string;
  readonly fd: number;
  readonly device: bigint;
  readonly inode: bigint;
  /** Whether it was made just now: QEMU does not know it. */
  readonly isNew: boolean;
}

/**
 * Keeps a second writer off a file, until `release`. Node has no fcntl locks, so among ourselves the lock is a listening abstract
 * socket (unix(7)) named after the file: the kernel takes it back however we end. It is seen by all of ring0 in this network
 * namespace. For QEMU, Perl takes its locks on our open file, which last as long as we have it open; without Perl we see QEMU in
 * /proc/locks (for which the kernel waits milliseconds), and it does not see us.
 */
export async function lockForWriting(file: OpenFile): Promise<() => Promise<void>> {
  const { path, device, inode } = file;
  if (process.platform !== 'linux') return () => Promise.resolve();
  const name = `\0ring0-image-${device}-${inode}`;
  let taken = await listenAt(name, path);
  for (let waited = 0; taken === undefined; waited += LOOK_AGAIN_MS) {
    if (waited >= LAST_MOMENT_MS) throw lockedError(path, 'another writer');
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    taken = await listenAt(name, path);
  }
  const server = taken;
  server.unref();
  const release = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
    });
  const isTaken =
    !file.isNew && ((await isTakenByQemu(file.fd)) ?? (await isOpenInQemu(device, inode)));
  if (!isTaken) return release;
  await release();
  throw lockedError(path, 'QEMU');
}

/** Takes QEMU's locks; whether somebody else has them. Undefined without Perl, or locks of the file system. */
async function isTakenByQemu(fd: number): Promise<boolean | undefined> {
  const { spawn } = await import('node:child_process');
  const perl = spawn('perl', ['-e', QEMU_LOCKS], { stdio: ['ignore', 'ignore', 'ignore', fd] });
  return await new Promise((resolve) => {
    perl.once('error', () => resolve(undefined));
    perl.once('exit', (status) =>
      resolve(status === FREE || status === TAKEN ? status === TAKEN : undefined),
    );
  });
}

/** A listener at that name; undefined where there is one. */
async function listenAt(name: string, path: string): Promise<Server | undefined> {
  // Loaded here: who only reads has no need of it.
  const { createServer } = await import('node:net');
  const server = createServer((socket) => socket.destroy());
  return await new Promise((resolve, reject) => {
    server.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
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
    server.listen({ path: name, exclusive: true }, () => resolve(server));
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
  const text = await promised<string>((done) => readFile('/proc/locks', 'utf8', done)).catch(
    () => '',
  );
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
