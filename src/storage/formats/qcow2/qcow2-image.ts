import { findFlat } from '../../blocks/flat-map.ts';
import {
  type CreateRequest,
  checkRange,
  type DiskImage,
  type Extent,
  ImageError,
  type ImageInfo,
  type OpenContext,
  type ResizeOptions,
  type SnapshotStore,
  type WriteZeroesOptions,
} from '../../image.ts';
import { totalLength } from '../../pieces.ts';
import { type Amendment, amend, planAmendment } from './amend.ts';
import { Qcow2Bitmaps } from './bitmap-store.ts';
import { BitmapTracker, trackedBitmaps } from './bitmap-tracker.ts';
import { readBitmaps } from './bitmaps.ts';
import { describe } from './info.ts';
import * as q from './layout.ts';
import { Mapping, type Run } from './mapping.ts';
import type { Metadata } from './metadata.ts';
import { Packer } from './packer.ts';
import { Reader } from './reader.ts';
import { resize } from './resize.ts';
import type { SnapshotRecord } from './snapshot-table.ts';
import { SnapshotTree } from './snapshot-tree.ts';
import { hasUnwritten } from './unwritten.ts';
import { Writer } from './writer.ts';
import { Zeroing } from './zeroing.ts';

export interface Parts {
  readonly meta: Metadata;
  readonly context: OpenContext;
  readonly snapshots: readonly SnapshotRecord[];
  readonly backing: DiskImage | undefined;
  readonly tracker: BitmapTracker | undefined;
}

/** An open qcow2 image. */
export class Qcow2Image implements DiskImage {
  readonly format = 'qcow2';
  readonly path: string;
  readonly readOnly: boolean;
  readonly backing: DiskImage | undefined;
  readonly unitBytes: number;
  readonly snapshots: SnapshotStore;
  readonly #meta: Metadata;
  readonly #mapping: Mapping;
  readonly #reader: Reader;
  readonly #writer: Writer;
  readonly #zeroing: Zeroing;
  readonly #packer: Packer;
  readonly #tree: SnapshotTree;
  readonly #context: OpenContext;
  readonly bitmaps: Qcow2Bitmaps;
  #tracker: BitmapTracker | undefined;
  /** The bitmaps in the file may be others than those tracked. */
  #isTrackerOld = false;
  /** Requests wait for it: something changes that all of them use. */
  #gate: Promise<void> | undefined;
  /** Asked when somebody wants to know how the disk lies. What is written later only makes it less. */
  #hasUnwritten: Promise<boolean> | undefined;
  /** The tables in the file are others than those in memory. */
  #isStale = false;

  constructor(parts: Parts) {
    const { meta, context, backing } = parts;
    this.path = meta.file.path;
    this.readOnly = context.readOnly;
    this.backing = backing;
    this.unitBytes = meta.clusterBytes;
    this.#meta = meta;
    this.#context = context;
    this.#tracker = parts.tracker;
    const { codec } = context.host;
    this.#mapping = new Mapping(meta);
    this.#reader = new Reader(meta, this.#mapping, backing, codec);
    this.#writer = new Writer(meta, this.#mapping, this.#reader);
    this.#zeroing = new Zeroing(meta, this.#mapping, this.#reader, this.#writer);
    this.#packer = new Packer(meta, this.#mapping, this.#writer, codec);
    this.bitmaps = new Qcow2Bitmaps({
      meta,
      alone: (task) => this.#alone(() => this.#withBitmaps(task)),
    });
    this.#tree = new SnapshotTree(meta, this.#mapping, parts.snapshots);
    this.snapshots = {
      list: () => this.#tree.list(),
      create: (name) => this.#alone(() => this.#tree.create(name, context.host.nowMs())),
      apply: (which) => this.#apply(which),
      delete: (which) => this.#alone(() => this.#tree.delete(which)),
    };
  }

  get sizeBytes(): number {
    return this.#meta.header.sizeBytes;
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<void> {
    checkRange(this, offsetBytes, into.length);
    while (this.#gate !== undefined) await this.#gate;
    const { epochs } = this.#meta;
    const epoch = epochs.enter();
    try {
      await this.#reader.read(offsetBytes, into);
    } finally {
      epochs.leave(epoch);
    }
  }

  async write(offsetBytes: number, from: Uint8Array): Promise<void> {
    await this.#change(offsetBytes, from.length, () => this.#writer.write(offsetBytes, from));
  }

  tryRead(offsetBytes: number, into: readonly Uint8Array[]): boolean {
    const length = totalLength(into);
    checkRange(this, offsetBytes, length);
    return this.#gate === undefined && this.#reader.tryRead(offsetBytes, into, length);
  }

  tryWrite(offsetBytes: number, from: readonly Uint8Array[]): boolean {
    const length = totalLength(from);
    checkRange(this, offsetBytes, length);
    this.#checkWritable();
    // Bitmaps are marked before the data change, in the image file.
    if (this.#gate !== undefined || this.#tracker !== undefined || this.#isTrackerOld) return false;
    return this.#writer.tryWrite(offsetBytes, from, length);
  }

  async writeZeroes(
    offsetBytes: number,
    lengthBytes: number,
    options: WriteZeroesOptions = {},
  ): Promise<void> {
    const mayUnmap = options.mayUnmap ?? false;
    await this.#change(offsetBytes, lengthBytes, () =>
      this.#zeroing.writeZeroes(offsetBytes, lengthBytes, this.sizeBytes, mayUnmap),
    );
  }

  async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
    await this.#change(offsetBytes, lengthBytes, () =>
      this.#zeroing.discard(offsetBytes, lengthBytes, this.sizeBytes),
    );
  }

