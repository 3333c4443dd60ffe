import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { it } from 'node:test';
import { crashes, RecordingHost } from '../../blocks/testing.ts';
import { SECTOR_BYTES } from '../../image.ts';
import { openImage } from '../../open.ts';
import { MemoryHost, noise } from '../../testing.ts';
import { testKills } from '../killing/testing.ts';
import { testResizing } from '../resizing/testing.ts';
import {
  checkImage,
  createImage,
  exercise,
  fuzzImage,
  hasQemu,
  readAll,
  run,
  tempDir,
  testCrashes,
  testFormat,
} from '../testing.ts';
import { qed } from './qed.ts';

const MIB = 1 << 20;
const SMALL = { cluster_size: 32768, table_size: 2 };

testFormat({
  format: qed,
  qemuName: 'qed',
  qemuChecks: true,
  variants: [
    { name: 'plain', options: {} },
    { name: 'small clusters', options: SMALL },
  ],
  qemuOptions: ['', 'cluster_size=4k,table_size=2'],
  sizes: [0, SECTOR_BYTES, 5 * MIB + SECTOR_BYTES],
  hugeBytes: 3 * 2 ** 40,
});

testKills({ format: qed, qemuName: 'qed', variants: [{ cluster_size: 4096 }] });

testResizing({
  format: qed,
  qemuName: 'qed',
  cases: [
    {
      name: 'clusters of 4 KiB',
      options: { cluster_size: 4096, table_size: 2 },
      largeBytes: 40 * MIB,
      shrinks: false,
      keepsUnits: true,
    },
  ],
});

it('QED images read from a backing file, and take another', async () => {
  const host = new MemoryHost();
  const base = await host.openFile('/base', { access: 'create' });
  const expected = new Uint8Array(3 * MIB);
  expected.set(noise(2 * MIB, 1));
  await base.write(0, noise(2 * MIB, 1));
  const options = { backing_file: 'base', backing_fmt: 'raw' };
  await createImage(qed, host, '/d', 3 * MIB, options);
  const image = await openImage('/d', host, { format: 'qed' });
  assert.deepEqual(await readAll(image), expected);
  await exercise(image, expected, 2, 30);
  await image.close();
  const again = await openImage('/d', host, { format: 'qed' });
  assert.deepEqual(await readAll(again), expected);
  const { backingName, backingFormat } = await again.info();
  assert.deepEqual([backingName, backingFormat], ['base', 'raw']);
  await again.setBacking?.(undefined, undefined);
  await again.close();
  const alone = await openImage('/d', host, { format: 'qed', readOnly: true });
  assert.equal(alone.backing, undefined);
  assert.deepEqual((await checkImage(qed, host, '/d')).messages, []);
});

it('QED images grow', async () => {
  const host = new MemoryHost();
  await createImage(qed, host, '/d', MIB + 512);
  const image = await openImage('/d', host, { format: 'qed' });
  await image.write(MIB, noise(512, 1));
  await image.resize?.(9 * MIB);
  await image.write(8 * MIB, noise(512, 2));
  await image.close();
  const again = await openImage('/d', host, { format: 'qed', readOnly: true });
  const expected = new Uint8Array(9 * MIB);
  expected.set(noise(512, 1), MIB);
  expected.set(noise(512, 2), 8 * MIB);
  assert.deepEqual(await readAll(again), expected);
});

it('writes at once that need the same new table', async () => {
  const host = new MemoryHost();
  await createImage(qed, host, '/d', 3 * MIB, SMALL);
  const image = await openImage('/d', host, { format: 'qed' });
  const expected = noise(3 * MIB, 4);
  const step = 32768 + 512;
  const writes: Promise<void>[] = [];
  for (let at = 0; at < expected.length; at += step)
    writes.push(image.write(at, expected.subarray(at, at + step)));
  await Promise.all(writes);
  assert.deepEqual(await readAll(image), expected);
  await image.close();
  assert.deepEqual((await checkImage(qed, host, '/d')).messages, []);
});

it('QED images survive a loss of power after any write', async () => {
  assert.ok((await testCrashes(qed, 3 * MIB, SMALL, 1)) > 15);
});

it('a QED image has one name of its backing file or another, wherever power is lost', async () => {
  const host = new RecordingHost();
  const names = [600, 900, 20, 1000, 1023, 448, 449].map((length, at) => `${at}`.repeat(length));
  await createImage(qed, host, '/d', MIB, { backing_file: names[0] ?? '' });
  const start = new MemoryHost();
  for (const [name, file] of host.files) start.files.set(name, file.clone());
  host.events.length = 0;
  const named = { format: 'qed', withBacking: false } as const;
  const image = await openImage('/d', host, named);
  for (const name of names) await image.setBacking?.(name, 'raw');
  await image.close();
  let points = 0;
  for (let seed = 1; seed <= 20; seed++)
    for (const crash of crashes(start, host.events, seed)) {
      points++;
      const found = await openImage('/d', crash.host, named);
      const { backingName } = await found.info();
      assert.ok(names.includes(backingName ?? ''), `${backingName?.length} bytes`);
      await found.close();
    }
  assert.ok(points > 20, `${points} points`);
  if (!hasQemu) return;
  const dir = tempDir('qed-names');
  const bytes = new Uint8Array((await host.files.get('/d')?.size()) ?? 0);
  await host.files.get('/d')?.read(0, bytes);
  writeFileSync(path.join(dir, 'd'), bytes);
  const info = run(dir, 'qemu-img', 'info', '-f', 'qed', '--output=json', 'd');
  assert.equal(JSON.parse(info)['backing-filename'], names.at(-1));
});

it('damaged QED images are refused or read, and nothing else', async () => {
  const host = new MemoryHost();
  await createImage(qed, host, '/d', 3 * MIB, SMALL);
  const image = await openImage('/d', host, { format: 'qed' });
  await image.write(0, noise(8192, 1));
  await image.close();
  const file = host.files.get('/d');
  const bytes = new Uint8Array((await file?.size()) ?? 0);
  await file?.read(0, bytes);
  const hot = [
    [4, 64],
    [32768, 32784],
    [98304, 98336],
    [98304, 98432],
  ] as const;
  const { opened, refused } = await fuzzImage(qed, bytes, hot, 3, 40);
  assert.ok(opened > 3 && refused > 3, `${opened} opened, ${refused} refused`);
});
