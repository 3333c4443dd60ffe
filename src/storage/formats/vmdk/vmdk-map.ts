import type { BlockMap, Place, Run } from '../../blocks/block-map.ts';
import { findFlat } from '../../blocks/flat-map.ts';
import { type HostFile, ImageError, type ImageInfo, SECTOR_BYTES } from '../../image.ts';
import type { SparseExtent } from './sparse-extent.ts';

/** A part of the disk, in the order of the descriptor. */
export interface Extent {
  readonly startBytes: number;
  readonly lengthBytes: number;
  readonly content:
    | { readonly kind: 'sparse'; readonly sparse: SparseExtent }
    | { readonly kind: 'flat'; readonly file: HostFile; readonly offsetBytes: number }
    | { readonly kind: 'zero' };
}

export interface VmdkParts {
  readonly extents: readonly Extent[];
  /** All files, the descriptor's first. */
  readonly files: readonly HostFile[];
  readonly readOnly: boolean;
  readonly info: ImageInfo;
  /** Gives the content a new identifier. */
  readonly changeId: () => Promise<void>;
}

/** A disk of parts, each in its file, or all in one. */
export class VmdkMap implements BlockMap {
  readonly sizeBytes: number;
  readonly unitBytes: number;
  readonly writeUnit?: (unit: number, from: Uint8Array) => Promise<void>;
  readonly #parts: VmdkParts;

  constructor(parts: VmdkParts) {
    this.#parts = parts;
    const last = parts.extents.at(-1);
    this.sizeBytes = last === undefined ? 0 : last.startBytes + last.lengthBytes;
    const sparse = parts.extents.flatMap(({ content }) =>
      content.kind === 'sparse' ? [content.sparse.header] : [],
    );
    this.unitBytes = sparse[0]?.grainBytes ?? SECTOR_BYTES;
    if (sparse.some(({ compressed }) => compressed))
      this.writeUnit = (unit, from) => this.#writeCompressed(unit, from);
  }

  find(offsetBytes: number, lengthBytes: number): Run | Promise<Run> {
    const extent = this.#extentAt(offsetBytes);
    const within = offsetBytes - extent.startBytes;
    const length = Math.min(lengthBytes, extent.lengthBytes - within);
    const { content } = extent;
    if (content.kind === 'sparse') return content.sparse.find(within, length);
    if (content.kind === 'zero') return { kind: 'zero', lengthBytes: length };
    const hostOffsetBytes = content.offsetBytes + within;
    return findFlat(content.file, hostOffsetBytes, length);
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
    const { sparse } = this.#grainOf(Math.floor(offsetBytes / this.unitBytes));
    await sparse.readCompressed(run, offsetBytes % this.unitBytes, into);
  }

  async allocate(unit: number): Promise<Place> {
    return await Promise.resolve(this.#grainOf(unit).sparse.allocate());
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

  async commit(): Promise<void> {
    const { extents, files } = this.#parts;
    const done = new Set<HostFile>();
    for (const { content } of extents)
      if (content.kind === 'sparse') {
        await content.sparse.commit();
        done.add(content.sparse.file);
      }
    for (const file of files) if (!done.has(file)) await file.flush();
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