  async writeCompressed(offsetBytes: number, from: Uint8Array): Promise<void> {
    await this.#change(offsetBytes, from.length, () => this.#packer.write(offsetBytes, from));
  }

  async flush(): Promise<void> {
    if (this.readOnly) return;
    while (this.#gate !== undefined) await this.#gate;
    await this.#meta.commit();
  }

  async extent(offsetBytes: number, lengthBytes: number): Promise<Extent> {
    checkRange(this, offsetBytes, lengthBytes);
    while (this.#gate !== undefined) await this.#gate;
    const { epochs } = this.#meta;
    const epoch = epochs.enter();
    try {
      let run = this.#mapping.run(offsetBytes, lengthBytes);
      for (; run === undefined; run = this.#mapping.run(offsetBytes, lengthBytes))
        await this.#mapping.load(offsetBytes);
      return await this.#extentOf(run);
    } finally {
      epochs.leave(epoch);
    }
  }

  async #extentOf(run: Run): Promise<Extent> {
    const { kind, lengthBytes, hostOffsetBytes, compressed } = run;
    if (compressed === true) return { kind, lengthBytes, compressed };
    if (hostOffsetBytes === undefined) return { kind, lengthBytes };
    const { data, file, header } = this.#meta;
    const place = { hostOffsetBytes, ...(data === file ? {} : { hostPath: data.path }) };
    if (kind === 'data') this.#hasUnwritten ??= hasUnwritten(file, header);
    if (kind !== 'data' || !(await this.#hasUnwritten)) return { kind, lengthBytes, ...place };
    const there = await findFlat(data, hostOffsetBytes, lengthBytes);
    const length = there.lengthBytes;
    if (there.kind === 'data') return { kind, lengthBytes: length, ...place };
    return { kind: 'zero', lengthBytes: length, hole: true, ...place };
  }

  async info(): Promise<ImageInfo> {
    const { file, header } = this.#meta;
    // A snapshot has no bitmaps, and one that is damaged keeps nobody from the rest.
    const bitmaps = await readBitmaps(file, header).catch(() => undefined);
    return describe(this.#meta, this.#tree.list(), bitmaps?.entries ?? []);
  }

  /** Runs a change of the bitmaps, or of what they are about, when they are all in the file. */
  async #withBitmaps(task: () => Promise<void>): Promise<void> {
    await this.#meta.settle();
    await this.#currentTracker();
    await this.#tracker?.store();
    // Where the task fails others may lie in their place.
    this.#isTrackerOld = true;
    await task();
    await this.#currentTracker();
  }

  /** Looks which bitmaps must follow writes, if they may have changed. */
  async #currentTracker(): Promise<BitmapTracker | undefined> {
    if (!this.#isTrackerOld || this.#isStale) return this.#tracker;
    const { file, header } = this.#meta;
    await this.#meta.store.settle();
    const tracked = await trackedBitmaps(file, header);
    // Requests that came meanwhile have looked, too.
    if (!this.#isTrackerOld) return this.#tracker;
    this.#tracker = tracked.length === 0 ? undefined : new BitmapTracker(this.#meta, tracked);
    this.#isTrackerOld = false;
    return this.#tracker;
  }

  async #apply(which: string): Promise<void> {
    const list = this.#tree.list();
    const to = list.find(({ id }) => id === which) ?? list.find(({ name }) => name === which);
    if (
      to !== undefined &&
      to.sizeBytes !== this.sizeBytes &&
      (await this.bitmaps.list()).length > 0
    )
      throw new ImageError(
        'unsupported',
        `${this.path}: snapshot '${which}' has another size than the disk and its bitmaps; remove the bitmaps first`,
        { path: this.path },
      );
    await this.#alone(() => this.#tree.apply(which), true);
  }

  async resize(sizeBytes: number, options: ResizeOptions = {}): Promise<void> {
    const disk = {
      meta: this.#meta,
      mapping: this.#mapping,
      writer: this.#writer,
      zeroing: this.#zeroing,
      reader: this.#reader,
      bitmaps: this.bitmaps,
    };
    await this.#alone(() => this.#withBitmaps(() => resize(disk, sizeBytes, options)));
  }

  async setBacking(name: string | undefined, format: string | undefined): Promise<void> {
    await this.#alone(async () => {
      await this.#meta.commit();
      const { extensions } = this.#meta.header;
      const others = extensions.filter((one) => one.type !== q.EXT_BACKING_FORMAT);
      const hasFormat = name !== undefined && format !== undefined;
      const data = new TextEncoder().encode(format ?? '');
      await this.#meta.store.rewrite({
        backingName: name,
        backingFormat: hasFormat ? format : undefined,
        extensions: hasFormat ? [{ type: q.EXT_BACKING_FORMAT, data }, ...others] : others,
      });
    });
  }

