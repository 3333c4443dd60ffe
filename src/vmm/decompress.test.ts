import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { DECOMPRESS } from './decompress.ts';

describe('a payload of gzip or zstd', () => {
  const text = new Uint8Array(10_000).fill(7);
  const packed = { gzip: gzipSync(text), zstd: zstdCompressSync(text) };
  for (const format of ['gzip', 'zstd'] as const) {
    it(`${format}: is unpacked, as far as the limit`, () => {
      assert.deepEqual(new Uint8Array(DECOMPRESS[format](packed[format], 10_000)), text);
      const limited = () => DECOMPRESS[format](packed[format], 9_999);
      assert.throws(limited, { name: 'BootError', kind: 'too-large' });
    });

    it(`${format}: damage is neither a limit nor something unknown`, () => {
      const damaged = packed[format].fill(0x55, 12);
      assert.throws(() => DECOMPRESS[format](damaged, 10_000), { name: 'Error' });
    });
  }

  it('zstd: a window wider than ours is left to the guest', () => {
    const windowLog = 28; // RFC 8878, 3.1.1.1.2: ten less, in the upper five bits
    const frame = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, (windowLog - 10) << 3, 1, 0, 0);
    assert.throws(() => DECOMPRESS.zstd(frame, 1), { name: 'BootError', kind: 'unsupported' });
  });
});
