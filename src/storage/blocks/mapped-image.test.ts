import assert from 'node:assert/strict';
import { it } from 'node:test';
import { type HostFile, ImageError, SECTOR_BYTES } from '../image.ts';
import type { BlockMap, Run } from './block-map.ts';
import { MappedImage } from './mapped-image.ts';

it('a read of a damaged disk ends when all its parts have', async () => {
  let underWay = 0;
  const file = {
    path: '/disk',
    read: async () => {
      underWay++;
      await new Promise((resolve) => setTimeout(resolve, 20));
      underWay--;
      return SECTOR_BYTES;
    },
  } as unknown as HostFile;
  // Two sectors that lie apart, and one that is lost.
  const find = (at: number): Run => {
    if (at === 2 * SECTOR_BYTES) throw new ImageError('corrupt', 'damaged');
    return { kind: 'data', lengthBytes: SECTOR_BYTES, file, hostOffsetBytes: 2 * at };
  };
  const map = { unitBytes: SECTOR_BYTES, sizeBytes: 3 * SECTOR_BYTES, find };
  const image = new MappedImage({
    ...{ format: 'test', path: '/disk', readOnly: true, backing: undefined },
    map: map as unknown as BlockMap,
  });
  await assert.rejects(image.read(0, new Uint8Array(3 * SECTOR_BYTES)), { kind: 'corrupt' });
  assert.equal(underWay, 0);
});

it('unpacks no more than four compressed runs at once, each of which takes memory', async () => {
  let now = 0;
  let most = 0;
  const map: BlockMap = {
    ...{ unitBytes: 512, sizeBytes: 64 * 512 },
    find: () => ({ kind: 'data', lengthBytes: 512, compressed: true }),
    readCompressed: async (_run, offsetBytes, into) => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 1));
      into.fill(offsetBytes / 512);
      now--;
    },
    commit: () => Promise.resolve(),
    info: () => ({}),
    close: () => Promise.resolve(),
  };
  const parts = { format: 'dmg', path: '/d', readOnly: true, backing: undefined, map };
  const bytes = new Uint8Array(64 * 512);
  await new MappedImage(parts).read(0, bytes);
  assert.equal(most, 4);
  const expected = Array.from({ length: 64 }, (_, run) => run);
  assert.deepEqual(
    expected.map((run) => bytes[run * 512 + 511]),
    expected,
  );
});