  async amend(options: CreateRequest['options']): Promise<void> {
    this.#checkWritable();
    const hasBitmaps = (await this.bitmaps.list()).length > 0;
    const { path } = this;
    const amendment = planAmendment(options, this.#meta.header, { path, hasBitmaps });
    const size = options.get('size');
    if (typeof size === 'number') await this.resize(size);
    await this.#alone(() => this.#withBitmaps(async () => await this.#amend(amendment)));
  }

  async #amend(amendment: Amendment): Promise<void> {
    const { refcountBits } = this.#meta.header;
    this.#isStale = (amendment.refcountBits ?? refcountBits) !== refcountBits;
    const disk = {
      ...{ meta: this.#meta, mapping: this.#mapping, writer: this.#writer },
      ...{ zeroing: this.#zeroing, tree: this.#tree },
      backingBytes: this.backing?.sizeBytes ?? 0,
    };
    await amend(disk, amendment);
  }

  async makeEmpty(onProgress?: (bytes: number) => void): Promise<void> {
    const { clusters } = this.#mapping;
    let done = 0;
    const reach = (cluster: number): void => {
      const bytes = Math.min(cluster * this.unitBytes, this.sizeBytes);
      onProgress?.(bytes - done);
      done = bytes;
    };
    await this.#alone(async () => {
      await this.#zeroing.unmap(0, clusters, reach);
      await this.#meta.settle();
      reach(clusters);
    }, true);
  }

  async close(): Promise<void> {
    try {
      if (!this.readOnly) await this.#finish();
    } finally {
      const { data, file } = this.#meta;
      if (data !== file) await data.close();
      await file.close();
      await this.backing?.close();
    }
  }

  async #finish(): Promise<void> {
    if (this.#isStale) return;
    await this.#meta.settle();
    // Since bitmaps were changed in vain nothing was written, or they would have been looked at.
    if (!this.#isTrackerOld) await this.#tracker?.store();
    // A file that grew ahead of its use is cut back.
    const { usedBytes } = this.#meta.counts;
    if ((await this.#meta.file.size()) > usedBytes) await this.#meta.file.truncate(usedBytes);
    if (this.#tree.isLeaking || this.#meta.isLeaking) await this.#mendLeaks();
    else await this.#meta.setDirty(false);
  }

  /** Takes the mark off, too. Where that cannot be, whoever opens the image for writing does it, and a check. */
  async #mendLeaks(): Promise<void> {
    const { check } = await import('./check.ts');
    try {
      await check(this.#meta.file, { repair: 'leaks' }, this.#context);
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
    }
  }

  async #change(
    offsetBytes: number,
    lengthBytes: number,
    task: () => Promise<void>,
  ): Promise<void> {
    checkRange(this, offsetBytes, lengthBytes);
    this.#checkWritable();
    while (this.#gate !== undefined) await this.#gate;
    const { epochs } = this.#meta;
    const epoch = epochs.enter();
    try {
      const tracker = this.#isTrackerOld ? await this.#currentTracker() : this.#tracker;
      if (tracker !== undefined) {
        await tracker.begin();
        tracker.mark(offsetBytes, lengthBytes);
      }
      await task();
    } catch (error) {
      if (this.#meta.isCorrupt) await this.#meta.setCorrupt();
      throw error;
    } finally {
      epochs.leave(epoch);
    }
  }

  /** Runs `task`, which may change all of the disk, while no request is under way. */
  async #alone<T>(task: () => Promise<T>, changesAll = false): Promise<T> {
    this.#checkWritable();
    while (this.#gate !== undefined) await this.#gate;
    let open = (): void => {};
    this.#gate = new Promise((resolve) => {
      open = resolve;
    });
    try {
      await new Promise<void>((resolve) => this.#meta.epochs.after(resolve));
      this.#packer.forget();
      this.#reader.forget();
      const tracker = changesAll ? await this.#currentTracker() : undefined;
      if (tracker !== undefined) {
        await tracker.begin();
        tracker.mark(0, this.sizeBytes);
      }
      return await task();
    } catch (error) {
      const isHosts = error instanceof ImageError && ['io', 'no-space'].includes(error.kind);
      this.#meta.isLeaking ||= isHosts;
      if (this.#meta.isCorrupt) await this.#meta.setCorrupt();
      throw error;
    } finally {
      this.#gate = undefined;
      open();
    }
  }

  #checkWritable(): void {
    const { path } = this;
    if (this.readOnly)
      throw new ImageError('read-only', `${path}: opened for reading only`, { path });
    if (this.#isStale) throw new Error(`${path}: open it anew, its tables are others now`);
    if (this.#meta.isCorrupt)
      throw new ImageError(
        'corrupt',
        `${path}: its tables are damaged, nothing is written to it; repair it with a check`,
        { path },
      );
  }
}
