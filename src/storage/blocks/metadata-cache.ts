import type { HostFile } from '../image.ts';

/** Neighbours are read along; each is an object of its own, so not many. */
const READ_BYTES = 8 * 1024;
const MAX_CLEAN_BYTES = 8 << 20;
const MAX_DIRTY_BYTES = 4 << 20;

/** When a change may reach the file: 0 at once, 1 after the data are durable, 2 after the changes of 1 are. */
export type Stage = 0 | 1 | 2;

interface Page {
  readonly bytes: Uint8Array;
  /** Undefined: as in the file. */
  dirty: Stage | undefined;
  /** Being written: what the file has is old. */
  writing: boolean;
}

/** Pages to write, in order of their places, those that touch joined. */
export interface PageWrite {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

export interface MetadataOptions {
  /** No page may hold data of the disk besides metadata. */
  readonly pageBytes: number;
  readonly littleEndian: boolean;
  /** Called before each commit. */
  readonly prepare?: () => Promise<void>;
  /** Writes the changes of a stage, crash-safe if the format can; default: in place. */
  readonly writeBack?: (writes: readonly PageWrite[]) => Promise<void>;
}

/**
 * The tables of an image, read as they are needed, in pages. Changes stay in memory until `commit`, which orders them: a
 * table never leads to what is not durable.
 */
export class MetadataCache {
  readonly #file: HostFile;
  readonly #options: MetadataOptions;
  /** In order of use, oldest first. */
  readonly #pages = new Map<number, Page>();
  readonly #loading = new Map<number, Promise<void>>();
  #dirtyPages = 0;
  #commits = 0;
  #tail: Promise<void> = Promise.resolve();

  constructor(file: HostFile, options: MetadataOptions) {
    this.#file = file;
    this.#options = options;
  }

  u32(offsetBytes: number): number | Promise<number> {
    const page = this.#page(offsetBytes);
    const at = offsetBytes % this.#options.pageBytes;
    if (page instanceof Promise) return page.then(({ bytes }) => this.#u32(bytes, at));
    return this.#u32(page.bytes, at);
  }

  /** Numbers of more than 53 bits lose their last bits: no place in a file has so many. */
  u64(offsetBytes: number): number | Promise<number> {
    const page = this.#page(offsetBytes);
    const at = offsetBytes % this.#options.pageBytes;
    if (page instanceof Promise) return page.then(({ bytes }) => this.#u64(bytes, at));
    return this.#u64(page.bytes, at);
  }

  /** Without a DataView: to make one for each page costs more than what is read by it. */
  #u32(bytes: Uint8Array, at: number): number {
    const { littleEndian } = this.#options;
    let value = 0;
    for (let index = 0; index < 4; index++)
      value = value * 256 + (bytes[littleEndian ? at + 3 - index : at + index] ?? 0);
    return value;
  }

  #u64(bytes: Uint8Array, at: number): number {
    const [low, high] = this.#options.littleEndian ? [at, at + 4] : [at + 4, at];
    return this.#u32(bytes, high) * 2 ** 32 + this.#u32(bytes, low);
  }

  /** How many numbers from `offsetBytes` on, at most `most`, are each `step` more than the one before, as far as memory tells. */
  run64(offsetBytes: number, most: number, step: number): number {
    const { pageBytes, littleEndian } = this.#options;
    const at = offsetBytes % pageBytes;
    const page = this.#pages.get(offsetBytes - at);
    if (page === undefined) return 1;
    const view = viewOf(page.bytes);
    const first = this.#u64(page.bytes, at);
    const end = Math.min(pageBytes, at + most * 8);
    let next = at + 8;
    for (let expected = first + step; next < end; next += 8, expected += step) {
      const low = view.getUint32(littleEndian ? next : next + 4, littleEndian);
      const high = view.getUint32(littleEndian ? next + 4 : next, littleEndian);
      if (high * 2 ** 32 + low !== expected) break;
    }
    return (next - at) / 8;
  }

  async setU32(offsetBytes: number, value: number, stage: Stage): Promise<void> {
    const at = offsetBytes % this.#options.pageBytes;
    await this.#change(offsetBytes, stage, ({ bytes }) =>
      viewOf(bytes).setUint32(at, value, this.#options.littleEndian),
    );
  }

