import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import type { BootInput } from '#machines/boot/plan-types.ts';
import { lz4Module } from './engine.ts';

/** What kernels are unpacked with. */
export const DECOMPRESS: BootInput['decompress'] = {
  gzip: (data, limit) => gunzipSync(data, { maxOutputLength: limit }),
  zstd: (data, limit) => zstdDecompressSync(data, { maxOutputLength: limit }),
  lz4: lz4Module,
};
