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
