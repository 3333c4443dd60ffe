import { readFile } from 'node:fs';
import type { Server } from 'node:net';
import { type Libc, libc } from '#base/node/libc.ts';
import { promised } from '#base/node/promised.ts';
import { ImageError } from '../image.ts';

/** The byte of an image that QEMU locks while it may write it (RAW_LOCK_PERM_BASE and BLK_PERM_WRITE of QEMU's file driver). */
const QEMU_WRITER_BYTE = 101;
/** What QEMU locks: from 100 on what one does with the file, from 200 on what nobody else may; read, write and resize are bits 0, 1 and 3. */
const QEMU_BYTES = [100, 101, 103, 201, 203];
/** Those of them that say that somebody else does what we may not share, or does not share what we do. */
const QEMU_OTHERS = [101, 103, 200, 201, 203];
/** Locked by those of us who write. QEMU looks at none so far up. */
const OUR_BYTE = 1000;

/** Of fcntl(2): locks of an open file, and their kinds. */
const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const FLOCK_BYTES = 32;

/** A process that was killed a moment ago may hold its lock still: so long is it waited for, looked at so often. */
const LAST_MOMENT_MS = 250;
const LOOK_AGAIN_MS = 10;

export interface OpenFile {
  readonly path: string;
  readonly fd: number;
  readonly device: bigint;
  readonly inode: bigint;
}

/** Called when the file is closed. */
type Release = () => Promise<void>;
type Other = 'another writer' | 'QEMU';

/**
 * Keeps a second writer, of us or of QEMU, off a file, until it is released. The locks are QEMU's (raw_handle_perm_lock) and one
 * of ours on the open file, which the kernel takes back however we end.
 *
 * Where there is no fcntl(2), or the file system has no locks, we keep out each other alone: by a listening abstract socket (unix(7))
 * named after the file, which all of ring0 in this network namespace see; QEMU is seen in /proc/locks, and does not see us.
 */
export async function lockForWriting(file: OpenFile, host: Libc | null = libc()): Promise<Release> {
  if (process.platform !== 'linux') return () => Promise.resolve();
  for (let waited = 0; ; waited += LOOK_AGAIN_MS) {
    const taken = tryLocks(file, host) ?? (await trySocket(file));
    if (typeof taken === 'function') return taken;
    if (taken === 'QEMU' || waited >= LAST_MOMENT_MS) throw lockedError(file.path, taken);
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}

/** Takes the locks of an open file, which end when it is closed, or tells who has them; undefined where there are none. */
function tryLocks({ fd }: OpenFile, host: Libc | null): Release | Other | undefined {
  if (host === null) return undefined;
  const set = (kind: number, byte: number) => host.fcntl(fd, F_OFD_SETLK, flock(kind, byte)) === 0;
  const holder = (byte: number): number | undefined => {
    const lock = flock(F_WRLCK, byte);
    return host.fcntl(fd, F_OFD_GETLK, lock) === 0 ? new Int16Array(lock.buffer)[0] : undefined;
  };
  // Who had it may have ended since.
  if (!set(F_WRLCK, OUR_BYTE)) return holder(OUR_BYTE) === undefined ? undefined : 'another writer';
  const areSet = QEMU_BYTES.every((byte) => set(F_RDLCK, byte));
  if (areSet && QEMU_OTHERS.every((byte) => holder(byte) === F_UNLCK)) return async () => {};
  for (const byte of [...QEMU_BYTES, OUR_BYTE]) set(F_UNLCK, byte);
  return 'QEMU';
}

/** struct flock of fcntl(2), for one byte of the file. */
function flock(kind: number, byte: number): Uint8Array<ArrayBuffer> {
  const buffer = new ArrayBuffer(FLOCK_BYTES);
  new Int16Array(buffer)[0] = kind;
  new BigInt64Array(buffer).set([BigInt(byte), 1n], 1);
  return new Uint8Array(buffer);
}

async function trySocket({ path, device, inode }: OpenFile): Promise<Release | Other> {
  const server = await listenAt(`\0ring0-image-${device}-${inode}`, path);
  if (server === undefined) return 'another writer';
  server.unref();
  const release = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
    });
  if (!(await isOpenInQemu(device, inode))) return release;
  await release();
  return 'QEMU';
}

/** A listener at that name; undefined where there is one. */
async function listenAt(name: string, path: string): Promise<Server | undefined> {
  // Loaded here: most have no need of it.
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

function lockedError(path: string, by: Other): ImageError {
  return new ImageError(
    'locked',
    `${path}: in use by ${by}; end that first, or open it read-only`,
    { path },
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
