import { type Bitmap, type BitmapRun, type BitmapStore, ImageError } from '../../image.ts';
import {
  ALL_ONES,
  type BitmapEntry,
  encodeDirectory,
  FLAG_AUTO,
  FLAG_IN_USE,
  fromTableEntry,
  type Region,
  readBitmaps,
  setBits,
} from './bitmaps.ts';
import * as q from './layout.ts';
import type { Metadata } from './metadata.ts';

// QEMU's limits.
const MAX_BITMAPS = 65535;
const MAX_NAME_BYTES = 1023;
const MIN_GRANULARITY = 512;
const MAX_GRANULARITY = 2 ** 31;
const MAX_BITMAP_BYTES = 512 << 20;
const [DEFAULT_MIN, DEFAULT_MAX] = [4096, 65536];

/** A bitmap in memory: its table, and the clusters of bits that differ from those in the file. */
interface Loaded {
  readonly entry: BitmapEntry;
  /** 0: no bit is set; ALL_ONES: all are; else where the bits lie. */
  readonly table: number[];
  readonly fresh: Map<number, Uint8Array>;
  /** Whether the table in the file is another. */
  isChanged: boolean;
}

/** The bitmaps as they were before the disk got another size. */
export interface Suspended {
  readonly bitmaps: readonly Loaded[];
  /** How often each cluster is theirs. */
  readonly before: ReadonlyMap<number, number>;
  readonly sizeBytes: number;
}

/** What a change needs of the image that has the bitmaps. */
export interface BitmapHost {
  readonly meta: Metadata;
  /** Runs a task while nothing else is under way, the bits of this session stored. */
  alone(task: () => Promise<void>): Promise<void>;
}

/** Changes bitmaps: all that is new is written apart, then the header leads to it, then what is old is freed. */
export class Qcow2Bitmaps implements BitmapStore {
  readonly #host: BitmapHost;
  /** Clusters for the bitmaps that are being written. */
  #taken: { readonly start: number; readonly count: number }[] = [];

  constructor(host: BitmapHost) {
    this.#host = host;
  }

