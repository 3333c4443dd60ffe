import * as zlib from 'node:zlib';
import { BootError } from '#machines/boot/boot-error.ts';
import type { BootInput, Decompress } from '#machines/boot/plan-types.ts';
import { lz4Module } from './engine.ts';

/** What kernels are unpacked with. */
export const DECOMPRESS: BootInput['decompress'] = {
  gzip: decompressBy((data, options) => zlib.gunzipSync(data, options)),
  zstd: decompressBy((data, options) => zlib.zstdDecompressSync(data, options)),
  lz4: lz4Module,
};

function decompressBy(
  unpack: (data: Uint8Array, options: { readonly maxOutputLength: number }) => Uint8Array,
): Decompress {
  return (data, limit) => {
    try {
      return unpack(data, { maxOutputLength: limit });
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
      if (code === 'ERR_BUFFER_TOO_LARGE')
        throw new BootError('too-large', `the kernel unpacks to more than ${limit} bytes`, {
          cause,
        });
      if (code === 'ZSTD_error_frameParameter_windowTooLarge')
        throw new BootError('unsupported', 'the zstd payload has a larger window', { cause });
      throw cause;
    }
  };
}
