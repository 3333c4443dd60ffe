import { chmodSync } from 'node:fs';
import path from 'node:path';
import { libc } from '#base/node/libc.ts';
import {
  type FileOptions,
  type HostFile,
  ImageError,
  type Replaced,
  type StorageHost,
} from '../image.ts';
import { type NewFile, newFileFor } from './new-file.ts';
import { NodeFile, type NodeFileOptions } from './node-file.ts';
import { realPath, statsOf } from './paths.ts';

/** Each holds a descriptor, and a disk of many parts may have thousands. */
const MOST_UNNAMED = 64;

interface Staged {
  readonly file: NewFile;
  /** The file that will be replaced, held so that nobody writes to it meanwhile. */
  readonly old: NodeFile | undefined;
  readonly mode: number | undefined;
}

/**
 * Files that are made through it have no name, or a hidden one, until `commit` puts them in their places; `abort`, and any end
 * of the process, but for hidden ones a kill, removes them. Everybody else goes on to see what was there. Block devices are written in place.
 */
export class StagingHost implements StorageHost {
  readonly codec: StorageHost['codec'];
  readonly #host: StorageHost;
  /** By the real path of their place. */
  readonly #staged = new Map<string, Staged>();
  readonly #flushes: boolean;
  readonly #noCow: boolean;

  /**
   * Without `flushes`, nothing waits for the disk: after a power cut the new files may be damaged. `noCow` as with
   * NodeFileOptions.
   */
  constructor(host: StorageHost, options: { readonly flushes: boolean; readonly noCow?: boolean }) {
    this.codec = host.codec;
    this.#host = host;
    this.#flushes = options.flushes;
    this.#noCow = options.noCow ?? false;
    process.on('exit', this.#removeAll);
  }

  async openFile(name: string, options: FileOptions = {}): Promise<HostFile> {
    const place = realPlace(name);
    if (options.access === 'create' || options.access === 'create-new')
      return await this.#create(name, place, options);
    const staged = this.#staged.get(place);
    if (staged === undefined) return await this.#host.openFile(name, options);
    return await NodeFile.open(staged.file.path, this.#hidden(name, options));
  }

  async replace(name: string, bytes: Uint8Array): Promise<Replaced> {
    if (!this.#staged.has(realPlace(name))) return await this.#host.replace(name, bytes);
    const file = await this.openFile(name, { access: 'create' });
    await file.write(0, bytes);
    return { file, settle: async () => {} };
  }

  async remove(name: string): Promise<void> {
    const place = realPlace(name);
    const staged = this.#staged.get(place);
    if (staged === undefined) return await this.#host.remove(name);
    staged.file.remove();
    await staged.old?.close();
    this.#staged.delete(place);
  }

  resolve(imagePath: string, name: string): string {
    return this.#host.resolve(imagePath, name);
  }

  async identity(name: string): Promise<string> {
    return realPlace(name);
  }

  list(name: string): Promise<readonly string[]> {
    return this.#host.list(name);
  }

  nowMs(): number {
    return this.#host.nowMs();
  }

  /** Puts the new files in their places. */
  async commit(): Promise<void> {
    for (const [place, { file, old, mode }] of this.#staged) {
      if (mode !== undefined) chmodSync(file.path, mode);
      file.moveTo(place);
      this.#staged.delete(place);
      await old?.close();
    }
    process.off('exit', this.#removeAll);
  }

  /** Removes what was not committed. */
  async abort(): Promise<void> {
    for (const { file, old } of this.#staged.values()) {
      file.remove();
      await old?.close();
    }
    this.#staged.clear();
    process.off('exit', this.#removeAll);
  }

  async #create(name: string, place: string, options: FileOptions): Promise<NodeFile> {
    const staged = this.#staged.get(place);
    if (staged !== undefined)
      return await NodeFile.open(staged.file.path, this.#hidden(name, options));
    if (name.endsWith('/'))
      throw new ImageError('bad-format', `${name}: names a folder; name a file`, { path: name });
    const info = statsOf(place);
    if (info !== undefined && (!info.isFile() || options.access === 'create-new'))
      return await NodeFile.open(name, this.#with(name, options));
    const old =
      info === undefined ? undefined : await NodeFile.open(place, { access: 'write', name });
    const file = newFileFor(place, this.#staged.size < MOST_UNNAMED ? libc() : null);
    try {
      const opened = await NodeFile.open(file.path, this.#hidden(name, { access: file.access }));
      this.#staged.set(place, {
        file,
        old,
        mode: info === undefined ? undefined : info.mode & 0o7777,
      });
      return opened;
    } catch (error) {
      file.remove();
      await old?.close();
      throw error;
    }
  }

  /** Nobody else knows of a temporary file: it needs no lock. */
  #hidden(name: string, options: FileOptions): NodeFileOptions {
    return this.#with(name, { ...options, lock: false });
  }

  #with(name: string, options: FileOptions): NodeFileOptions {
    const isFlushed = this.#flushes;
    return {
      ...options,
      name,
      neverFlush: !isFlushed,
      noCow: this.#noCow,
      isPatient: true,
      isFlushed,
    };
  }

  readonly #removeAll = (): void => {
    for (const { file } of this.#staged.values()) file.remove();
  };
}

/** Where `name` leads, also when there is no file yet. */
function realPlace(name: string): string {
  const full = path.resolve(name);
  const whole = realPath(full);
  if (whole !== undefined) return whole;
  const folder = path.dirname(full);
  return path.join(realPath(folder) ?? folder, path.basename(full));
}
