import { createRequire } from 'node:module';

/** Modes of `fallocate`. */
export const FALLOC_FL_KEEP_SIZE = 0x1;
export const FALLOC_FL_PUNCH_HOLE = 0x2; // with FALLOC_FL_KEEP_SIZE alone
/** Of `sync_file_range`: writing begins, and its end is not waited for. */
export const SYNC_FILE_RANGE_WRITE = 0x2;

/** Of `madvise`: large pages, where the host has them. */
export const MADV_HUGEPAGE = 14;

/** Of `linkat`: paths from the working directory on; the file that a link leads to. */
export const AT_FDCWD = -100;
export const AT_SYMLINK_FOLLOW = 0x400;

/** What of the host's C library Node has no call for. Results and arguments are those of Linux's manual pages; -1: it failed. */
export interface Libc {
  lseek(fd: number, offset: number, whence: number): number;
  /** With a pointer, as the commands for locks have. */
  fcntl(fd: number, command: number, argument: Uint8Array): number;
  /** With a pointer. */
  ioctl(fd: number, request: number, argument: Uint8Array): number;
  fallocate(fd: number, mode: number, offset: number, length: number): number;
  madvise(memory: Uint8Array, length: number, advice: number): number;
  sync_file_range(fd: number, offset: number, length: number, flags: number): number;
  linkat(fromFolder: number, from: string, toFolder: number, to: string, flags: number): number;
  /** `fallocate` on a thread of libuv, for what may have much to do. */
  fallocateAside(fd: number, mode: number, offset: number, length: number): Promise<number>;
}

/** What we use of koffi, a library that calls functions of C. */
interface Koffi {
  load(file: null): { func(prototype: string): NativeFunction };
}

interface NativeFunction {
  (...args: readonly unknown[]): number;
  async(...args: readonly unknown[]): void;
}

/** Its machine code alone, which loads in a millisecond: all of it takes 15. For glibc, as our Node is. */
const KOFFI = '@koromix/koffi-linux-x64/linux_x64/koffi.node';

let loaded: Libc | null | undefined;

/** Null where the package is not there, or not for this host. */
export function libc(): Libc | null {
  if (loaded === undefined) loaded = process.platform === 'linux' ? load() : null;
  return loaded;
}

function load(): Libc | null {
  let koffi: Koffi;
  try {
    koffi = createRequire(import.meta.url)(KOFFI);
  } catch {
    return null;
  }
  const library = koffi.load(null);
  const fallocate = library.func(
    'int fallocate64(int fd, int mode, int64_t offset, int64_t length)',
  );
  return {
    lseek: library.func('int64_t lseek64(int fd, int64_t offset, int whence)'),
    fcntl: library.func('int fcntl64(int fd, int command, void *argument)'),
    ioctl: library.func('int ioctl(int fd, unsigned long request, void *argument)'),
    fallocate,
    madvise: library.func('int madvise(void *memory, size_t length, int advice)'),
    sync_file_range: library.func(
      'int sync_file_range(int fd, int64_t offset, int64_t length, unsigned int flags)',
    ),
    linkat: library.func(
      'int linkat(int olddirfd, const char *oldpath, int newdirfd, const char *newpath, int flags)',
    ),
    fallocateAside: (...args) =>
      new Promise((resolve, reject) => {
        fallocate.async(...args, (error: Error | null, result: number) => {
          if (error === null) resolve(result);
          else reject(error);
        });
      }),
  };
}