  /** As `setU32`, within the call. False: nothing is done, as the page is not in memory or a commit is due. */
  trySetU32(offsetBytes: number, value: number, stage: Stage): boolean {
    const page = this.#tryChange(offsetBytes);
    if (page === undefined) return false;
    const at = offsetBytes % this.#options.pageBytes;
    viewOf(page.bytes).setUint32(at, value, this.#options.littleEndian);
    this.#markDirty(page, stage);
    return true;
  }

  async setU64(offsetBytes: number, value: number, stage: Stage): Promise<void> {
    const at = offsetBytes % this.#options.pageBytes;
    await this.#change(offsetBytes, stage, ({ bytes }) =>
      viewOf(bytes).setBigUint64(at, BigInt(value), this.#options.littleEndian),
    );
  }

  /** As setU64 of `count` numbers, each `step` more than the one before. */
  async setRun64(
    offsetBytes: number,
    count: number,
    first: number,
    step: number,
    stage: Stage,
  ): Promise<void> {
    const { pageBytes, littleEndian } = this.#options;
    for (let done = 0; done < count; ) {
      const at = (offsetBytes + done * 8) % pageBytes;
      const here = Math.min(count - done, (pageBytes - at) / 8);
      const start = first + done * step;
      await this.#change(offsetBytes + done * 8, stage, ({ bytes }) => {
        const view = viewOf(bytes);
        for (let one = 0; one < here; one++)
          view.setBigUint64(at + one * 8, BigInt(start + one * step), littleEndian);
      });
      done += here;
    }
  }

  /** Changes bytes that may span pages. */
  async set(offsetBytes: number, bytes: Uint8Array, stage: Stage): Promise<void> {
    const { pageBytes } = this.#options;
    for (let done = 0; done < bytes.length; ) {
      const at = (offsetBytes + done) % pageBytes;
      const part = bytes.subarray(done, done + pageBytes - at);
      const change = part.length === pageBytes ? this.#replace : this.#change;
      await change.call(this, offsetBytes + done, stage, (page) => page.bytes.set(part, at));
      done += part.length;
    }
  }

  /**
   * Changes bytes, durably. Where that fails they are what they were, in the file too with the next commit: those who read
   * the image and those who have it open shall not differ about it.
   */
  async replace(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    const before = await this.get(offsetBytes, bytes.length);
    await this.set(offsetBytes, bytes, 1);
    try {
      await this.commit();
    } catch (error) {
      // What could not be written is in memory, all of it.
      await this.set(offsetBytes, before, 1);
      throw error;
    }
  }

  /** The bytes of a range, copied. What lies beside them, data perhaps, is not read along. */
  async get(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const { pageBytes } = this.#options;
    const into = new Uint8Array(lengthBytes);
    for (let done = 0; done < lengthBytes; ) {
      const at = (offsetBytes + done) % pageBytes;
      const page = await this.#page(offsetBytes + done, pageBytes);
      const part = page.bytes.subarray(at, at + Math.min(pageBytes - at, lengthBytes - done));
      into.set(part, done);
      done += part.length;
    }
    return into;
  }

