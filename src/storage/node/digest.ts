import { createHash } from 'node:crypto';
import type { HostFile } from '../image.ts';

const CHUNK_BYTES = 1 << 20;

/** The digest of a file from `fromBytes` on, in hexadecimal, small letters. */
export async function digestOf(
  algorithm: 'SHA1' | 'SHA256' | 'SHA512',
  file: HostFile,
  fromBytes = 0,
  lengthBytes?: number,
): Promise<string> {
  const hash = createHash(algorithm.toLowerCase());
  const end = lengthBytes === undefined ? await file.size() : fromBytes + lengthBytes;
  for (let at = fromBytes; at < end; at += CHUNK_BYTES) {
    const bytes = new Uint8Array(Math.min(CHUNK_BYTES, end - at));
    await file.read(at, bytes);
    hash.update(bytes);
  }
  return hash.digest('hex');
}
