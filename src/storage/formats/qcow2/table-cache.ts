import type { HostFile } from '../../image.ts';

const MAX_SLICE_BYTES = 16 * 1024;

/** Keeps recently read parts of L2 tables, at most `maxBytes` of them: a part is a cluster, or 16 KiB of a larger one. */
export class TableCache {
  readonly #sliceBytes: number;
  readonly #file: HostFile;
  readonly #maxSlices: number;
  /** In order of use, oldest first; what is still being read, too, so that it is read once. */
  readonly #slices = new Map<number, Promise<DataView>>();

  constructor(file: HostFile, clusterBytes: number, maxBytes: number) {
    this.#file = file;
    this.#sliceBytes = Math.min(clusterBytes, MAX_SLICE_BYTES);
    this.#maxSlices = Math.floor(maxBytes / this.#sliceBytes);
  }

  /** The part that holds the byte at `offsetBytes`, and where in it that lies. */
  async get(offsetBytes: number): Promise<{ view: DataView; at: number }> {
    const at = offsetBytes % this.#sliceBytes;
    const start = offsetBytes - at;
    const found = this.#slices.get(start) ?? this.#read(start);
    this.#slices.delete(start);
    this.#slices.set(start, found);
    for (const oldest of this.#slices.keys()) {
      if (this.#slices.size <= this.#maxSlices) break;
      this.#slices.delete(oldest);
    }
    try {
      return { view: await found, at };
    } catch (error) {
      this.#slices.delete(start);
      throw error;
    }
  }

  async #read(start: number): Promise<DataView> {
    const bytes = new Uint8Array(this.#sliceBytes);
    await this.#file.read(start, bytes);
    return new DataView(bytes.buffer);
  }
}
