import type { Codec } from '../image.ts';

let loading: Promise<Codec> | undefined;

/** Loaded with the first piece that is compressed: most images have none. */
async function load(): Promise<Codec> {
  loading ??= import('./node-codec.ts').then(({ nodeCodec }) => nodeCodec);
  return await loading;
}

/** What Node has of compressors. */
export const lazyCodec: Codec = {
  deflateRaw: async (...given) => (await load()).deflateRaw(...given),
  inflateRaw: async (...given) => (await load()).inflateRaw(...given),
  deflate: async (...given) => (await load()).deflate(...given),
  inflate: async (...given) => (await load()).inflate(...given),
  zstdCompress: async (...given) => (await load()).zstdCompress(...given),
  zstdDecompress: async (...given) => (await load()).zstdDecompress(...given),
};
