import type { BlockMap, Run } from '../../blocks/block-map.ts';
import { badAt } from '../../blocks/fields.ts';
import { MappedImage } from '../../blocks/mapped-image.ts';
import {
  type Codec,
  type DiskImage,
  type HostFile,
  ImageError,
  type ImageFormat,
  type ImageInfo,
  type OpenContext,
  SECTOR_BYTES,
} from '../../image.ts';
import { unpackAdc } from './adc.ts';
import { bunzip2 } from './bunzip2.ts';
import { type Chunk, type Contents, isTrailer, readContents } from './chunks.ts';
import * as v from './layout.ts';

const FORMAT = 'dmg';
/** Chunks that are kept as they are after decompression. */
const KEPT_CHUNKS = 4;

class DmgMap implements BlockMap {
  readonly sizeBytes: number;
  readonly unitBytes = SECTOR_BYTES;
  readonly #file: HostFile;
  readonly #chunks: readonly Chunk[];
  readonly #codec: Codec;
  /** By their places in the file, oldest first. */
  readonly #unpacked = new Map<number, Promise<Uint8Array>>();

  constructor(file: HostFile, { sizeBytes, chunks }: Contents, codec: Codec) {
    this.sizeBytes = sizeBytes;
    this.#file = file;
    this.#chunks = chunks;
    this.#codec = codec;
  }

  find(offsetBytes: number, lengthBytes: number): Run {
    const index = this.#firstEndingAfter(offsetBytes);
    const chunk = this.#chunks[index];
    if (chunk === undefined) return { kind: 'unallocated', lengthBytes };
    if (chunk.startBytes > offsetBytes) {
      const gap = chunk.startBytes - offsetBytes;
      return { kind: 'unallocated', lengthBytes: Math.min(lengthBytes, gap) };
    }
    const within = offsetBytes - chunk.startBytes;
    const length = Math.min(lengthBytes, chunk.lengthBytes - within);
    if (chunk.type === v.TYPE_ZERO || chunk.type === v.TYPE_IGNORE)
      return { kind: 'zero', lengthBytes: length };
    const run = { kind: 'data', lengthBytes: length, file: this.#file } as const;
    if (chunk.type === v.TYPE_RAW) return { ...run, hostOffsetBytes: chunk.hostOffset + within };
    return { ...run, hostOffsetBytes: chunk.hostOffset, compressed: true };
  }

  #firstEndingAfter(offsetBytes: number): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const chunk = this.#chunks[middle];
      if (chunk !== undefined && chunk.startBytes + chunk.lengthBytes <= offsetBytes)
        low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async readCompressed(_run: Run, offsetBytes: number, into: Uint8Array): Promise<void> {
    const chunk = this.#chunks[this.#firstEndingAfter(offsetBytes)];
    if (chunk === undefined) return;
    const key = chunk.hostOffset;
    const unpacked = this.#unpacked.get(key) ?? this.#unpack(chunk);
    this.#unpacked.delete(key);
    this.#unpacked.set(key, unpacked);
    // A failure is told to who waits for it, and the next one tries again.
    unpacked.catch(() => this.#unpacked.delete(key));
    for (const oldest of this.#unpacked.keys()) {
      if (this.#unpacked.size <= KEPT_CHUNKS) break;
      this.#unpacked.delete(oldest);
    }
    const within = offsetBytes - chunk.startBytes;
    into.set((await unpacked).subarray(within, within + into.length));
  }

  async #unpack(chunk: Chunk): Promise<Uint8Array> {
    const from = new Uint8Array(chunk.storedBytes);
    await this.#file.read(chunk.hostOffset, from);
    let bytes: Uint8Array;
    try {
      bytes = await this.#decompress(chunk, from);
    } catch (error) {
      const what = 'a chunk cannot be decompressed';
      throw badAt('corrupt', this.#file.path, chunk.hostOffset, what, error);
    }
    if (bytes.length === chunk.lengthBytes) return bytes;
    const what = `a chunk of ${chunk.lengthBytes} bytes has ${bytes.length}`;
    throw badAt('corrupt', this.#file.path, chunk.hostOffset, what);
  }

  async #decompress(chunk: Chunk, from: Uint8Array): Promise<Uint8Array> {
    if (chunk.type === v.TYPE_ZLIB) return await this.#codec.inflate(from, chunk.lengthBytes);
    if (chunk.type === v.TYPE_BZIP2) return bunzip2(from, chunk.lengthBytes);
    return unpackAdc(from, chunk.lengthBytes);
  }

  commit(): Promise<void> {
    return Promise.resolve();
  }

  info(): ImageInfo {
    return { compressed: this.#chunks.some(({ type }) => type > v.TYPE_COMMENT) };
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

async function open(file: HostFile, context: OpenContext): Promise<DiskImage> {
  try {
    if (!context.readOnly)
      throw new ImageError(
        'read-only',
        `${file.path}: DMG images can only be read; write to a copy in another format`,
        { path: file.path },
      );
    const map = new DmgMap(file, await readContents(file), context.host.codec);
    const backing = undefined;
    return new MappedImage({ format: FORMAT, path: file.path, readOnly: true, backing, map });
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Apple's disk images, for reading: plain, zlib, bzip2, ADC; not LZFSE and LZMA. */
export const dmg: ImageFormat = {
  name: FORMAT,
  probe: (_head, tail) => isTrailer(tail),
  open,
  createOptions: [],
};