  async list(): Promise<readonly Bitmap[]> {
    return (await this.#entries()).map(({ name, flags, granularityBits }) => ({
      name,
      granularityBytes: 2 ** granularityBits,
      enabled: (flags & FLAG_AUTO) !== 0,
      inconsistent: (flags & FLAG_IN_USE) !== 0,
    }));
  }

  add(
    name: string,
    options: { readonly granularityBytes?: number; readonly enabled?: boolean } = {},
  ): Promise<void> {
    const { meta } = this.#host;
    const byDefault = Math.min(Math.max(meta.clusterBytes, DEFAULT_MIN), DEFAULT_MAX);
    const { granularityBytes = byDefault, enabled = true } = options;
    return this.#edit((bitmaps) => {
      this.#checkNew(name, granularityBytes, bitmaps);
      const granularityBits = Math.log2(granularityBytes);
      const count = this.#chunks(granularityBits, meta.header.sizeBytes);
      bitmaps.push({
        entry: {
          name,
          flagsOffset: 0,
          flags: enabled ? FLAG_AUTO : 0,
          table: { offsetBytes: 0, lengthBytes: 0 },
          granularityBits,
          extra: new Uint8Array(0),
        },
        table: Array.from({ length: count }, () => 0),
        fresh: new Map(),
        isChanged: true,
      });
    });
  }

  remove(name: string): Promise<void> {
    return this.#edit((bitmaps) => {
      bitmaps.splice(bitmaps.indexOf(this.#find(bitmaps, name, true)), 1);
    });
  }

  clear(name: string): Promise<void> {
    return this.#edit((bitmaps) => {
      const found = this.#find(bitmaps, name);
      found.table.fill(0);
      found.fresh.clear();
      found.isChanged = true;
    });
  }

  setEnabled(name: string, enabled: boolean): Promise<void> {
    return this.#edit((bitmaps) => {
      const found = this.#find(bitmaps, name);
      const flags = enabled ? found.entry.flags | FLAG_AUTO : found.entry.flags & ~FLAG_AUTO;
      bitmaps[bitmaps.indexOf(found)] = { ...found, entry: { ...found.entry, flags } };
    });
  }

  merge(name: string, from: string, source: BitmapStore = this): Promise<void> {
    return this.#edit(async (bitmaps) => {
      const found = this.#find(bitmaps, name);
      const unit = 2 ** found.entry.granularityBits;
      const { sizeBytes } = this.#host.meta.header;
      for await (const { offsetBytes, lengthBytes } of source.runs(from)) {
        if (offsetBytes + lengthBytes > sizeBytes)
          throw this.#error('bad-option', `bitmap '${from}' is of a larger disk`);
        const end = Math.ceil((offsetBytes + lengthBytes) / unit);
        await this.#setRun(found, Math.floor(offsetBytes / unit), end);
      }
    });
  }

  async *runs(name: string): AsyncGenerator<BitmapRun> {
    const { sizeBytes } = this.#host.meta.header;
    const found = this.#find(await this.#load(), name);
    const unit = 2 ** found.entry.granularityBits;
    let [start, end] = [0, 0];
    for await (const [from, to] of this.#bitRuns(found)) {
      if (from > end) {
        if (end > start) yield runOf(start * unit, end * unit, sizeBytes);
        start = from;
      }
      end = to;
    }
    if (end > start && start * unit < sizeBytes) yield runOf(start * unit, end * unit, sizeBytes);
  }

  /** What a change of the disk's size begins with: from now on no bitmap is valid. Gives all of them for `restore`. */
  async suspend(newBytes: number): Promise<Suspended> {
    const bitmaps = await this.#load();
    for (const { entry } of bitmaps) {
      this.#find(bitmaps, entry.name);
      if (newBytes / 2 ** entry.granularityBits / 8 > MAX_BITMAP_BYTES)
        throw this.#error('bad-option', `bitmap '${entry.name}' is too fine for such a disk`);
    }
    const before = await this.#regions(bitmaps);
    const { store } = this.#host.meta;
    if (bitmaps.length > 0) await store.update({ autoclear: this.#autoclear(false) });
    return { bitmaps, before, sizeBytes: this.#host.meta.header.sizeBytes };
  }

  /** Writes the bitmaps again, for the size that the disk has now. What is new is not set. */
  async restore({ bitmaps, before, sizeBytes }: Suspended): Promise<void> {
    if (bitmaps.length === 0) return;
    const { store, header } = this.#host.meta;
    if (header.sizeBytes === sizeBytes) {
      await store.update({ autoclear: this.#autoclear(true) });
      return;
    }
    for (const bitmap of bitmaps) await this.#fit(bitmap, sizeBytes);
    await this.#save(bitmaps, before);
  }

  async #entries(): Promise<readonly BitmapEntry[]> {
    const { file, header } = this.#host.meta;
    return (await readBitmaps(file, header))?.entries ?? [];
  }

  async #load(): Promise<Loaded[]> {
    const { file } = this.#host.meta;
    const loaded: Loaded[] = [];
    for (const entry of await this.#entries()) {
      const bytes = new Uint8Array(entry.table.lengthBytes);
      await file.read(entry.table.offsetBytes, bytes);
      const view = new DataView(bytes.buffer);
      const table = Array.from({ length: bytes.length / 8 }, (_, at) =>
        fromTableEntry(view, at * 8),
      );
      loaded.push({ entry, table, fresh: new Map(), isChanged: false });
    }
    return loaded;
  }

  #find(bitmaps: readonly Loaded[], name: string, mayBeInconsistent = false): Loaded {
    const found = bitmaps.find(({ entry }) => entry.name === name);
    if (found === undefined) throw this.#error('not-found', `there is no bitmap '${name}'`);
    if (mayBeInconsistent) return found;
    const count = this.#chunks(found.entry.granularityBits, this.#host.meta.header.sizeBytes);
    if ((found.entry.flags & FLAG_IN_USE) !== 0 || found.table.length !== count)
      throw this.#error(
        'corrupt',
        `bitmap '${name}' was not closed by its last writer, and says nothing; remove it`,
      );
    return found;
  }

  #checkNew(name: string, granularityBytes: number, bitmaps: readonly Loaded[]): void {
    const { header } = this.#host.meta;
    const bits = Math.log2(granularityBytes);
    if (header.version < 3)
      throw this.#error('unsupported', 'version 2 images hold no bitmaps; amend compat to 1.1');
    if (bitmaps.some(({ entry }) => entry.name === name))
      throw this.#error('exists', `bitmap '${name}' is there already`);
    if (bitmaps.length >= MAX_BITMAPS)
      throw this.#error('unsupported', `there are ${MAX_BITMAPS} bitmaps, and no more can be`);
    const nameBytes = new TextEncoder().encode(name).length;
    if (nameBytes === 0 || nameBytes > MAX_NAME_BYTES)
      throw this.#error('bad-option', `names of bitmaps have 1 to ${MAX_NAME_BYTES} bytes`);
    const isFit = granularityBytes >= MIN_GRANULARITY && granularityBytes <= MAX_GRANULARITY;
    if (!Number.isInteger(bits) || !isFit)
      throw this.#error('bad-option', `granularity ${granularityBytes}: a power of 2, 512 to 2G`);
    if (header.sizeBytes / granularityBytes / 8 > MAX_BITMAP_BYTES)
      throw this.#error('bad-option', `granularity ${granularityBytes}: too fine for this disk`);
  }

  #chunks(granularityBits: number, sizeBytes: number): number {
    const bits = Math.ceil(sizeBytes / 2 ** granularityBits);
    return Math.ceil(bits / 8 / this.#host.meta.clusterBytes);
  }

  #edit(change: (bitmaps: Loaded[]) => void | Promise<void>): Promise<void> {
    return this.#host.alone(async () => {
      const bitmaps = await this.#load();
      const before = await this.#regions(bitmaps);
      await change(bitmaps);
      await this.#save(bitmaps, before);
    });
  }

  async *#bitRuns(bitmap: Loaded): AsyncGenerator<[number, number]> {
    const perChunk = this.#host.meta.clusterBytes * 8;
    for (const [index, place] of bitmap.table.entries()) {
      const first = index * perChunk;
      if (place === ALL_ONES) yield [first, first + perChunk];
      else if (place !== 0) {
        const bytes = await this.#chunk(bitmap, index);
        for (const [from, to] of setRuns(bytes)) yield [first + from, first + to];
      }
    }
  }

  /** The bits of a cluster, to read or to change. */
  async #chunk({ table, fresh }: Loaded, index: number): Promise<Uint8Array> {
    const { file, clusterBytes } = this.#host.meta;
    const known = fresh.get(index);
    if (known !== undefined) return known;
    const bytes = new Uint8Array(clusterBytes);
    const place = table[index] ?? 0;
    if (place === ALL_ONES) bytes.fill(0xff);
    else if (place !== 0) await file.read(place, bytes);
    return bytes;
  }

  async #setRun(bitmap: Loaded, from: number, to: number): Promise<void> {
    const perChunk = this.#host.meta.clusterBytes * 8;
    for (let bit = from; bit < to; ) {
      const index = Math.floor(bit / perChunk);
      const end = Math.min(to, (index + 1) * perChunk);
      if (bitmap.table[index] !== ALL_ONES) {
        const bytes = await this.#chunk(bitmap, index);
        setBits(bytes, bit - index * perChunk, end - index * perChunk);
        bitmap.fresh.set(index, bytes);
        bitmap.isChanged = true;
      }
      bit = end;
    }
  }

  /** Bits behind the end of either disk are clear. */
  async #fit(bitmap: Loaded, oldBytes: number): Promise<void> {
    const { clusterBytes, header } = this.#host.meta;
    const unit = 2 ** bitmap.entry.granularityBits;
    const count = this.#chunks(bitmap.entry.granularityBits, header.sizeBytes);
    const kept = Math.ceil(Math.min(oldBytes, header.sizeBytes) / unit);
    const last = Math.floor(kept / (clusterBytes * 8));
    if ((bitmap.table[last] ?? 0) !== 0) {
      const old = await this.#chunk(bitmap, last);
      const bytes = new Uint8Array(clusterBytes);
      const bits = kept - last * clusterBytes * 8;
      bytes.set(old.subarray(0, bits >>> 3));
      if ((bits & 7) !== 0) bytes[bits >>> 3] = (old[bits >>> 3] ?? 0) & ((1 << (bits & 7)) - 1);
      bitmap.fresh.set(last, bytes);
    }
    while (bitmap.table.length < count) bitmap.table.push(0);
    bitmap.table.length = count;
    for (const index of bitmap.fresh.keys()) if (index >= count) bitmap.fresh.delete(index);
    bitmap.isChanged = true;
  }

  /** What these bitmaps take, the directory apart. */
  async #regions(bitmaps: readonly Loaded[]): Promise<Map<number, number>> {
    const { clusterBytes, file, header } = this.#host.meta;
    const clusters = new Map<number, number>();
    const add = ({ offsetBytes, lengthBytes }: Region): void => {
      const first = offsetBytes / clusterBytes;
      if (!Number.isInteger(first)) throw this.#error('corrupt', 'a bitmap between clusters');
      for (let one = 0; one < Math.ceil(lengthBytes / clusterBytes); one++)
        clusters.set(first + one, (clusters.get(first + one) ?? 0) + 1);
    };
    for (const { entry, table } of bitmaps) {
      add(entry.table);
      for (const offsetBytes of table)
        if (offsetBytes > ALL_ONES) add({ offsetBytes, lengthBytes: clusterBytes });
    }
    const directory = (await readBitmaps(file, header))?.directory;
    if (directory !== undefined) add(directory);
    return clusters;
  }

  async #save(bitmaps: readonly Loaded[], before: ReadonlyMap<number, number>): Promise<void> {
    const { meta } = this.#host;
    this.#taken = [];
    const entries: BitmapEntry[] = [];
    for (const bitmap of bitmaps) entries.push(await this.#write(bitmap));
    const bytes = encodeDirectory(entries);
    const offsetBytes = entries.length === 0 ? 0 : await this.#place(bytes);
    await meta.settle();
    const others = meta.header.extensions.filter((one) => one.type !== q.EXT_BITMAPS);
    const data = extensionData(entries.length, { offsetBytes, lengthBytes: bytes.length });
    // With the first sector all of it changes at once.
    try {
      await meta.store.rewrite({
        autoclear: this.#autoclear(entries.length > 0),
        extensions: entries.length === 0 ? others : [...others, { type: q.EXT_BITMAPS, data }],
      });
    } catch (error) {
      const isRefused =
        error instanceof ImageError && ['unsupported', 'bad-option'].includes(error.kind);
      for (const { start, count } of isRefused ? this.#taken : [])
        await meta.counts.add(start, count, -1);
      throw error;
    }
    try {
      await this.#free(before);
    } catch (error) {
      // The change is made.
      if (!(error instanceof ImageError)) throw error;
      meta.isLeaking = true;
    }
  }

  /** Takes references off what bitmaps took and take no longer. */
  async #free(before: ReadonlyMap<number, number>): Promise<void> {
    const { meta } = this.#host;
    const after = await this.#regions(await this.#load());
    for (const [cluster, count] of before)
      for (let left = after.get(cluster) ?? 0; left < count; left++)
        await meta.counts.add(cluster, 1, -1);
    await meta.settle();
  }

  async #write({ entry, table, fresh, isChanged }: Loaded): Promise<BitmapEntry> {
    if (!isChanged) return entry;
    const { file, clusterBytes } = this.#host.meta;
    for (const [index, bytes] of fresh) {
      const isClear = bytes.every((byte) => byte === 0);
      const place = isClear ? 0 : (await this.#take()) * clusterBytes;
      if (!isClear) await file.write(place, bytes);
      table[index] = place;
    }
    const bytes = new Uint8Array(table.length * 8);
    const view = new DataView(bytes.buffer);
    for (const [index, place] of table.entries()) view.setBigUint64(index * 8, BigInt(place));
    const offsetBytes = bytes.length === 0 ? 0 : await this.#place(bytes);
    return { ...entry, table: { offsetBytes, lengthBytes: bytes.length } };
  }

  async #take(): Promise<number> {
    const run = await this.#host.meta.counts.takeOne();
    this.#taken.push(run);
    return run.start;
  }

  /** Writes bytes to clusters of their own. */
  async #place(bytes: Uint8Array): Promise<number> {
    const { file, counts, clusterBytes } = this.#host.meta;
    const clusters = Math.ceil(bytes.length / clusterBytes);
    const start = await counts.takeAtEnd(clusters);
    this.#taken.push({ start, count: clusters });
    const offsetBytes = start * clusterBytes;
    const whole = new Uint8Array(clusters * clusterBytes);
    whole.set(bytes);
    await file.write(offsetBytes, whole);
    return offsetBytes;
  }

  #autoclear(areValid: boolean): number {
    const { autoclear } = this.#host.meta.header;
    return areValid ? autoclear | q.AUTOCLEAR_BITMAPS : autoclear & ~q.AUTOCLEAR_BITMAPS;
  }

  #error(kind: ImageError['kind'], what: string): ImageError {
    const { path } = this.#host.meta.file;
    return new ImageError(kind, `${path}: ${what}`, { path });
  }
}

function runOf(startBytes: number, endBytes: number, sizeBytes: number): BitmapRun {
  return { offsetBytes: startBytes, lengthBytes: Math.min(endBytes, sizeBytes) - startBytes };
}

function extensionData(count: number, { offsetBytes, lengthBytes }: Region): Uint8Array {
  const view = new DataView(new ArrayBuffer(24));
  view.setUint32(0, count);
  view.setBigUint64(8, BigInt(lengthBytes));
  view.setBigUint64(16, BigInt(offsetBytes));
  return new Uint8Array(view.buffer);
}

/** Runs of set bits; they may touch. */
function* setRuns(bytes: Uint8Array): Generator<[number, number]> {
  for (const [at, value] of bytes.entries()) {
    if (value === 0) continue;
    if (value === 0xff) yield [at * 8, at * 8 + 8];
    else
      for (let bit = at * 8; bit < at * 8 + 8; bit++)
        if ((value & (1 << (bit & 7))) !== 0) yield [bit, bit + 1];
  }
}
