import type { HostFile } from '../image.ts';

/** A file that is only read, as it would be with pages of it written. */
export class OverlayFile implements HostFile {
  readonly path: string;
  readonly readOnly = true;
  readonly close: HostFile['close'];
  readonly flush: HostFile['flush'];
  readonly allocatedBytes: HostFile['allocatedBytes'];
  readonly write: HostFile['write'];
  readonly truncate: HostFile['truncate'];
  readonly punch: HostFile['punch'];
  readonly reserve: HostFile['reserve'];
  readonly #file: HostFile;
  readonly #pageBytes: number;
  readonly #pages: ReadonlyMap<number, Uint8Array>;
  readonly #sizeBytes: number;

  /** `pages` have their offsets as keys; the file seems to have `sizeBytes`. */
  constructor(
    file: HostFile,
    pages: ReadonlyMap<number, Uint8Array>,
    pageBytes: number,
    sizeBytes: number,
  ) {
    this.path = file.path;
    this.#file = file;
    this.#pageBytes = pageBytes;
    this.#pages = pages;
    this.#sizeBytes = sizeBytes;
    this.close = () => file.close();
    this.flush = () => file.flush();
    this.allocatedBytes = () => file.allocatedBytes();
    this.write = (offsetBytes, from) => file.write(offsetBytes, from);
    this.truncate = (bytes) => file.truncate(bytes);
    this.punch = (offsetBytes, lengthBytes) => file.punch(offsetBytes, lengthBytes);
    this.reserve = (...range) => file.reserve(...range);
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<number> {
    await this.#file.read(offsetBytes, into);
    const end = offsetBytes + into.length;
    for (let at = offsetBytes; at < end; ) {
      const start = at - (at % this.#pageBytes);
      const count = Math.min(start + this.#pageBytes, end) - at;
      const page = this.#pages.get(start);
      if (page !== undefined)
        into.set(page.subarray(at - start, at - start + count), at - offsetBytes);
      at += count;
    }
    return Math.max(0, Math.min(into.length, this.#sizeBytes - offsetBytes));
  }

  size(): Promise<number> {
    return Promise.resolve(this.#sizeBytes);
  }

  /** Pages may lie in holes of the file, and behind its end. */
  extent(_offsetBytes: number, lengthBytes: number): ReturnType<HostFile['extent']> {
    return Promise.resolve({ data: true, lengthBytes });
  }
}
