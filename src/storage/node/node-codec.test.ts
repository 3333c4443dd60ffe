import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as zlib from 'node:zlib';
import { noise } from '../testing.ts';
import { nodeCodec } from './node-codec.ts';

const text = new TextEncoder().encode('compresses well. '.repeat(10_000));

/** More pieces than there are streams, and outputs that fill a buffer they share. */
const PIECES = Array.from({ length: 24 }, (_, index) => {
  const piece = index % 3 === 0 ? noise(65_536, index) : text.slice(index, index + 65_536);
  return index === 23 ? piece.subarray(0, 512) : piece;
});

const CODECS = [
  {
    name: 'deflateRaw',
    pack: (from: Uint8Array) => nodeCodec.deflateRaw(from, { windowBits: 12 }),
    unpack: (from: Uint8Array) => nodeCodec.inflateRaw(from, 65_536),
    unpackOther: (from: Uint8Array) => zlib.inflateRawSync(from),
  },
  {
    name: 'deflate',
    pack: (from: Uint8Array) => nodeCodec.deflate(from),
    unpack: (from: Uint8Array) => nodeCodec.inflate(from, 65_536),
    unpackOther: (from: Uint8Array) => zlib.inflateSync(from),
  },
  {
    name: 'zstd',
    pack: (from: Uint8Array) => nodeCodec.zstdCompress(from),
    unpack: (from: Uint8Array) => nodeCodec.zstdDecompress(from, 65_536),
    unpackOther: (from: Uint8Array) => zlib.zstdDecompressSync(from),
  },
];

describe('the codec of this host', () => {
  for (const { name, pack, unpack, unpackOther } of CODECS) {
    it(`${name}: each of many pieces at once comes back, here and elsewhere`, async () => {
      const packed = await Promise.all(PIECES.map(pack));
      for (const [index, piece] of PIECES.entries()) {
        const one = packed[index] ?? new Uint8Array(0);
        assert.deepEqual(Buffer.from(await unpack(one)), Buffer.from(piece));
        assert.deepEqual(unpackOther(one), Buffer.from(piece));
      }
      assert.ok((packed[1]?.length ?? 0) < 2_000);
    });

    it(`${name}: the same piece is the same output, whatever came before`, async () => {
      const [first, again] = [await pack(text), await pack(text)];
      assert.deepEqual(Buffer.from(again), Buffer.from(first));
    });
  }
});
