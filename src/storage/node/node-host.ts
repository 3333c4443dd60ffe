import { readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { FileOptions, HostFile, StorageHost } from '../image.ts';
import { lazyCodec } from './lazy-codec.ts';
import { NodeFile, type NodeFileOptions } from './node-file.ts';
import { realPath } from './paths.ts';
import { replaceFile } from './replace-file.ts';

function isUrl(file: string): boolean {
  return /^https?:\/\//i.test(file);
}

async function openUrl(url: string, options: FileOptions | undefined): Promise<HostFile> {
  return await (await import('./http-file.ts')).HttpFile.open(url, options);
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

/** Storage on the files of this host, and, for reading, on those of HTTP servers. */
export const nodeStorageHost: StorageHost = {
  codec: lazyCodec,
  openFile: (file, options) =>
    isUrl(file) ? openUrl(file, options) : NodeFile.open(file, options),
  replace: replaceFile,
  remove: async (file) => rmSync(file, { force: true }),
  resolve: (imagePath, name) => {
    if (isUrl(name)) return name;
    // What a server has leads to nothing on this host.
    if (isUrl(imagePath)) return new URL(name, imagePath).href;
    return path.resolve(path.dirname(imagePath), name);
  },
  identity: async (file) => {
    if (isUrl(file)) return new URL(file).href;
    return realPath(file) ?? path.resolve(file);
  },
  list: async (file) => (isUrl(file) ? [] : namesIn(path.dirname(file))),
  nowMs: () => Date.now(),
};

/** As `nodeStorageHost`, past the host's cache; `told` hears of files that do not take that. */
export const directStorageHost = (told: (line: string) => void): StorageHost =>
  withOptions({ onNotDirect: told });

/** As `nodeStorageHost`, and no flush waits for the host's disks: all is in its cache, in order. */
export const unsafeStorageHost: StorageHost = withOptions({ neverFlush: true });

/** As `nodeStorageHost`, for who has nothing else to do than wait for what is written. */
export const patientStorageHost: StorageHost = withOptions({ isPatient: true });

/** As `patientStorageHost`, and flushes at the end. */
export const flushedStorageHost: StorageHost = withOptions({ isPatient: true, isFlushed: true });

function withOptions(more: Partial<NodeFileOptions>): StorageHost {
  return {
    ...nodeStorageHost,
    openFile: (file, options) =>
      isUrl(file) ? openUrl(file, options) : NodeFile.open(file, { ...options, ...more }),
  };
}
