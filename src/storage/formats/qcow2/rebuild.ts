import { type HostFile, ImageError } from '../../image.ts';
import type { Walk } from './check-walk.ts';
import type { Header } from './header.ts';
import { HeaderStore } from './header-store.ts';
import * as q from './layout.ts';
import { readCountTable } from './metadata.ts';
import { CountCodec } from './refcount-block.ts';
import { Tally } from './tally.ts';

/** Writes all refcounts anew, behind all else, from what `walk` counted; then lets the header lead to them. */
export async function rebuildRefcounts(file: HostFile, header: Header, walk: Walk): Promise<void> {
  const { clusterBytes } = walk;
  const perBlock = (clusterBytes * 8) / header.refcountBits;
  const tally = await withoutOldCounts(file, header, walk);
  const start = Math.max(tally.end, Math.ceil((await file.size()) / clusterBytes));
  const needed = new Set<number>();
  tally.each((cluster) => needed.add(Math.floor(cluster / perBlock)));
  // The blocks and the table are counted too: more blocks, until all are.
  let tableClusters = 1;
  for (let known = -1; known !== needed.size; ) {
    known = needed.size;
    tableClusters = Math.max(1, Math.ceil(((Math.max(...needed) + 1) * 8) / clusterBytes));
    const end = start + needed.size + tableClusters;
    for (let block = Math.floor(start / perBlock); block * perBlock < end; block++)
      needed.add(block);
  }
  if (tableClusters * clusterBytes > q.MAX_REFCOUNT_TABLE_BYTES)
    throw new ImageError('unsupported', `${file.path}: the refcount table would be too long`);
  const blocks = [...needed].sort((a, b) => a - b);
  for (let one = 0; one < blocks.length + tableClusters; one++) tally.add(start + one, 1);
  const codec = new CountCodec(header.refcountBits);
  const table = new DataView(new ArrayBuffer(tableClusters * clusterBytes));
  for (const [index, block] of blocks.entries()) {
    const offset = (start + index) * clusterBytes;
    const counts = new DataView(new ArrayBuffer(clusterBytes));
    for (let at = 0; at < perBlock; at++) {
      const count = tally.get(block * perBlock + at);
      if (count > 0) codec.set(counts, at, Math.min(count, codec.max));
    }
    await file.write(offset, new Uint8Array(counts.buffer));
    table.setBigUint64(block * 8, BigInt(offset));
  }
  const tableOffset = (start + blocks.length) * clusterBytes;
  await file.write(tableOffset, new Uint8Array(table.buffer));
  await file.flush();
  await new HeaderStore(file, header).update({
    refcountTableOffset: tableOffset,
    refcountTableClusters: tableClusters,
  });
}

/** The references, but for those to the refcounts that go. */
async function withoutOldCounts(file: HostFile, header: Header, walk: Walk): Promise<Tally> {
  const { clusterBytes } = walk;
  const old = new Tally();
  const first = header.refcountTableOffset / clusterBytes;
  for (let one = 0; one < header.refcountTableClusters; one++) old.add(first + one, 1);
  for (const offset of await readCountTable(file, header, () => {}))
    if (offset > 0) old.add(offset / clusterBytes, 1);
  const kept = new Tally();
  walk.tally.each((cluster, count) => {
    const rest = count - old.get(cluster);
    if (rest > 0) kept.add(cluster, rest);
  });
  return kept;
}
