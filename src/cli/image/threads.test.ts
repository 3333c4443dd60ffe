import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import type { DiskImage } from '#storage/image.ts';
import type { SourceDisk } from '#storage/ops/concat.ts';
import { readOnOneThread } from './threads.ts';

const NAME = 'UV_THREADPOOL_SIZE';
const dir = mkdtempSync(path.join(tmpdir(), 'ring0-threads-'));
after(() => rmSync(dir, { recursive: true }));
const before = process.env[NAME];
beforeEach(() => {
  delete process.env[NAME];
});
after(() => {
  if (before !== undefined) process.env[NAME] = before;
});

const image = { path: dir } as unknown as DiskImage;
const target = path.join(dir, 'target');

/** A disk of 16 MiB, its first half zeros, some of them holes of the host file, that takes so long for each read. */
function disk(ms: number, compressed = false): SourceDisk {
  const quarter = 4 << 20;
  const half = 2 * quarter;
  return {
    sizeBytes: 2 * half,
    status: async (at: number) => ({
      ...{ kind: at < quarter ? 'zero' : 'data', lengthBytes: quarter - (at % quarter) },
      ...{ hole: at >= quarter && at < half },
      ...{ depth: 0, decidedAt: 0, present: true, compressed },
    }),
    read: async (at: number) => {
      assert.ok(at >= half, 'zeros are not read');
      const end = performance.now() + ms;
      while (performance.now() < end);
    },
  } as unknown as SourceDisk;
}

describe('one thread of libuv', () => {
  const cases = [
    { name: 'is enough for what is at hand', source: disk(0), expected: '1' },
    { name: 'is too few for a slow source', source: disk(2), expected: undefined },
    { name: 'is too few for what is compressed', source: disk(0, true), expected: undefined },
  ];
  for (const { name, source, expected } of cases)
    it(name, async () => {
      await readOnOneThread([image], source, target);
      assert.equal(process.env[NAME], expected);
    });

  it('is not for a device, nor for a file that is elsewhere', async () => {
    await readOnOneThread([image], disk(0), '/dev/null');
    await readOnOneThread([{ ...image, backing: { path: '/proc' } } as DiskImage], disk(0), target);
    assert.equal(process.env[NAME], undefined);
  });

  it('does not take the place of what a user has set', async () => {
    process.env[NAME] = '3';
    await readOnOneThread([image], disk(0), target);
    assert.equal(process.env[NAME], '3');
  });
});
