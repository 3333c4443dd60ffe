import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crashes, RecordingHost } from '../../blocks/testing.ts';
import type { BitmapRun, BitmapStore, DiskImage, ImageError, StorageHost } from '../../image.ts';
import { openImage } from '../../open.ts';
import { MemoryHost, noise } from '../../testing.ts';
import { checkImage, createImage } from '../testing.ts';
import { readBitmaps } from './bitmaps.ts';
import { readHeader } from './header.ts';
import { qcow2 } from './qcow2.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

function open(host: StorageHost, readOnly = false): Promise<DiskImage> {
  return openImage('/d', host, { format: 'qcow2', readOnly });
}

function bitmapsOf(image: DiskImage): BitmapStore {
  assert.ok(image.bitmaps !== undefined);
  return image.bitmaps;
}

/** Runs in KiB, as [start, end]. */
async function runsOf(image: DiskImage, name: string): Promise<number[][]> {
  const runs: BitmapRun[] = [];
  for await (const run of bitmapsOf(image).runs(name)) runs.push(run);
  return runs.map(({ offsetBytes, lengthBytes }) => [
    offsetBytes / KIB,
    (offsetBytes + lengthBytes) / KIB,
  ]);
}

async function assertSound(host: StorageHost): Promise<void> {
  assert.deepEqual((await checkImage(qcow2, host, '/d')).messages, []);
}

