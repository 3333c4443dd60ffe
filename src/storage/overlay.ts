import {
  checkRange,
  type DiskImage,
  type Extent,
  type HostFile,
  type ImageInfo,
  SECTOR_BYTES,
} from './image.ts';
import { totalLength } from './pieces.ts';
import { settle } from './settle.ts';
import { fillZeros } from './zeros.ts';

/** Sectors that one entry of the map tells of. */
const CHUNK_SECTORS = 2048;

/** What is written goes to `scratch`, at the same place; what was not is read from `base`. Owns both. */
export class OverlayImage implements DiskImage {
  /** The base's: a user knows of no other. */
  readonly format: string;
  readonly readOnly = false;
  readonly unitBytes = SECTOR_BYTES;
  readonly path: string;
  readonly backing: DiskImage;
  readonly #scratch: HostFile;
  /** By chunk: 1 for each sector that is in `scratch`. */
  readonly #written = new Map<number, Uint8Array>();

  constructor(base: DiskImage, scratch: HostFile) {
    this.format = base.format;
    this.path = base.path;
    this.backing = base;
    this.#scratch = scratch;
  }

  get sizeBytes(): number {
    return this.backing.sizeBytes;
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<void> {
    checkRange(this, offsetBytes, into.length);
    const parts: Promise<unknown>[] = [];
    for (let done = 0; done < into.length; ) {
      const { ours, lengthBytes } = this.#run(offsetBytes + done, into.length - done);
      const source = ours ? this.#scratch : this.backing;
      parts.push(source.read(offsetBytes + done, into.subarray(done, done + lengthBytes)));
      done += lengthBytes;
    }
    await settle(parts);
  }

  async write(offsetBytes: number, from: Uint8Array): Promise<void> {
    checkRange(this, offsetBytes, from.length);
    await this.#scratch.write(offsetBytes, from);
    this.#mark(offsetBytes, from.length);
  }

  tryRead(offsetBytes: number, into: readonly Uint8Array[]): boolean {
    const length = totalLength(into);
    checkRange(this, offsetBytes, length);
    const { ours, lengthBytes } = this.#run(offsetBytes, length);
    const source = ours ? this.#scratch : this.backing;
    return lengthBytes >= length && (source.tryRead?.(offsetBytes, into) ?? false);
  }

  tryWrite(offsetBytes: number, from: readonly Uint8Array[]): boolean {
    const length = totalLength(from);
    checkRange(this, offsetBytes, length);
    if (this.#scratch.tryWrite?.(offsetBytes, from) !== true) return false;
    this.#mark(offsetBytes, length);
    return true;
  }

  async writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void> {
    checkRange(this, offsetBytes, lengthBytes);
    if (!(await this.#scratch.punch(offsetBytes, lengthBytes)))
      await fillZeros(this.#scratch, offsetBytes, lengthBytes);
    this.#mark(offsetBytes, lengthBytes);
  }

  async discard(offsetBytes: number, lengthBytes: number): Promise<void> {
    checkRange(this, offsetBytes, lengthBytes);
    for (let done = 0; done < lengthBytes; ) {
      const run = this.#run(offsetBytes + done, lengthBytes - done);
      if (run.ours) await this.#scratch.punch(offsetBytes + done, run.lengthBytes);
      done += run.lengthBytes;
    }
  }

  /** Nothing here is to outlive the guest. */
  flush(): Promise<void> {
    return Promise.resolve();
  }

  extent(offsetBytes: number, lengthBytes: number): Promise<Extent> {
    const run = this.#run(offsetBytes, lengthBytes);
    const kind = run.ours ? 'data' : 'unallocated';
    return Promise.resolve({ kind, lengthBytes: run.lengthBytes });
  }

  info(): Promise<ImageInfo> {
    return Promise.resolve({});
  }

  async close(): Promise<void> {
    await Promise.all([this.#scratch.close(), this.backing.close()]);
  }

  #isOurs(sector: number): boolean {
    const chunk = this.#written.get(Math.floor(sector / CHUNK_SECTORS));
    return chunk?.[sector % CHUNK_SECTORS] === 1;
  }

  #run(offsetBytes: number, lengthBytes: number): { ours: boolean; lengthBytes: number } {
    const first = offsetBytes / SECTOR_BYTES;
    const end = first + lengthBytes / SECTOR_BYTES;
    const ours = this.#isOurs(first);
    let sector = first + 1;
    while (sector < end && this.#isOurs(sector) === ours) sector++;
    return { ours, lengthBytes: (sector - first) * SECTOR_BYTES };
  }

  #mark(offsetBytes: number, lengthBytes: number): void {
    const end = (offsetBytes + lengthBytes) / SECTOR_BYTES;
    for (let sector = offsetBytes / SECTOR_BYTES; sector < end; ) {
      const index = Math.floor(sector / CHUNK_SECTORS);
      const stop = Math.min(end, (index + 1) * CHUNK_SECTORS);
      const chunk = this.#written.get(index) ?? new Uint8Array(CHUNK_SECTORS);
      chunk.fill(1, sector % CHUNK_SECTORS, stop - index * CHUNK_SECTORS);
      this.#written.set(index, chunk);
      sector = stop;
    }
  }
}
