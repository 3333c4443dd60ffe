import type { BlockMap, Place, Run } from '../../blocks/block-map.ts';
import { findFlat } from '../../blocks/flat-map.ts';
import type { Tail } from '../../blocks/tail.ts';
import { type HostFile, ImageError, type ImageInfo, SECTOR_BYTES } from '../../image.ts';
import type { DescriptorFile } from './descriptor-file.ts';
import type { Extent } from './extent.ts';
import * as v from './layout.ts';
import type { SparseExtent } from './sparse-extent.ts';
import { type AddedParts, fileOf, whyNoParts } from './split.ts';

/** Entries of tables count sectors in 32 bits. */
const MAX_SPARSE_BYTES = 2 ** 41;

export interface VmdkParts {
  readonly extents: readonly Extent[];
  /** All files, the descriptor's first, which may give way to another. */
  readonly files: HostFile[];
  readonly readOnly: boolean;
  readonly info: ImageInfo;
  /** Gives the content a new identifier. */
  readonly changeId: () => Promise<void>;
  readonly text: DescriptorFile;
  readonly addParts: (
    last: Extent,
    range: { readonly startBytes: number; readonly sizeBytes: number },
  ) => Promise<AddedParts>;
  /** Why the extents behind the first `kept` ones cannot be removed. */
  readonly whyPartsStay: (extents: readonly Extent[], kept: number) => string | undefined;
  readonly removePart: (file: HostFile) => Promise<void>;
}

/** A disk of parts, each in its file, or all in one. */
export class VmdkMap implements BlockMap {
  readonly unitBytes: number;
  readonly writeUnit?: (unit: number, from: Uint8Array) => Promise<void>;
  free?: (unit: number, asZeros: boolean) => Promise<boolean>;
  abandon?: (place: Place) => void;
  tail?: Tail;
  #parts: VmdkParts;

  constructor(parts: VmdkParts) {
    this.#parts = parts;
    const sparse = parts.extents.flatMap(({ content }) =>
      content.kind === 'sparse' ? [content.sparse.header] : [],
    );
    this.unitBytes = sparse[0]?.grainBytes ?? SECTOR_BYTES;
    if (sparse.some(({ compressed }) => compressed))
      this.writeUnit = (unit, from) => this.#writeCompressed(unit, from);
    const [only] = parts.extents;
    if (parts.extents.length !== 1 || only?.content.kind !== 'sparse') return;
    const extent = only.content.sparse;
    if (extent.header.compressed) return;
    this.tail = extent.tail;
    this.abandon = (place) => extent.tail.putBack(place.hostOffsetBytes);
    this.free = (unit, asZeros) => extent.free(unit, asZeros);
  }

  get sizeBytes(): number {
    const last = this.#parts.extents.at(-1);
    return last === undefined ? 0 : last.startBytes + last.lengthBytes;
  }

  find(offsetBytes: number, lengthBytes: number): Run | Promise<Run> {
    const extent = this.#extentAt(offsetBytes);
    const within = offsetBytes - extent.startBytes;
    const { content } = extent;
    // The last grain may be asked for as a whole, although the disk ends within it.
    const end = Math.ceil(extent.lengthBytes / this.unitBytes) * this.unitBytes;
    const length = Math.min(lengthBytes, end - within);
    if (content.kind === 'sparse') return content.sparse.find(within, length);
    if (content.kind === 'zero') return { kind: 'zero', lengthBytes: length };
    const hostOffsetBytes = content.offsetBytes + within;
    return findFlat(content.file, hostOffsetBytes, length, true);
  }

