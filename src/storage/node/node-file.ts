import {
  type BigIntStats,
  close,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fdatasync,
  fstatSync,
  ftruncate,
  ftruncateSync,
  lstatSync,
  openSync,
  readFileSync,
  statSync,
} from 'node:fs';
import { promised } from '#base/node/promised.ts';
import { type FileOptions, type HostFile, ImageError } from '../image.ts';
import { totalLength } from '../pieces.ts';
import { DirectIo } from './direct-io.ts';
import { type DirectFile, openDirect } from './direct-open.ts';
import { holesOf, type Run } from './holes.ts';
import { IoQueue } from './io-queue.ts';
import { isOnLocalFilesystem } from './local-filesystem.ts';
import { turnOffCow } from './no-cow.ts';
import { PromptIo } from './prompt-io.ts';
import { deviceNumbers, lockForWriting } from './write-lock.ts';

/** What is taken for data at once while holes are looked for. */
const UNKNOWN_BYTES = 8 << 20;
/** Punching costs a process: small ranges are not worth it. */
const PUNCH_MIN_BYTES = 1 << 20;

export interface NodeFileOptions extends FileOptions {
  /** What it is called in errors, and by the image; default: its path. */
  readonly name?: string;
  /** Makes `flush` do nothing: a power cut may then damage what was written. */
  readonly neverFlush?: boolean;
  /** Requests pass the host's cache by (O_DIRECT), where an existing file takes that; else this is told so, and why. */
  readonly onNotDirect?: (line: string) => void;
  /** A file that is made shall not be copied on write, where its file system has a say in that. */
  readonly noCow?: boolean;
  /** Holes are not looked for where they have less in all, since that takes a process, and are data until they are found. */
  readonly soonBytes?: number;
}

/** A file or block device of the host, read and written on libuv's threads. */
export class NodeFile implements HostFile {
  readonly path: string;
  readonly readOnly: boolean;
  /** -1: closed. */
  #fd: number;
  readonly #queue: IoQueue;
  /** None where the host is far: a request might take as long as a server does. */
  readonly #prompt: PromptIo | undefined;
  readonly #unlock: () => Promise<void>;
  readonly #isDevice: boolean;
  #neverFlush = false;
  #soonBytes: number | undefined;
  #direct: DirectIo | undefined;
  /** Where a sparse file has data, until it changes; undefined: not asked yet. */
  #runs: Promise<readonly Run[] | undefined> | undefined;

  private constructor(
    path: string,
    fd: number,
    readOnly: boolean,
    isDevice: boolean,
    isNear: boolean,
    unlock: () => Promise<void>,
  ) {
    this.path = path;
    this.readOnly = readOnly;
    this.#fd = fd;
    this.#prompt = isNear ? new PromptIo(fd) : undefined;
    this.#queue = new IoQueue(fd, this.#prompt);
    this.#isDevice = isDevice;
    this.#unlock = unlock;
  }

