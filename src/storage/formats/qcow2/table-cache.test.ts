import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MemoryFile } from '../../testing.ts';
import { TableCache } from './table-cache.ts';

const CLUSTER_BYTES = 64 * 1024;
const MAX_BYTES = 8 * 4096;
/** More clusters than there are tables: they are looked through instead. */
const MUCH = 200 * CLUSTER_BYTES;

/** A file that counts its reads, and ends those that do not. */
class CountedFile extends MemoryFile {
  reads = 0;

  override read(offsetBytes: number, into: Uint8Array): Promise<number> {
    if (++this.reads > 100) throw new Error('read again and again');
    return super.read(offsetBytes, into);
  }
}

describe('the cache of tables', () => {
  it('has what was read, even while more than it may hold waits to be written', async () => {
    const file = new CountedFile();
    const cache = new TableCache(file, CLUSTER_BYTES, MAX_BYTES);
    for (let table = 0; table < 4; table++) cache.create(table * CLUSTER_BYTES);
    assert.equal(cache.isFull, true);
    for (let count = 0; count < 3; count++) {
      const slice = await cache.load(10 * CLUSTER_BYTES);
      assert.equal(slice.start, 10 * CLUSTER_BYTES);
    }
    assert.equal(file.reads, 1);
  });

  it('drops what is not used once it is written', async () => {
    const file = new CountedFile();
    const cache = new TableCache(file, CLUSTER_BYTES, MAX_BYTES);
    for (let table = 0; table < 4; table++) cache.create(table * CLUSTER_BYTES);
    const runs = cache.takeDirty();
    await cache.write(runs);
    cache.wrote(runs);
    const there = Array.from({ length: 64 }, (_, slice) => cache.peek(slice * 4096));
    assert.ok(there.filter((slice) => slice !== undefined).length <= MAX_BYTES / 4096);
  });

  const ranges = [
    { name: 'the slice alone', from: 4096, bytes: 4096, hit: true },
    { name: 'a byte of it', from: 8191, bytes: 1, hit: true },
    { name: 'the slices beside it', from: 0, bytes: 4096, hit: false },
    { name: 'the rest of its cluster', from: 8192, bytes: CLUSTER_BYTES - 8192, hit: false },
    { name: 'much of the file, with it', from: -100 * CLUSTER_BYTES, bytes: MUCH, hit: true },
    { name: 'much of the file, behind it', from: CLUSTER_BYTES, bytes: MUCH, hit: false },
    { name: 'much of the file, before it', from: -MUCH, bytes: MUCH, hit: false },
  ];
  for (const { name, from, bytes, hit } of ranges)
    it(`knows whether a table lies in a range: ${name}`, async () => {
      const cache = new TableCache(new CountedFile(), CLUSTER_BYTES, MAX_BYTES);
      const table = 500 * CLUSTER_BYTES;
      await cache.load(table + 4096);
      assert.equal(cache.overlaps(table + from, bytes), hit);
      cache.drop(table);
      assert.equal(cache.overlaps(table + from, bytes), false);
    });
});
