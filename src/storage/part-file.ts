import { type HostFile, ImageError } from './image.ts';

/** A range of a file as a file of its own, for reading. */
export class PartFile implements HostFile {
  readonly path: string;
  readonly readOnly = true;
  readonly startBytes: number;
  readonly #whole: HostFile;
  readonly #sizeBytes: number;
  readonly #ownsWhole: boolean;

  /** `ownsWhole`: to close it closes the whole. */
  constructor(
    whole: HostFile,
    path: string,
    offsetBytes: number,
    sizeBytes: number,
    ownsWhole = false,
  ) {
    this.#whole = whole;
    this.path = path;
    this.startBytes = offsetBytes;
    this.#sizeBytes = sizeBytes;
    this.#ownsWhole = ownsWhole;
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<number> {
    const length = Math.max(0, Math.min(into.length, this.#sizeBytes - offsetBytes));
    into.fill(0, length);
    if (length === 0) return 0;
    return await this.#whole.read(this.startBytes + offsetBytes, into.subarray(0, length));
  }

  write(): Promise<void> {
    return Promise.reject(this.#readOnly());
  }

  truncate(): Promise<void> {
    return Promise.reject(this.#readOnly());
  }

  #readOnly(): ImageError {
    return new ImageError('read-only', `${this.path}: a part of a file can only be read`, {
      path: this.path,
    });
  }

  flush(): Promise<void> {
    return Promise.resolve();
  }

  size(): Promise<number> {
    return Promise.resolve(this.#sizeBytes);
  }

  allocatedBytes(): Promise<number> {
    return Promise.resolve(this.#sizeBytes);
  }

  punch(): Promise<boolean> {
    return Promise.resolve(false);
  }

  reserve(): Promise<boolean> {
    return Promise.resolve(false);
  }

  extent(
    offsetBytes: number,
    lengthBytes: number,
  ): Promise<{ data: boolean; lengthBytes: number }> {
    return this.#whole.extent(this.startBytes + offsetBytes, lengthBytes);
  }

  async close(): Promise<void> {
    if (this.#ownsWhole) await this.#whole.close();
  }
}