  #extentAt(offsetBytes: number): Extent {
    const { extents } = this.#parts;
    let low = 0;
    let high = extents.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((extents[middle]?.startBytes ?? 0) <= offsetBytes) low = middle;
      else high = middle - 1;
    }
    const extent = extents[low];
    if (extent === undefined) throw new Error(`no extent has the byte at ${offsetBytes}`);
    return extent;
  }

  /** The sparse extent that has the unit, and the grain that this is there. */
  #grainOf(unit: number): { sparse: SparseExtent; grain: number } {
    const { content, startBytes } = this.#extentAt(unit * this.unitBytes);
    if (content.kind === 'sparse')
      return { sparse: content.sparse, grain: unit - startBytes / this.unitBytes };
    const [file] = this.#parts.files;
    throw new ImageError('unsupported', `${file?.path}: an extent of zeros cannot be written to`, {
      path: file?.path ?? '',
    });
  }

  async readCompressed(run: Run, offsetBytes: number, into: Uint8Array): Promise<void> {
    const { content, startBytes } = this.#extentAt(offsetBytes);
    if (content.kind !== 'sparse')
      throw new Error('vmdk: a compressed run of an extent without grains');
    await content.sparse.readCompressed(run, offsetBytes - startBytes, into);
  }

  allocate(unit: number): Place | Promise<Place> {
    return this.#grainOf(unit).sparse.allocate();
  }

  async link(unit: number, place: Place): Promise<void> {
    const { sparse, grain } = this.#grainOf(unit);
    await sparse.link(grain, place.hostOffsetBytes);
  }

  async markZero(unit: number): Promise<boolean> {
    const { sparse, grain } = this.#grainOf(unit);
    return await sparse.markZero(grain);
  }

  async #writeCompressed(unit: number, from: Uint8Array): Promise<void> {
    const { sparse, grain } = this.#grainOf(unit);
    await sparse.writeCompressed(grain, from);
  }

  async beforeChange(): Promise<void> {
    for (const { content } of this.#parts.extents)
      if (content.kind === 'sparse' && content.sparse.header.atEnd) {
        const { path } = content.sparse.file;
        throw new ImageError(
          'unsupported',
          `${path}: is a finished stream, which cannot be written to; convert it to another subformat`,
          { path },
        );
      }
    await this.#parts.changeId();
  }

  adoptBacking(): Promise<void> {
    return this.#parts.text.adoptParent();
  }

  async commit(): Promise<void> {
    const { extents, files, text } = this.#parts;
    await text.settle();
    const done = new Set<HostFile>();
    for (const { content } of extents)
      if (content.kind === 'sparse') {
        await content.sparse.commit();
        done.add(content.sparse.file);
      }
    for (const file of files) if (!done.has(file)) await file.flush();
  }

  async compact(): Promise<void> {
    const [only] = this.#parts.extents;
    if (only?.content.kind === 'sparse' && this.free !== undefined)
      await only.content.sparse.compact();
  }

  checkResize(sizeBytes: number): void {
    const { extents, files, info } = this.#parts;
    const path = files[0]?.path ?? '';
    const refuse = (why: string): ImageError =>
      new ImageError('unsupported', `${path}: ${why}`, { path });
    const [only] = extents;
    if (info.backingName !== undefined)
      throw refuse('differs from a parent, and is as large; commit it, and resize that');
    const canResize = extents.every(({ content }) =>
      content.kind === 'sparse' ? content.sparse.canResize : content.kind === 'flat',
    );
    if (!canResize) throw refuse('VMDK streams, and parts of zeros, keep their size; convert it');
    const why = this.#isSplit ? this.#whyNotSplitAt(sizeBytes) : undefined;
    if (why !== undefined) throw refuse(why);
    if (extents.length > 1 && !this.#isSplit)
      throw refuse('a VMDK disk of several parts that are not of 2 GB keeps its size; convert it');
    if (!this.#isSplit && only?.content.kind === 'sparse' && sizeBytes > MAX_SPARSE_BYTES)
      throw refuse('sparse VMDK extents end at 2 TiB; convert it to another subformat or format');
  }

  /** Of parts of 2 GB, to which others can be added: those that a descriptor in a file of its own names. */
  get #isSplit(): boolean {
    if (this.#parts.files.length <= this.#parts.extents.length) return false;
    const type = this.#parts.info.specific?.['create-type'];
    return type === 'twoGbMaxExtentSparse' || type === 'twoGbMaxExtentFlat';
  }

  #whyNotSplitAt(sizeBytes: number): string | undefined {
    const { extents, whyPartsStay } = this.#parts;
    if (sizeBytes > this.sizeBytes) return whyNoParts(extents, sizeBytes);
    return whyPartsStay(extents, this.#keptBy(sizeBytes));
  }

  /** How many extents a disk of that size has, of those that are there. */
  #keptBy(sizeBytes: number): number {
    return this.#parts.extents.filter((one, at) => at === 0 || one.startBytes < sizeBytes).length;
  }

  /** The descriptor never says more than there is. */
  async resize(sizeBytes: number): Promise<void> {
    if (this.#parts.files.length === 1) await this.#resizeWhole(sizeBytes);
    else if (sizeBytes < this.sizeBytes) await this.#shrink(sizeBytes);
    else await this.#grow(sizeBytes);
    if (this.#parts.extents.length === 1) return;
    // Room is given back within one part alone.
    delete this.free;
    delete this.tail;
    delete this.abandon;
  }

  /** Where the descriptor lies in the file that it is of, that file's header counts. */
  async #resizeWhole(sizeBytes: number): Promise<void> {
    const { extents, text } = this.#parts;
    const [only] = extents;
    if (only === undefined) return;
    const settle = await text.setSize(sizeBytes, { kept: 1, lastBytes: sizeBytes, added: [] });
    try {
      await resizeLast(only, sizeBytes);
    } catch (error) {
      text.takeBack();
      throw error;
    }
    this.#parts = { ...this.#parts, extents: [{ ...only, lengthBytes: sizeBytes }] };
    await settle();
  }

  async #shrink(sizeBytes: number): Promise<void> {
    const { extents, files, text, removePart } = this.#parts;
    const kept = this.#keptBy(sizeBytes);
    const last = extents[kept - 1];
    if (last === undefined) return;
    const lengthBytes = sizeBytes - last.startBytes;
    const { content } = last;
    if (extents.length > 1 && content.kind === 'sparse')
      await content.sparse.freeFrom(Math.ceil(lengthBytes / this.unitBytes));
    const settle = await text.setSize(sizeBytes, { kept, lastBytes: lengthBytes, added: [] });
    const others = extents.slice(0, kept - 1);
    this.#parts = { ...this.#parts, extents: [...others, { ...last, lengthBytes }] };
    await settle();
    await resizeLast(last, lengthBytes);
    for (const extent of extents.slice(kept)) {
      const file = fileOf(extent);
      if (file === undefined) continue;
      files.splice(files.indexOf(file), 1);
      await file.close();
      await removePart(file);
    }
  }

  async #grow(sizeBytes: number): Promise<void> {
    const { extents, files, text } = this.#parts;
    const last = extents.at(-1);
    if (last === undefined) return;
    const whole = sizeBytes - last.startBytes;
    const grains = Math.ceil(last.lengthBytes / this.unitBytes);
    const most = Math.max(v.SPLIT_BYTES, grains * this.unitBytes);
    const lengthBytes = this.#isSplit ? Math.min(whole, most) : whole;
    const startBytes = last.startBytes + lengthBytes;
    const added = await this.#parts.addParts(last, { startBytes, sizeBytes });
    let settle: () => Promise<void>;
    try {
      await resizeLast(last, lengthBytes);
      const end = { kept: extents.length, lastBytes: lengthBytes, added: added.lines };
      settle = await text.setSize(sizeBytes, end);
    } catch (error) {
      // Else they would be in the way of the next attempt.
      await added.undo();
      throw error;
    }
    files.push(...added.files);
    const others = extents.slice(0, -1);
    this.#parts = {
      ...this.#parts,
      extents: [...others, { ...last, lengthBytes }, ...added.extents],
    };
    await settle();
  }

  info(): ImageInfo {
    return this.#parts.info;
  }

  async close(): Promise<void> {
    try {
      if (!this.#parts.readOnly) await this.commit();
    } finally {
      for (const file of this.#parts.files) await file.close();
    }
  }
}

async function resizeLast({ content }: Extent, lengthBytes: number): Promise<void> {
  if (content.kind === 'sparse') await content.sparse.resize(lengthBytes);
  else if (content.kind === 'flat') {
    await content.file.truncate(content.offsetBytes + lengthBytes);
    await content.file.flush();
  }
}