  /** @throws {ImageError} `not-found`, `exists`, `locked`, `read-only`, `io`. */
  static async open(where: string, options: NodeFileOptions = {}): Promise<NodeFile> {
    const access = options.access ?? 'read';
    const path = options.name ?? where;
    let fd: number | undefined;
    try {
      const flags = flagsFor(where, path, access);
      const direct = await openPastCache(where, path, flags, options);
      fd = direct?.fd ?? openSync(where, flags, 0o644);
      const stats = fstatSync(fd, { bigint: true });
      const isNear = isOnLocalFilesystem(where);
      checkKind(path, stats);
      if (access === 'create-new' && options.like !== undefined) {
        const { mode, uid, gid } = statSync(options.like);
        fchownSync(fd, uid, gid);
        fchmodSync(fd, mode & 0o7777);
      }
      const wantsLock = options.lock ?? access !== 'read';
      const [device, inode] = stats.isBlockDevice() ? [0n, stats.rdev] : [stats.dev, stats.ino];
      const isNew = !stats.isBlockDevice() && (flags & constants.O_EXCL) !== 0;
      const lock = { path, fd, device, inode, isNew };
      const unlock = wantsLock ? await lockForWriting(lock) : async () => {};
      // Only a file that nobody else writes is emptied.
      if (access === 'create' && stats.isFile()) ftruncateSync(fd);
      if (access.startsWith('create') && stats.isFile() && options.noCow === true)
        await turnOffCow(where);
      const file = new NodeFile(
        path,
        fd,
        access === 'read',
        stats.isBlockDevice(),
        // A block device may be that of a server, however near its node lies.
        isNear && !stats.isBlockDevice() && direct === undefined,
        unlock,
      );
      file.#neverFlush = options.neverFlush ?? false;
      file.#soonBytes = options.soonBytes;
      if (direct !== undefined) file.#direct = file.#makeDirect(direct.blockBytes);
      return file;
    } catch (error) {
      if (fd !== undefined) closeSync(fd);
      throw hostError(error, path, 'open');
    }
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<number> {
    let done: number;
    try {
      if (into.length === 0) return 0;
      done = await (this.#direct ?? this.#queue).read(offsetBytes, into);
    } catch (error) {
      throw hostError(error, this.path, 'read', offsetBytes);
    }
    if (done < into.length) into.fill(0, done);
    return done;
  }

  async write(offsetBytes: number, from: Uint8Array): Promise<void> {
    this.#runs = undefined;
    if (from.length === 0) return;
    try {
      await (this.#direct ?? this.#queue).write(offsetBytes, from);
    } catch (error) {
      throw hostError(error, this.path, 'write', offsetBytes);
    }
  }

  tryRead(offsetBytes: number, into: readonly Uint8Array[]): boolean {
    return this.#prompt?.read(offsetBytes, into) === totalLength(into);
  }

  tryWrite(offsetBytes: number, from: readonly Uint8Array[]): boolean {
    this.#runs = undefined;
    return this.#prompt?.write(offsetBytes, from) === totalLength(from);
  }

  async flush(): Promise<void> {
    if (this.readOnly || this.#neverFlush) return;
    try {
      await promised<void>((done) => fdatasync(this.#fd, done));
    } catch (error) {
      throw hostError(error, this.path, 'flush');
    }
  }

  async size(): Promise<number> {
    try {
      if (!this.#isDevice) return fstatSync(this.#fd).size;
      return this.#deviceBytes();
    } catch (error) {
      throw hostError(error, this.path, 'size');
    }
  }

  async allocatedBytes(): Promise<number> {
    return fstatSync(this.#fd).blocks * 512;
  }

  async truncate(sizeBytes: number): Promise<void> {
    this.#runs = undefined;
    if (this.#isDevice) return await this.#checkRoom(sizeBytes);
    await this.#alone(() => this.#truncate(sizeBytes));
  }

  async #truncate(sizeBytes: number): Promise<void> {
    try {
      // To grow is quick; what is cut off may be much.
      if (this.#prompt !== undefined && sizeBytes >= fstatSync(this.#fd).size)
        ftruncateSync(this.#fd, sizeBytes);
      else await promised<void>((done) => ftruncate(this.#fd, sizeBytes, done));
    } catch (error) {
      throw hostError(error, this.path, 'truncate', sizeBytes);
    }
  }

  /** Not beside writes of parts of blocks, which write what was there around them. */
  #alone<T>(change: () => Promise<T>): Promise<T> {
    return this.#direct === undefined ? change() : this.#direct.alone(change);
  }

  /** Node has no fallocate(2): fallocate(1) of util-linux does it, for ranges that are worth a process. */
  async punch(offsetBytes: number, lengthBytes: number): Promise<boolean> {
    if (lengthBytes < PUNCH_MIN_BYTES) return false;
    this.#runs = undefined;
    return await this.#fallocate([
      '--punch-hole',
      '--offset',
      String(offsetBytes),
      '--length',
      String(lengthBytes),
    ]);
  }

  async reserve(sizeBytes: number, fromBytes = 0): Promise<boolean> {
    if (sizeBytes <= fromBytes) return true;
    if (this.#isDevice) {
      await this.#checkRoom(sizeBytes);
      return true;
    }
    this.#runs = undefined;
    const range = ['--offset', String(fromBytes), '--length', String(sizeBytes - fromBytes)];
    return await this.#fallocate(range);
  }

  async extent(
    offsetBytes: number,
    lengthBytes: number,
  ): Promise<{ data: boolean; lengthBytes: number }> {
    if (this.#isDevice) return { data: true, lengthBytes };
    this.#runs ??= holesOf(this.#fd, this.#soonBytes ?? 1);
    const waits = this.#soonBytes === undefined ? [] : [nextTurn()];
    const runs = await Promise.race([this.#runs, ...waits]);
    // More is read than need be, if it is a hole.
    if (runs === 'later') return { data: true, lengthBytes: Math.min(lengthBytes, UNKNOWN_BYTES) };
    if (runs === undefined) return { data: true, lengthBytes };
    const next = runs[firstEndingAfter(runs, offsetBytes)];
    if (next === undefined) return { data: false, lengthBytes };
    const data = next.startBytes <= offsetBytes;
    const end = data ? next.endBytes : next.startBytes;
    return { data, lengthBytes: Math.min(lengthBytes, end - offsetBytes) };
  }

  async close(): Promise<void> {
    try {
      const fd = this.#fd;
      this.#fd = -1;
      if (fd < 0) return;
      if (this.#prompt !== undefined) closeSync(fd);
      else await promised<void>((done) => close(fd, done));
    } finally {
      await this.#unlock();
    }
  }

  #makeDirect(blockBytes: number): DirectIo {
    const queue = this.#queue;
    return new DirectIo(
      {
        read: (offsetBytes, into) => queue.read(offsetBytes, into),
        write: (offsetBytes, from) => queue.write(offsetBytes, from),
        size: () => this.size(),
        truncate: (sizeBytes) => this.#truncate(sizeBytes),
      },
      blockBytes,
    );
  }

  /** A device has the size that it has. */
  async #checkRoom(sizeBytes: number): Promise<void> {
    const there = await this.size();
    if (sizeBytes <= there) return;
    throw new ImageError(
      'no-space',
      `${this.path}: the device holds ${there} bytes, and ${sizeBytes} are needed`,
      { path: this.path },
    );
  }

  /** stat(2) says 0 for a block device; sysfs counts sectors of 512 bytes whatever the device's own are. */
  #deviceBytes(): number {
    const { rdev } = fstatSync(this.#fd, { bigint: true });
    const { major, minor } = deviceNumbers(rdev);
    return Number(readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'utf8')) * 512;
  }

  #fallocate(args: readonly string[]): Promise<boolean> {
    const run = async () => {
      const { spawn } = await import('node:child_process');
      return await new Promise<boolean>((resolve) => {
        // The file goes by its descriptor: its name may have moved on.
        const child = spawn('fallocate', [...args, '/dev/fd/3'], {
          stdio: ['ignore', 'ignore', 'ignore', this.#fd],
        });
        child.once('error', () => resolve(false));
        child.once('exit', (status) => resolve(status === 0));
      });
    };
    return this.#alone(run);
  }
}

/** Undefined when that is not asked, or not to be had. */
async function openPastCache(
  where: string,
  path: string,
  flags: number,
  { access, onNotDirect }: NodeFileOptions,
): Promise<DirectFile | undefined> {
  if (onNotDirect === undefined || access === 'create' || access === 'create-new') return undefined;
  const direct = await openDirect(where, flags);
  if (direct === undefined)
    onNotDirect(
      `${path}: its file system does not take O_DIRECT; for this file, cache=none is cache=writeback`,
    );
  return direct;
}

function nextTurn(): Promise<'later'> {
  return new Promise((resolve) => {
    setImmediate(() => resolve('later'));
  });
}

function firstEndingAfter(runs: readonly Run[], offsetBytes: number): number {
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const run = runs[middle];
    if (run !== undefined && run.endBytes <= offsetBytes) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** O_EXCL without O_CREAT keeps off block devices that the host itself uses (open(2)). */
function flagsFor(where: string, path: string, access: NonNullable<FileOptions['access']>): number {
  const flags = flagsOf(access);
  if (access === 'create-new') return flags;
  const stats = statSync(where, { bigint: true, throwIfNoEntry: false });
  // To open a pipe would wait for its other end.
  if (stats !== undefined) checkKind(path, stats);
  if (access === 'read') return flags;
  if (stats?.isBlockDevice() === true) return constants.O_RDWR | constants.O_EXCL;
  // Nothing has this name, not even a link that leads nowhere.
  const isNew = access === 'create' && lstatSync(where, { throwIfNoEntry: false }) === undefined;
  return isNew ? flags | constants.O_EXCL : flags;
}

function flagsOf(access: NonNullable<FileOptions['access']>): number {
  switch (access) {
    case 'read':
      return constants.O_RDONLY;
    case 'write':
      return constants.O_RDWR;
    case 'create':
      return constants.O_RDWR | constants.O_CREAT;
    default:
      return constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
  }
}

function checkKind(path: string, stats: BigIntStats): void {
  if (stats.isFile() || stats.isBlockDevice()) return;
  throw noImage(path, stats.isDirectory() ? 'a directory' : 'neither a file nor a block device');
}

function noImage(path: string, what: string, cause?: unknown): ImageError {
  return new ImageError(
    'bad-format',
    `${path}: is ${what}; give a disk image`,
    { path },
    { cause },
  );
}

function hostError(error: unknown, path: string, what: string, offsetBytes?: number): ImageError {
  if (error instanceof ImageError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const at = offsetBytes === undefined ? { path } : { path, offsetBytes };
  const options = { cause: error };
  switch (code) {
    case 'ENOENT':
      return new ImageError('not-found', `${path}: no such file`, at, options);
    case 'EEXIST':
      return new ImageError('exists', `${path}: is there already`, at, options);
    case 'EISDIR':
      return noImage(path, 'a directory', error);
    case 'EBUSY':
      return new ImageError(
        'locked',
        `${path}: in use by the host, mounted perhaps; end that first, or open it read-only`,
        at,
        options,
      );
    case 'ENOSPC':
    case 'EDQUOT':
      return new ImageError('no-space', `${path}: the host's disk is full`, at, options);
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new ImageError('read-only', `${path}: no permission to ${what} it`, at, options);
    default:
      return new ImageError('io', `${path}: ${what}: ${message}`, at, options);
  }
}