  /** Makes whole pages that nothing leads to yet read as zeros, whatever the file has there. */
  clear(offsetBytes: number, lengthBytes: number, stage: Stage): void {
    const { pageBytes } = this.#options;
    for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += pageBytes) {
      const page = this.#pages.get(at) ?? this.#add(at, new Uint8Array(pageBytes));
      page.bytes.fill(0);
      this.#markDirty(page, stage);
    }
  }

  /** Fills a range with one byte, without a look at what whole pages of it hold. */
  async fill(offsetBytes: number, lengthBytes: number, byte: number, stage: Stage): Promise<void> {
    const { pageBytes } = this.#options;
    const end = offsetBytes + lengthBytes;
    for (let at = offsetBytes; at < end; ) {
      const length = Math.min(end - at, pageBytes - (at % pageBytes));
      if (length < pageBytes) await this.set(at, new Uint8Array(length).fill(byte), stage);
      else await this.#replace(at, stage, (page) => page.bytes.fill(byte));
      at += length;
    }
  }

  /** Makes what was written to the file, and then all changes up to now, durable. */
  commit(): Promise<void> {
    const next = this.#tail.then(
      () => this.#commit(),
      () => this.#commit(),
    );
    this.#tail = next;
    return next;
  }

  async #commit(): Promise<void> {
    await this.#options.prepare?.();
    const stages: PageWrite[][] = [[], [], []];
    const taken: [Page, Stage][] = [];
    for (const [offsetBytes, page] of this.#pages) {
      if (page.dirty === undefined) continue;
      stages[page.dirty]?.push({ offsetBytes, bytes: page.bytes.slice() });
      taken.push([page, page.dirty]);
      page.dirty = undefined;
      page.writing = true;
    }
    this.#dirtyPages -= taken.length;
    let isDone = false;
    try {
      for (const [stage, writes] of stages.entries()) {
        if (writes.length === 0) continue;
        if (stage > 0) await this.#file.flush();
        await this.#writeBack(joined(writes));
      }
      await this.#file.flush();
      isDone = true;
    } finally {
      this.#commits++;
      for (const [page, stage] of taken) {
        page.writing = false;
        if (!isDone) this.#markDirty(page, stage);
      }
    }
  }

  async #writeBack(writes: readonly PageWrite[]): Promise<void> {
    if (this.#options.writeBack !== undefined) return await this.#options.writeBack(writes);
    for (const { offsetBytes, bytes } of writes) await this.#file.write(offsetBytes, bytes);
  }

  /** Changes all of a page: what it holds is not looked at. */
  async #replace(offsetBytes: number, stage: Stage, change: (page: Page) => void): Promise<void> {
    const { pageBytes } = this.#options;
    if (this.#dirtyPages * pageBytes > MAX_DIRTY_BYTES) await this.commit();
    const page = this.#pages.get(offsetBytes) ?? this.#add(offsetBytes, new Uint8Array(pageBytes));
    change(page);
    this.#markDirty(page, stage);
  }

  /** `change` is called, and the page marked, before a commit can come in between. */
  async #change(offsetBytes: number, stage: Stage, change: (page: Page) => void): Promise<void> {
    if (this.#dirtyPages * this.#options.pageBytes > MAX_DIRTY_BYTES) await this.commit();
    const page = await this.#page(offsetBytes);
    const key = offsetBytes - (offsetBytes % this.#options.pageBytes);
    if (this.#pages.get(key) !== page) return await this.#change(offsetBytes, stage, change);
    change(page);
    this.#markDirty(page, stage);
  }

  #tryChange(offsetBytes: number): Page | undefined {
    const { pageBytes } = this.#options;
    if (this.#dirtyPages * pageBytes > MAX_DIRTY_BYTES) return undefined;
    return this.#pages.get(offsetBytes - (offsetBytes % pageBytes));
  }

  #markDirty(page: Page, stage: Stage): void {
    if (page.dirty === undefined) this.#dirtyPages++;
    page.dirty = page.dirty === undefined || page.dirty < stage ? stage : page.dirty;
  }

  #page(offsetBytes: number, readBytes = READ_BYTES): Page | Promise<Page> {
    const key = offsetBytes - (offsetBytes % this.#options.pageBytes);
    const page = this.#pages.get(key);
    if (page === undefined) return this.#load(key, readBytes);
    this.#pages.delete(key);
    this.#pages.set(key, page);
    return page;
  }

  async #load(key: number, readBytes: number): Promise<Page> {
    const length = Math.max(readBytes, this.#options.pageBytes);
    const start = key - (key % length);
    let loading = this.#loading.get(start);
    if (loading === undefined) {
      loading = this.#read(start, length).finally(() => this.#loading.delete(start));
      this.#loading.set(start, loading);
    }
    await loading;
    return this.#pages.get(key) ?? (await this.#load(key, readBytes));
  }

  async #read(start: number, lengthBytes: number): Promise<void> {
    const { pageBytes } = this.#options;
    const bytes = new Uint8Array(lengthBytes);
    // A page may be written and thrown out while it is read.
    for (let before = -1; before !== this.#commits; ) {
      before = this.#commits;
      await this.#file.read(start, bytes);
    }
    for (let at = 0; at < bytes.length; at += pageBytes)
      if (!this.#pages.has(start + at)) this.#add(start + at, bytes.slice(at, at + pageBytes));
    this.#evict();
  }

  #add(key: number, bytes: Uint8Array): Page {
    const page: Page = { bytes, dirty: undefined, writing: false };
    this.#pages.set(key, page);
    return page;
  }

  #evict(): void {
    const { pageBytes } = this.#options;
    let excess = this.#pages.size - this.#dirtyPages - Math.floor(MAX_CLEAN_BYTES / pageBytes);
    for (const [key, page] of this.#pages) {
      if (excess <= 0) break;
      if (page.dirty !== undefined || page.writing) continue;
      this.#pages.delete(key);
      excess--;
    }
  }
}

function viewOf({ buffer, byteOffset, length }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, length);
}

function joined(writes: PageWrite[]): PageWrite[] {
  const result: PageWrite[] = [];
  let group: PageWrite[] = [];
  let end = -1;
  for (const write of writes.sort((a, b) => a.offsetBytes - b.offsetBytes)) {
    if (write.offsetBytes !== end) {
      if (group.length > 0) result.push(join(group));
      group = [];
    }
    group.push(write);
    end = write.offsetBytes + write.bytes.length;
  }
  if (group.length > 0) result.push(join(group));
  return result;
}

function join(group: readonly PageWrite[]): PageWrite {
  const bytes = new Uint8Array(group.reduce((sum, one) => sum + one.bytes.length, 0));
  let at = 0;
  for (const one of group) {
    bytes.set(one.bytes, at);
    at += one.bytes.length;
  }
  return { offsetBytes: group[0]?.offsetBytes ?? 0, bytes };
}
