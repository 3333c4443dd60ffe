import { readdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import type { StorageHost } from '../image.ts';
import { nodeCodec } from './node-codec.ts';
import { NodeFile } from './node-file.ts';

/** Storage on the files of this host. */
export const nodeStorageHost: StorageHost = {
  codec: nodeCodec,
  openFile: (file, options) => NodeFile.open(file, options),
  resolve: (imagePath, name) => path.resolve(path.dirname(imagePath), name),
  identity: async (file) => await realpath(file).catch(() => path.resolve(file)),
  list: async (file) => (await readdir(path.dirname(file)).catch(() => [])).sort(),
  nowMs: () => Date.now(),
};
