import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MemoryFile } from '../../testing.ts';
import { TableCache } from './table-cache.ts';

const CLUSTER_BYTES = 64 * 1024;
const MAX_BYTES = 8 * 4096;

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
});
