import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { type Codec, ImageError } from '../image.ts';

const deflate = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.deflate);
const inflate = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.inflate);
const deflateRaw = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.deflateRaw);
const inflateRaw = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.inflateRaw);
const zstdCompress = promisify<Uint8Array, zlib.ZstdOptions, Buffer>(zlib.zstdCompress);
const zstdDecompress = promisify<Uint8Array, zlib.ZstdOptions, Buffer>(zlib.zstdDecompress);

/** zlib and zstd on libuv's threads. */
export const nodeCodec: Codec = {
  deflateRaw: (from, options = {}) => deflateRaw(from, options),
  deflate: (from, options = {}) => deflate(from, options),
  inflateRaw: (from, maxBytes) => bounded(inflateRaw(from, inflateOptions(maxBytes))),
  inflate: (from, maxBytes) => bounded(inflate(from, inflateOptions(maxBytes))),
  zstdCompress: (from) => zstdCompress(from, {}),
  zstdDecompress: (from, maxBytes) =>
    bounded(zstdDecompress(zstdFrame(from), { maxOutputLength: maxBytes })),
};

function inflateOptions(maxBytes: number): zlib.ZlibOptions {
  return { maxOutputLength: maxBytes, finishFlush: zlib.constants.Z_SYNC_FLUSH };
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
