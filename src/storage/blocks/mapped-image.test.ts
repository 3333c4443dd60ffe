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
