import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MemoryFile, noise } from '../testing.ts';
import { MetadataCache } from './metadata-cache.ts';

const OPTIONS = { pageBytes: 512, littleEndian: true } as const;

async function fileWith(bytes: Uint8Array): Promise<MemoryFile> {
  const file = new MemoryFile('/f');
  await file.write(0, bytes);
  return file;
}

async function bytesOf(file: MemoryFile, offsetBytes: number, length: number): Promise<Uint8Array> {
  const into = new Uint8Array(length);
  await file.read(offsetBytes, into);
  return into;
}

describe('MetadataCache', () => {
  it('replaces whole pages without reading them, and changes those of which a part stays', async () => {
    const old = noise(4096, 1);
    const file = await fileWith(old);
    const reads: number[] = [];
    const read = file.read.bind(file);
    file.read = (offsetBytes, into) => {
      reads.push(offsetBytes);
      return read(offsetBytes, into);
    };
    const cache = new MetadataCache(file, OPTIONS);
    await cache.set(512, noise(1024, 2), 0);
    await cache.fill(2048, 512, 0xff, 0);
    assert.deepEqual(reads, []);
    await cache.set(3000, noise(100, 3), 0);
    assert.equal(reads.length, 1);
    await cache.commit();
    const expected = old.slice();
    expected.set(noise(1024, 2), 512);
    expected.fill(0xff, 2048, 2560);
    expected.set(noise(100, 3), 3000);
    assert.deepEqual(await bytesOf(file, 0, 4096), expected);
  });

  for (const littleEndian of [true, false])
    it(`writes and counts numbers with a step between them, over pages (${littleEndian ? 'little' : 'big'}-endian)`, async () => {
      const file = await fileWith(new Uint8Array(2048));
      const options = { ...OPTIONS, littleEndian };
      const cache = new MetadataCache(file, options);
      const [at, count, first, step] = [512 - 3 * 8, 70, 2 ** 32 - 2 * 65536, 65536];
      await cache.setRun64(at, count, first, step, 1);
      await cache.commit();
      const again = new MetadataCache(file, options);
      for (let one = 0; one < count; one++)
        assert.equal(await again.u64(at + one * 8), first + one * step);
      assert.equal(await again.u64(at + count * 8), 0);
      assert.equal(again.run64(at, count, step), 3, 'to the end of its page');
      assert.equal(again.run64(512, 5, step), 5);
      assert.equal(again.run64(512, 99, 0), 1);
      assert.equal(again.run64(1024, 99, step), 3, 'to the last that follows');
      assert.equal(again.run64(at + count * 8, 9, 0), 9);
      assert.equal(again.run64(1 << 20, 9, 0), 1, 'what is not in memory');
    });

  it('keeps each change, whenever commits come in between', async () => {
    for (let wait = 0; wait < 24; wait++) {
      const file = await fileWith(new Uint8Array(1024));
      const cache = new MetadataCache(file, OPTIONS);
      const changes = [cache.setU32(4, 7, 1), cache.set(512, noise(512, 4), 0)];
      for (let turn = 0; turn < wait; turn++) await Promise.resolve();
      const commits = [cache.commit(), cache.commit()];
      await Promise.all([...changes, ...commits]);
      await cache.commit();
      const bytes = await bytesOf(file, 0, 1024);
      assert.equal(bytes[4], 7, `after ${wait} turns`);
      assert.deepEqual(bytes.slice(512), noise(512, 4), `after ${wait} turns`);
    }
  });
});
