import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createImage } from '../formats/testing.ts';
import { vpc } from '../formats/vpc/vpc.ts';
import type { DiskImage } from '../image.ts';
import { openImage } from '../open.ts';
import { MemoryHost, noise } from '../testing.ts';
import { compareDisks } from './compare.ts';

const MIB = 1 << 20;
const BLOCK = 2 * MIB;
const PAGE = 4096;

type Read = { readonly at: number; readonly end: number };

/** A disk of one block of which the second half has data; what is read of it goes to `reads`. */
async function halfBlock(host: MemoryHost, path: string, reads: Read[]): Promise<DiskImage> {
  await createImage(vpc, host, path, BLOCK);
  const disk = await openImage(path, host, { format: 'vpc' });
  await disk.write(MIB, noise(MIB, 1));
  return {
    path,
    sizeBytes: disk.sizeBytes,
    extent: (at: number, length: number) => disk.extent(at, length),
    read: (at: number, into: Uint8Array) => {
      reads.push({ at, end: at + into.length });
      return disk.read(at, into);
    },
    write: (at: number, from: Uint8Array) => disk.write(at, from),
  } as DiskImage;
}

describe('compareDisks', () => {
  it('takes holes for zeros, and does not read them', async () => {
    const host = new MemoryHost();
    const reads: Read[] = [];
    const first = await halfBlock(host, '/first', reads);
    const second = await halfBlock(host, '/second', []);
    const same = await compareDisks({ first, second, strict: false });
    assert.deepEqual(same, { sizesDiffer: false });
    await second.write(2 * PAGE, noise(512, 2));
    const { difference, offsetBytes } = await compareDisks({ first, second, strict: false });
    assert.deepEqual({ difference, offsetBytes }, { difference: 'content', offsetBytes: 2 * PAGE });
    assert.ok(reads.length > 0);
    // The host's pages lie elsewhere in the file than on the disk.
    const ofHole = reads.filter(({ at, end }) => at < MIB - PAGE && end > PAGE);
    assert.deepEqual(ofHole, []);
  });
});
