import {
  type FileOptions,
  type HostFile,
  ImageError,
  type Replaced,
  type StorageHost,
} from './image.ts';
import { nodeCodec } from './node/node-codec.ts';

const PAGE_BYTES = 4096;

/** A sparse file in memory. */
export class MemoryFile implements HostFile {
  readonly path: string;
  readonly readOnly: boolean = false;
  /** A page never changes, but is replaced: clones share them. */
  #pages = new Map<number, Uint8Array>();
  #sizeBytes = 0;

  constructor(path = 'memory') {
    this.path = path;
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<number> {
    await Promise.resolve();
    return this.#copy(offsetBytes, into);
  }

  #copy(offsetBytes: number, into: Uint8Array): number {
    into.fill(0);
    const length = Math.max(0, Math.min(into.length, this.#sizeBytes - offsetBytes));
    for (const { page, at, done, count } of pieces(offsetBytes, length)) {
      const bytes = this.#pages.get(page);
      if (bytes !== undefined) into.set(bytes.subarray(at, at + count), done);
    }
    return length;
  }

  async write(offsetBytes: number, from: Uint8Array): Promise<void> {
    const copy = from.slice();
    await Promise.resolve();
    this.apply(offsetBytes, copy);
  }

  tryRead(offsetBytes: number, into: readonly Uint8Array[]): boolean {
    let at = offsetBytes;
    for (const piece of into) {
      this.#copy(at, piece);
      at += piece.length;
    }
    return true;
  }

  tryWrite(offsetBytes: number, from: readonly Uint8Array[]): boolean {
    let at = offsetBytes;
    for (const piece of from) {
      this.apply(at, piece);
      at += piece.length;
    }
    return true;
  }

  /** `write` without a wait. */
  apply(offsetBytes: number, from: Uint8Array): void {
    for (const { page, at, done, count } of pieces(offsetBytes, from.length)) {
      const bytes = this.#pages.get(page)?.slice() ?? new Uint8Array(PAGE_BYTES);
      bytes.set(from.subarray(done, done + count), at);
      this.#pages.set(page, bytes);
    }
    this.#sizeBytes = Math.max(this.#sizeBytes, offsetBytes + from.length);
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  size(): Promise<number> {
    return Promise.resolve(this.#sizeBytes);
  }

  allocatedBytes(): Promise<number> {
    return Promise.resolve(this.#pages.size * PAGE_BYTES);
  }

  truncate(sizeBytes: number): Promise<void> {
    this.resizeTo(sizeBytes);
    return Promise.resolve();
  }

  /** `truncate` without a wait. */
  resizeTo(sizeBytes: number): void {
    for (const page of this.#pages.keys()) {
      if (page * PAGE_BYTES >= sizeBytes) this.#pages.delete(page);
      else if ((page + 1) * PAGE_BYTES > sizeBytes)
        this.#fillZeros(page, sizeBytes - page * PAGE_BYTES, PAGE_BYTES);
    }
    this.#sizeBytes = sizeBytes;
  }

  #fillZeros(page: number, from: number, to: number): void {
    const bytes = this.#pages.get(page);
    if (bytes !== undefined) this.#pages.set(page, bytes.slice().fill(0, from, to));
  }

  async punch(offsetBytes: number, lengthBytes: number): Promise<boolean> {
    await Promise.resolve();
    this.clear(offsetBytes, lengthBytes);
    return true;
  }

  /** `punch` without a wait. */
  clear(offsetBytes: number, lengthBytes: number): void {
    const length = Math.max(0, Math.min(lengthBytes, this.#sizeBytes - offsetBytes));
    for (const { page, at, count } of pieces(offsetBytes, length)) {
      if (count === PAGE_BYTES) this.#pages.delete(page);
      else this.#fillZeros(page, at, at + count);
    }
  }

  reserve(sizeBytes: number): Promise<boolean> {
    this.#sizeBytes = Math.max(this.#sizeBytes, sizeBytes);
    return Promise.resolve(true);
  }

  extent(
    offsetBytes: number,
    lengthBytes: number,
  ): Promise<{ data: boolean; lengthBytes: number }> {
    const isData = (offset: number): boolean => this.#pages.has(Math.floor(offset / PAGE_BYTES));
    const data = isData(offsetBytes);
    let end = (Math.floor(offsetBytes / PAGE_BYTES) + 1) * PAGE_BYTES;
    while (end < offsetBytes + lengthBytes && isData(end) === data) end += PAGE_BYTES;
    return Promise.resolve({ data, lengthBytes: Math.min(lengthBytes, end - offsetBytes) });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  clone(): MemoryFile {
    const copy = new MemoryFile(this.path);
    copy.#sizeBytes = this.#sizeBytes;
    copy.#pages = new Map(this.#pages);
    return copy;
  }
}

function* pieces(
  offsetBytes: number,
  lengthBytes: number,
): Generator<{ page: number; at: number; done: number; count: number }> {
  for (let done = 0; done < lengthBytes; ) {
    const page = Math.floor((offsetBytes + done) / PAGE_BYTES);
    const at = (offsetBytes + done) % PAGE_BYTES;
    const count = Math.min(PAGE_BYTES - at, lengthBytes - done);
    yield { page, at, done, count };
    done += count;
  }
}

/** A host whose files lie in memory, by path. */
export class MemoryHost implements StorageHost {
  readonly codec = nodeCodec;
  readonly files = new Map<string, MemoryFile>();

  async openFile(path: string, options: FileOptions = {}): Promise<HostFile> {
    await Promise.resolve();
    const access = options.access ?? 'read';
    let file = this.files.get(path);
    if (access === 'create-new' && file !== undefined)
      throw new ImageError('exists', `${path}: is there already`, { path });
    if (file === undefined) {
      if (access === 'read' || access === 'write')
        throw new ImageError('not-found', `${path}: no such file`, { path });
      file = new MemoryFile(path);
      this.files.set(path, file);
    }
    if (access === 'create') file.resizeTo(0);
    return file;
  }

  async replace(path: string, bytes: Uint8Array): Promise<Replaced> {
    const file = await this.openFile(path, { access: 'create' });
    await file.write(0, bytes);
    return { file, settle: async () => {} };
  }

  remove(path: string): Promise<void> {
    this.files.delete(path);
    return Promise.resolve();
  }

  resolve(imagePath: string, name: string): string {
    return name.startsWith('/') ? name : imagePath.replace(/[^/]*$/, '') + name;
  }

  identity(path: string): Promise<string> {
    return Promise.resolve(path);
  }

  list(path: string): Promise<readonly string[]> {
    const folder = this.resolve(path, '');
    const inside = [...this.files.keys()].filter((file) => this.resolve(file, '') === folder);
    return Promise.resolve(inside.map((file) => file.slice(folder.length)).sort());
  }

  nowMs(): number {
    return 1_700_000_000_000;
  }
}

/** Bytes that depend on nothing but `seed`, and do not compress. */
export function noise(lengthBytes: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let index = 0; index < lengthBytes; index++) {
    // xorshift32 (Marsaglia 2003)
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[index] = state;
  }
  return bytes;
}
