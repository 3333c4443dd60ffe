import type { HostFile } from '../../image.ts';
import type { Header } from './header.ts';
import { readCountTable } from './metadata.ts';
import { CountCodec } from './refcount-block.ts';

/** Clusters looked at: those of 1 TiB, of 64 KiB each. Tables of strangers may count more. */
const MOST_CLUSTERS = 2 ** 24;

/**
 * Whether clusters were counted that the host gave no room: those of `preallocation=metadata` that were never written, holes of the
 * file. By QEMU's measure (qcow2_detect_metadata_preallocation): a ninth more than the file takes, and two. Not in a damaged image.
 */
export async function hasUnwritten(file: HostFile, header: Header): Promise<boolean> {
  const clusterBytes = 2 ** header.clusterBits;
  const clusters = Math.ceil((await file.size()) / clusterBytes);
  const taken = Math.floor((await file.allocatedBytes()) / clusterBytes);
  const enough = Math.max(Math.floor((taken * 10) / 9), taken + 2);
  return enough <= clusters && (await areCounted(file, header, enough).catch(() => false));
}

/** Whether so many clusters have a count. */
async function areCounted(file: HostFile, header: Header, enough: number): Promise<boolean> {
  const table = await readCountTable(file, header);
  const codec = new CountCodec(header.refcountBits);
  const block = new Uint8Array(2 ** header.clusterBits);
  const view = new DataView(block.buffer);
  const perBlock = (block.length * 8) / header.refcountBits;
  let used = 0;
  let looked = 0;
  for (const place of table) {
    if (place === 0) continue;
    await file.read(place, block);
    for (let index = 0; index < perBlock; index++) if (codec.get(view, index) > 0) used++;
    looked += perBlock;
    if (used >= enough) return true;
    if (looked >= MOST_CLUSTERS) return false;
  }
  return false;
}
