import { closeSync, constants, fstatSync, openSync, read } from 'node:fs';
import { promised } from '#base/node/promised.ts';
import { alignedBytes } from '../aligned.ts';

/** Blocks that requests are made of, the smallest first: of most disks, and of those that have pages for sectors. */
const BLOCK_BYTES = [512, 4096] as const;
const PAGE_BYTES = 4096;

export interface DirectFile {
  readonly fd: number;
  /** What places, lengths and memory of requests are multiples of. */
  readonly blockBytes: number;
}

/** Opens an existing file past the host's cache (open(2), O_DIRECT); undefined when its file system does not take that. */
export async function openDirect(where: string, flags: number): Promise<DirectFile | undefined> {
  let fd: number;
  try {
    fd = openSync(where, flags | constants.O_DIRECT);
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
  try {
    const blockBytes = await blockBytesOf(fd);
    if (blockBytes !== undefined) return { fd, blockBytes };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  closeSync(fd);
  return undefined;
}

/** Found by trying: Node has no statx(2), which tells of it. */
async function blockBytesOf(fd: number): Promise<number | undefined> {
  const stats = fstatSync(fd);
  // Its end is met before its blocks are.
  if (stats.isFile() && stats.size < 2 * PAGE_BYTES) return PAGE_BYTES;
  const page = alignedBytes(2 * PAGE_BYTES);
  for (const blockBytes of BLOCK_BYTES)
    try {
      await promised((done) => read(fd, page, blockBytes, blockBytes, blockBytes, done));
      return blockBytes;
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
  return undefined;
}

const isRefusal = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'EINVAL';
