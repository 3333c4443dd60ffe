import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { type Codec, ImageError } from '../image.ts';
import { type Compressor, CompressorPool } from './compressor-pool.ts';

const inflate = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.inflate);
const inflateRaw = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.inflateRaw);
const zstdDecompress = promisify<Uint8Array, zlib.ZstdOptions, Buffer>(zlib.zstdDecompress);
const { Z_FINISH, Z_SYNC_FLUSH, ZSTD_e_end } = zlib.constants;

const MIN_CLASS_BYTES = 64 * 1024;
/** Outputs that share a buffer: one that does not fit into its rest takes a hop to the threads more. */
const OUTPUTS_A_BUFFER = 4;

/** zlib and zstd on libuv's threads. */
class NodeCodec implements Codec {
  /** By all that their streams are made with. */
  readonly #pools = new Map<string, CompressorPool>();

  deflateRaw(from: Uint8Array, options: { level?: number; windowBits?: number } = {}) {
    return this.#pool(`raw ${options.level} ${options.windowBits}`, from, (chunkSize) =>
      resettable(zlib.createDeflateRaw({ ...options, chunkSize, flush: Z_FINISH })),
    ).compress(from);
  }

  deflate(from: Uint8Array, options: { level?: number } = {}) {
    return this.#pool(`zlib ${options.level}`, from, (chunkSize) =>
      resettable(zlib.createDeflate({ ...options, chunkSize, flush: Z_FINISH })),
    ).compress(from);
  }

  zstdCompress(from: Uint8Array) {
    return this.#pool('zstd', from, (chunkSize) => ({
      // It goes on with another frame.
      stream: zlib.createZstdCompress({ chunkSize, flush: ZSTD_e_end }),
    })).compress(from);
  }

  inflateRaw(from: Uint8Array, maxBytes: number) {
    return bounded(inflateRaw(from, inflateOptions(maxBytes)));
  }

  inflate(from: Uint8Array, maxBytes: number) {
    return bounded(inflate(from, inflateOptions(maxBytes)));
  }

  zstdDecompress(from: Uint8Array, maxBytes: number) {
    const chunkSize = Math.max(MIN_CLASS_BYTES, maxBytes);
    return bounded(zstdDecompress(zstdFrame(from), { maxOutputLength: maxBytes, chunkSize }));
  }

  #pool(
    kind: string,
    { length }: Uint8Array,
    make: (chunkSize: number) => Compressor,
  ): CompressorPool {
    const classBytes = Math.max(MIN_CLASS_BYTES, 2 ** Math.ceil(Math.log2(length)));
    const key = `${kind} ${classBytes}`;
    const pool =
      this.#pools.get(key) ??
      new CompressorPool(availableParallelism(), () => make(OUTPUTS_A_BUFFER * classBytes));
    this.#pools.set(key, pool);
    return pool;
  }
}

function resettable(stream: zlib.Deflate | zlib.DeflateRaw): Compressor {
  return { stream, again: () => stream.reset() };
}

export const nodeCodec: Codec = new NodeCodec();

function inflateOptions(maxBytes: number): zlib.ZlibOptions {
  return { maxOutputLength: maxBytes, finishFlush: Z_SYNC_FLUSH };
}

async function bounded(output: Promise<Buffer>): Promise<Uint8Array> {
  try {
    return await output;
  } catch (error) {
    throw new ImageError(
      'corrupt',
      'compressed data are damaged or too long',
      {},
      { cause: error },
    );
  }
}

const ZSTD_MAGIC = 0xfd2fb528;
const BLOCK_RLE = 1;

/** The first frame of `from` without what follows it: zstd refuses padding (RFC 8878, 3.1.1). */
function zstdFrame(from: Uint8Array): Uint8Array {
  const view = new DataView(from.buffer, from.byteOffset, from.length);
  if (from.length < 6 || view.getUint32(0, true) !== ZSTD_MAGIC) return from;
  const descriptor = view.getUint8(4);
  const single = (descriptor & 0x20) !== 0;
  const contentBytes = [single ? 1 : 0, 2, 4, 8][descriptor >>> 6] ?? 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  let at = 5 + (single ? 0 : 1) + dictionaryBytes + contentBytes;
  for (let last = false; !last; ) {
    if (at + 3 > from.length) return from;
    const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    last = (header & 1) !== 0;
    at += 3 + (((header >>> 1) & 3) === BLOCK_RLE ? 1 : header >>> 3);
  }
  if ((descriptor & 4) !== 0) at += 4; // checksum
  return from.subarray(0, at);
}
