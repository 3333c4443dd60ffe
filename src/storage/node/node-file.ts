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
import { getSystemErrorMessage } from 'node:util';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, libc } from '#base/node/libc.ts';
import { promised } from '#base/node/promised.ts';
import { type FileOptions, type HostFile, ImageError } from '../image.ts';
import { totalLength } from '../pieces.ts';
import { DirectIo } from './direct-io.ts';
import { type DirectFile, openDirect } from './direct-open.ts';
import { filesystemOf } from './filesystem.ts';
import { type FileExtent, Holes } from './holes.ts';
import { IoQueue } from './io-queue.ts';
import { turnOffCow } from './no-cow.ts';
import { PromptIo } from './prompt-io.ts';
import { WriteAdvice } from './write-advice.ts';
import { deviceNumbers, lockForWriting, type OpenFile } from './write-lock.ts';

const PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

/** What was to be done with a file, in errors. */
const ACTION = { read: 'open', write: 'open', create: 'create', 'create-new': 'create' } as const;

export interface NodeFileOptions extends FileOptions {
  /** What it is called in errors, and by the image; default: its path. */
  readonly name?: string;
  /** Makes `flush` do nothing: a power cut may then damage what was written. */
  readonly neverFlush?: boolean;
  /** Requests pass the host's cache by (O_DIRECT), where an existing file takes that; else this is told so, and why. */
  readonly onNotDirect?: (line: string) => void;
  /** A file that is made shall not be copied on write, where its file system has a say in that. */
  readonly noCow?: boolean;
  /** The thread has nothing else to do than wait for what it writes, which it does itself then. */
  readonly isPatient?: boolean;
  /** With `isPatient`: a flush will follow soon on what is written. */
  readonly isFlushed?: boolean;
}

interface Opened {
  readonly path: string;
  readonly fd: number;
  readonly readOnly: boolean;
  readonly isDevice: boolean;
  readonly isPatient: boolean;
  readonly neverFlush: boolean;
  readonly prompt: PromptIo | undefined;
  readonly unlock: () => Promise<void>;
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
  readonly #holes = new Holes();
  readonly #neverFlush: boolean;
  #direct: DirectIo | undefined;
  /** The last call of fallocate(2): the host does one at a time for a file, and koffi 256 in all. */
  #fallocated: Promise<unknown> = Promise.resolve();

  private constructor(opened: Opened) {
    this.path = opened.path;
    this.readOnly = opened.readOnly;
    this.#fd = opened.fd;
    this.#prompt = opened.prompt;
    this.#queue = new IoQueue(opened.fd, opened.prompt, opened.isPatient);
    this.#isDevice = opened.isDevice;
    this.#neverFlush = opened.neverFlush;
    this.#unlock = opened.unlock;
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
      const isDevice = stats.isBlockDevice();
      const filesystem = filesystemOf(where);
      checkKind(path, stats);
      if (access === 'create-new' && options.like !== undefined) {
        const { mode, uid, gid } = statSync(options.like);
        fchownSync(fd, uid, gid);
        fchmodSync(fd, mode & 0o7777);
      }
      const wantsLock = options.lock ?? access !== 'read';
      const [device, inode] = isDevice ? [0n, stats.rdev] : [stats.dev, stats.ino];
      const lock = { path, fd, device, inode };
      const unlock = wantsLock ? await lockNamed(where, lock, stats) : async () => {};
      // Only a file that nobody else writes is emptied.
      if (access === 'create' && stats.isFile()) ftruncateSync(fd);
      if (access.startsWith('create') && stats.isFile() && options.noCow === true) turnOffCow(fd);
      // A block device may be that of a server, however near its node lies.
      const isPrompt = filesystem.isLocal && !isDevice && direct === undefined;
      const file = new NodeFile({
        path,
        fd,
        readOnly: access === 'read',
        isDevice,
        isPatient: options.isPatient ?? false,
        neverFlush: options.neverFlush ?? false,
        prompt: isPrompt ? promptIo(fd, filesystem.wantsRoom, options) : undefined,
        unlock,
      });
      if (direct !== undefined) file.#direct = file.#makeDirect(direct.blockBytes);
      return file;
    } catch (error) {
      if (fd !== undefined) closeSync(fd);
      throw hostError(error, path, ACTION[access]);
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
    if (this.#isDevice) return await this.#checkRoom(sizeBytes);
    await this.#alone(() => this.#truncate(sizeBytes));
    this.#holes.forget();
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

  async punch(offsetBytes: number, lengthBytes: number): Promise<boolean> {
    return await this.#fallocate(PUNCH, offsetBytes, lengthBytes);
  }

  async reserve(sizeBytes: number, fromBytes = 0): Promise<boolean> {
    if (sizeBytes <= fromBytes) return true;
    if (!this.#isDevice) return await this.#fallocate(0, fromBytes, sizeBytes - fromBytes);
    await this.#checkRoom(sizeBytes);
    return true;
  }

  async extent(offsetBytes: number, lengthBytes: number): Promise<FileExtent> {
    return this.#isDevice
      ? { data: true, lengthBytes }
      : this.#holes.extent(this.#fd, offsetBytes, lengthBytes);
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

  /** False where the host cannot. */
  async #fallocate(mode: number, offsetBytes: number, lengthBytes: number): Promise<boolean> {
    const host = libc();
    if (host === null) return false;
    const result = this.#fallocated.then(() =>
      this.#alone(() => host.fallocateAside(this.#fd, mode, offsetBytes, lengthBytes)),
    );
    this.#fallocated = result.catch(() => {});
    const isDone = (await result) === 0;
    this.#holes.forget();
    return isDone;
  }
}

function promptIo(fd: number, wantsRoom: boolean, options: NodeFileOptions): PromptIo {
  if (options.isPatient !== true) return new PromptIo(fd);
  const isWritten = (options.access ?? 'read') !== 'read';
  const advice = { room: wantsRoom, flush: options.isFlushed ?? false };
  return new PromptIo(fd, () => 0, isWritten ? new WriteAdvice(fd, advice) : undefined);
}

/** While a lock is waited for, another file may take the name: what is written to the old one would be lost. */
async function lockNamed(
  where: string,
  lock: OpenFile,
  stats: BigIntStats,
): Promise<() => Promise<void>> {
  const unlock = await lockForWriting(lock);
  const now = statSync(where, { bigint: true, throwIfNoEntry: false });
  if (stats.isBlockDevice() || (now?.dev === stats.dev && now.ino === stats.ino)) return unlock;
  await unlock();
  const { path } = lock;
  throw new ImageError('locked', `${path}: was replaced while it was opened; try again`, { path });
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
  if (stats.size > Number.MAX_SAFE_INTEGER) throw noImage(path, 'larger than 8 PiB');
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

function hostError(error: unknown, name: string, what: string, offsetBytes?: number): ImageError {
  if (error instanceof ImageError) return error;
  const { code, errno, message } = error as NodeJS.ErrnoException;
  const path = name === '' ? "''" : name;
  const at = offsetBytes === undefined ? { path } : { path, offsetBytes };
  const options = { cause: error };
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR': {
      const missing = what === 'create' ? 'there is no such folder; make it' : 'no such file';
      return new ImageError('not-found', `${path}: ${missing}`, at, options);
    }
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
      return new ImageError(
        'io',
        `${path}: ${what}: ${errno === undefined ? message : getSystemErrorMessage(errno)}`,
        at,
        options,
      );
  }
}
