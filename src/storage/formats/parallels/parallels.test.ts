import assert from 'node:assert/strict';
import { it } from 'node:test';
import { SECTOR_BYTES } from '../../image.ts';
import { openImage } from '../../open.ts';
import { MemoryHost, noise } from '../../testing.ts';
import { testKills } from '../killing/testing.ts';
import { testResizing } from '../resizing/testing.ts';
import {
  checkImage,
  createImage,
  fuzzImage,
  readAll,
  testCrashes,
  testFormat,
} from '../testing.ts';
import * as v from './layout.ts';
import { parallels } from './parallels.ts';

const MIB = 1 << 20;
const CLUSTERS_OF_64K = { cluster_size: 65536 };

testFormat({
  format: parallels,
  qemuName: 'parallels',
  qemuChecks: true,
  variants: [
    { name: 'plain', options: {} },
    { name: 'clusters of 64 KiB', options: CLUSTERS_OF_64K },
  ],
  qemuOptions: ['', 'cluster_size=64k'],
  sizes: [0, SECTOR_BYTES, 5 * MIB + SECTOR_BYTES],
  hugeBytes: 3 * 2 ** 40,
});

testKills({ format: parallels, qemuName: 'parallels', variants: [{ cluster_size: 65536 }] });

testResizing({
  format: parallels,
  qemuName: 'parallels',
  cases: [
    {
      name: 'clusters of 4 KiB',
      options: { cluster_size: 4096 },
      largeBytes: 20 * MIB,
      shrinks: true,
    },
  ],
});

it('old Parallels images, whose tables count sectors, are read and written', async () => {
  const host = new MemoryHost();
  const file = await host.openFile('/d', { access: 'create' });
  const header = new DataView(new ArrayBuffer(v.HEADER_BYTES + 8));
  const bytes = new Uint8Array(header.buffer);
  bytes.set(new TextEncoder().encode(v.MAGIC));
  header.setUint32(v.H_VERSION, 2, true);
  header.setUint32(v.H_CLUSTER, 63, true);
  header.setUint32(v.H_ENTRIES, 2, true);
  header.setUint32(v.H_SECTORS, 100, true);
  header.setUint32(v.HEADER_BYTES + 4, 1, true);
  await file.write(0, bytes);
  await file.write(512, noise(63 * 512, 1));
  const image = await openImage('/d', host, { format: 'parallels' });
  const expected = new Uint8Array(100 * 512);
  expected.set(noise(63 * 512, 1).subarray(0, 37 * 512), 63 * 512);
  assert.deepEqual(await readAll(image), expected);
  await image.write(1024, noise(512, 2));
  expected.set(noise(512, 2), 1024);
  await image.close();
  const again = await openImage('/d', host, { format: 'parallels', readOnly: true });
  assert.deepEqual(await readAll(again), expected);
  assert.deepEqual((await checkImage(parallels, host, '/d')).messages, []);
});

it('Parallels images grow while their table can tell', async () => {
  const host = new MemoryHost();
  await createImage(parallels, host, '/d', 3 * MIB - 512);
  const image = await openImage('/d', host, { format: 'parallels' });
  await image.write(3 * MIB - 1024, noise(512, 1));
  await image.resize?.(20 * MIB);
  await image.write(19 * MIB, noise(512, 2));
  await assert.rejects(async () => await image.resize?.(2 ** 53), /cannot tell of/);
  await image.close();
  const again = await openImage('/d', host, { format: 'parallels', readOnly: true });
  const expected = new Uint8Array(20 * MIB);
  expected.set(noise(512, 1), 3 * MIB - 1024);
  expected.set(noise(512, 2), 19 * MIB);
  assert.deepEqual(await readAll(again), expected);
});

it('Parallels images survive a loss of power after any write', async () => {
  assert.ok((await testCrashes(parallels, 3 * MIB, CLUSTERS_OF_64K, 1)) > 15);
});

it('damaged Parallels images are refused or read, and nothing else', async () => {
  const host = new MemoryHost();
  await createImage(parallels, host, '/d', 3 * MIB, CLUSTERS_OF_64K);
  const image = await openImage('/d', host, { format: 'parallels' });
  await image.write(MIB, noise(8192, 1));
  await image.close();
  const file = host.files.get('/d');
  const bytes = new Uint8Array((await file?.size()) ?? 0);
  await file?.read(0, bytes);
  const { opened, refused } = await fuzzImage(parallels, bytes, [[16, 260]], 3, 40);
  assert.ok(opened > 3 && refused > 3, `${opened} opened, ${refused} refused`);
});