describe('qcow2 bitmaps', () => {
  it('follow writes while they are enabled, also those of the session that makes them', async () => {
    const host = new MemoryHost();
    await createImage(qcow2, host, '/d', 8 * MIB);
    let image = await open(host);
    await bitmapsOf(image).add('fine', { granularityBytes: 4 * KIB });
    await bitmapsOf(image).add('off', { enabled: false });
    await image.write(MIB, noise(6 * KIB, 1));
    await bitmapsOf(image).setEnabled('off', true);
    await bitmapsOf(image).setEnabled('fine', false);
    await image.write(3 * MIB, noise(512, 2));
    await image.close();
    image = await open(host, true);
    assert.deepEqual(await runsOf(image, 'fine'), [[MIB / KIB, MIB / KIB + 8]]);
    assert.deepEqual(await runsOf(image, 'off'), [[(3 * MIB) / KIB, (3 * MIB) / KIB + 64]]);
    await image.close();
    await assertSound(host);
  });

  it('are not to be trusted when their table leads nowhere, and nothing is written there', async () => {
    for (const nowhere of [0x3f_d8_00_00_00_00_00n, 0x4000_0000n, 0x1_0200n]) {
      const host = new MemoryHost();
      await createImage(qcow2, host, '/d', 8 * MIB);
      let image = await open(host);
      await bitmapsOf(image).add('damaged');
      await bitmapsOf(image).add('sound');
      await image.write(0, noise(512, 1));
      await image.close();
      const file = await host.openFile('/d');
      const [damaged] = (await readBitmaps(file, await readHeader(file)))?.entries ?? [];
      const entry = new Uint8Array(8);
      new DataView(entry.buffer).setBigUint64(0, nowhere);
      await file.write(damaged?.table.offsetBytes ?? 0, entry);
      const sizeBytes = await file.size();
      image = await open(host);
      await image.write(MIB, noise(512, 2));
      await image.close();
      assert.ok((await file.size()) < sizeBytes + MIB, 'the file reaches to nowhere');
      image = await open(host, true);
      const states = (await bitmapsOf(image).list()).map(({ name, inconsistent }) => [
        name,
        inconsistent,
      ]);
      assert.deepEqual(states, [
        ['damaged', true],
        ['sound', false],
      ]);
      await image.close();
    }
  });

  it('are merged whatever their granularity is, cleared and removed, and leave nothing behind', async () => {
    const host = new MemoryHost();
    await createImage(qcow2, host, '/d', 8 * MIB, { cluster_size: 512 });
    const image = await open(host);
    const bitmaps = bitmapsOf(image);
    await bitmaps.add('coarse', { granularityBytes: 64 * KIB });
    await bitmaps.add('fine', { granularityBytes: 512 });
    await image.write(100 * KIB, noise(KIB, 1));
    await image.write(7 * MIB, noise(MIB, 1));
    await bitmaps.setEnabled('coarse', false);
    await bitmaps.setEnabled('fine', false);
    await bitmaps.add('both', { granularityBytes: 4 * KIB });
    await bitmaps.merge('both', 'fine');
    const tail = [7 * KIB, 8 * KIB];
    assert.deepEqual(await runsOf(image, 'fine'), [[100, 101], tail]);
    assert.deepEqual(await runsOf(image, 'both'), [[100, 104], tail]);
    await bitmaps.merge('both', 'coarse');
    assert.deepEqual(await runsOf(image, 'both'), [[64, 128], tail]);
    await bitmaps.clear('both');
    assert.deepEqual(await runsOf(image, 'both'), []);
    await image.flush();
    await assertSound(host);
    for (const name of ['coarse', 'fine', 'both']) await bitmaps.remove(name);
    await image.close();
    await assertSound(host);
    assert.deepEqual(await bitmaps.list(), []);
  });

  it('change with the size of the disk: what is new, and what comes back, is not set', async () => {
    const host = new MemoryHost();
    await createImage(qcow2, host, '/d', 5 * MIB, { cluster_size: 512 });
    const image = await open(host);
    await bitmapsOf(image).add('fine', { granularityBytes: 512 });
    await image.write(0, noise(5 * MIB, 1));
    await image.resize?.(40 * MIB);
    assert.deepEqual(await runsOf(image, 'fine'), [[0, 5 * KIB]]);
    await image.resize?.(MIB + 1536, { shrink: true });
    await image.resize?.(8 * MIB);
    assert.deepEqual(await runsOf(image, 'fine'), [[0, KIB + 1.5]]);
    await image.write(7 * MIB, noise(512, 1));
    await image.close();
    await assertSound(host);
    const again = await open(host, true);
    assert.deepEqual(await runsOf(again, 'fine'), [
      [0, KIB + 1.5],
      [7 * KIB, 7 * KIB + 0.5],
    ]);
    await again.close();
  });

  const refused: readonly [string, RegExp, (bitmaps: BitmapStore) => Promise<unknown>][] = [
    ['a name that is there', /'a' is there already/, (bitmaps) => bitmaps.add('a')],
    ['no name', /1 to 1023 bytes/, (bitmaps) => bitmaps.add('')],
    ['a granularity', /a power of 2/, (bitmaps) => bitmaps.add('b', { granularityBytes: 1000 })],
    ['one that is not there', /no bitmap 'b'/, (bitmaps) => bitmaps.clear('b')],
    ['no source', /no bitmap 'b'/, (bitmaps) => bitmaps.merge('a', 'b')],
  ];
  for (const [what, why, change] of refused)
    it(`refuse ${what}`, async () => {
      const host = new MemoryHost();
      await createImage(qcow2, host, '/d', MIB);
      const image = await open(host);
      await bitmapsOf(image).add('a');
      await assert.rejects(change(bitmapsOf(image)), why);
      await image.close();
      await assertSound(host);
    });

  it('that were not closed are only removed', async () => {
    const host = new MemoryHost();
    await createImage(qcow2, host, '/d', MIB);
    const image = await open(host);
    await bitmapsOf(image).add('a');
    await image.write(0, noise(512, 1));
    await image.flush();
    const killed = new MemoryHost();
    for (const [name, file] of host.files) killed.files.set(name, file.clone());
    await image.close();
    const after = await open(killed);
    assert.deepEqual(
      (await bitmapsOf(after).list()).map(({ inconsistent }) => inconsistent),
      [true],
    );
    await assert.rejects(
      bitmapsOf(after).clear('a'),
      (error: ImageError) => error.kind === 'corrupt' && /remove it/.test(error.message),
    );
    await assert.rejects(async () => await after.resize?.(2 * MIB), /remove it/);
    await bitmapsOf(after).remove('a');
    await after.close();
    await assertSound(killed);
  });

  it('may be cut off by a loss of power at any write: the disk stays, and leaks are mended', async () => {
    const host = new RecordingHost();
    await createImage(qcow2, host, '/d', 4 * MIB, { cluster_size: 4096 });
    let image = await open(host);
    const content = noise(64 * KIB, 1);
    await image.write(MIB, content);
    await image.close();
    const start = new MemoryHost();
    for (const [name, file] of host.files) start.files.set(name, file.clone());
    host.events.length = 0;
    image = await open(host);
    await bitmapsOf(image).add('a', { granularityBytes: 512 });
    await bitmapsOf(image).add('b', { granularityBytes: 512 });
    await image.write(0, noise(4096, 2));
    await bitmapsOf(image).merge('b', 'a');
    await image.resize?.(20 * MIB);
    await bitmapsOf(image).remove('a');
    await image.close();
    let points = 0;
    for (const crash of crashes(start, host.events, 3)) {
      points++;
      const found = await checkImage(qcow2, crash.host, '/d', 'leaks');
      assert.deepEqual([found.corruptions, found.leaks], [0, 0], found.messages.join('\n'));
      const after = await open(crash.host);
      const bytes = new Uint8Array(content.length);
      await after.read(MIB, bytes);
      assert.deepEqual(bytes, content);
      for (const { name } of await bitmapsOf(after).list()) await bitmapsOf(after).remove(name);
      await after.close();
      await assertSound(crash.host);
    }
    assert.ok(points > 30, `${points} points`);
  });
});
