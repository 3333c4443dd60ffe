import { readPadded, tryReadPadded } from '../../backing.ts';
import { type Codec, type DiskImage, ImageError } from '../../image.ts';
import { settle } from '../../settle.ts';
import type { Mapping, Run } from './mapping.ts';
import type { Metadata } from './metadata.ts';

/** Pieces of one request that are read at once. */
const MAX_PARALLEL = 16;
/** Decompressed clusters that are kept: sequential reads come in smaller pieces. */
const KEPT_CLUSTERS = 4;

/** Reads the disk, through the backing image where this one says nothing. */
export class Reader {
  readonly #meta: Metadata;
  readonly #mapping: Mapping;
  readonly #backing: DiskImage | undefined;
  readonly #codec: Codec;
  /** By their place in the host file. */
  readonly #decompressed = new Map<number, Promise<Uint8Array>>();

  constructor(meta: Metadata, mapping: Mapping, backing: DiskImage | undefined, codec: Codec) {
    this.#meta = meta;
    this.#mapping = mapping;
    this.#backing = backing;
    this.#codec = codec;
  }

  /** Whether what is not allocated from here on reads as zeros. */
  isBare(offsetBytes: number): boolean {
    return this.#backing === undefined || offsetBytes >= this.#backing.sizeBytes;
  }

  async read(offsetBytes: number, into: Uint8Array): Promise<void> {
    let pending: Promise<unknown>[] | undefined;
    for (let done = 0; done < into.length; ) {
      const run = this.#mapping.run(offsetBytes + done, into.length - done);
      if (run === undefined) {
        // What was begun uses the memory until it ends, also when this fails.
        await settle([this.#mapping.load(offsetBytes + done), ...(pending ?? [])]);
        pending = undefined;
        continue;
      }
      if (run.lengthBytes === into.length) {
        await this.#readRun(run, into);
        return;
      }
      pending ??= [];
      pending.push(this.#readRun(run, into.subarray(done, done + run.lengthBytes)));
      done += run.lengthBytes;
      if (pending.length < MAX_PARALLEL) continue;
      await settle(pending);
      pending = undefined;
    }
    if (pending !== undefined) await settle(pending);
  }

  /** What {@link DiskImage.tryRead} does, of ranges that lie in one way. */
  tryRead(offsetBytes: number, into: readonly Uint8Array[], lengthBytes: number): boolean {
    const run = this.#mapping.run(offsetBytes, lengthBytes);
    if (run === undefined || run.lengthBytes < lengthBytes || run.compressed === true) return false;
    if (run.kind === 'data')
      return this.#meta.data.tryRead?.(run.hostOffsetBytes ?? 0, into) ?? false;
    // Zeros are what no image has.
    const behind = run.kind === 'unallocated' ? this.#backing : undefined;
    return tryReadPadded(behind, offsetBytes, into, lengthBytes);
  }

  /** Forgets decompressed clusters: others may come to lie where they did. */
  forget(): void {
    this.#decompressed.clear();
  }

  #readRun(run: Run, into: Uint8Array): Promise<unknown> {
    if (run.compressed === true) return this.#readCompressed(run, into);
    if (run.kind === 'data') return this.#meta.data.read(run.hostOffsetBytes ?? 0, into);
    if (run.kind === 'unallocated') return readPadded(this.#backing, run.offsetBytes, into);
    into.fill(0);
    return Promise.resolve();
  }

  async #readCompressed(run: Run, into: Uint8Array): Promise<void> {
    const start = run.offsetBytes % this.#meta.clusterBytes;
    const bytes = await this.#decompress(run);
    into.set(bytes.subarray(start, start + into.length));
  }

  #decompress(run: Run): Promise<Uint8Array> {
    const place = run.hostOffsetBytes ?? 0;
    const known = this.#decompressed.get(place);
    if (known !== undefined) return known;
    const bytes = this.#inflate(place, run.compressedBytes);
    this.#decompressed.set(place, bytes);
    // A failure is told to who waits for it, and the next one tries again.
    bytes.catch(() => this.#decompressed.delete(place));
    for (const oldest of this.#decompressed.keys()) {
      if (this.#decompressed.size <= KEPT_CLUSTERS) break;
      this.#decompressed.delete(oldest);
    }
    return bytes;
  }

  async #inflate(hostOffset: number, compressedBytes: number): Promise<Uint8Array> {
    const from = new Uint8Array(compressedBytes);
    const count = await this.#meta.file.read(hostOffset, from);
    const inflate =
      this.#meta.header.compression === 'zstd'
        ? this.#codec.zstdDecompress
        : this.#codec.inflateRaw;
    try {
      const bytes = await inflate(from.subarray(0, count), this.#meta.clusterBytes);
      if (bytes.length === this.#meta.clusterBytes) return bytes;
    } catch (error) {
      throw this.#damaged('a compressed cluster cannot be decompressed', hostOffset, error);
    }
    throw this.#damaged('a compressed cluster is too short', hostOffset);
  }

  #damaged(what: string, offsetBytes: number, cause?: unknown): ImageError {
    const { path } = this.#meta.file;
    const message = `${path}: at ${offsetBytes}: ${what}`;
    return new ImageError('corrupt', message, { path, offsetBytes }, { cause });
  }
}
