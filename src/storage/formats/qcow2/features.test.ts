import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import type { DiskImage, HostFile, ImageError } from '../../image.ts';
import { nodeStorageHost } from '../../node/node-host.ts';
import { openImage } from '../../open.ts';
import { MemoryFile, MemoryHost, noise } from '../../testing.ts';
import { readAll, testFormat } from '../testing.ts';
import { readBitmaps } from './bitmaps.ts';
import { readHeader } from './header.ts';
import * as q from './layout.ts';
import { qcow2 } from './qcow2.ts';
import { checkImage, createImage } from './testing.ts';

const MIB = 1 << 20;
const CLUSTER = 65536;
const dir = mkdtempSync(path.join(tmpdir(), 'ring0-qcow2-features-'));
after(() => rmSync(dir, { recursive: true }));
const at = (name: string): string => path.join(dir, name);
const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;

function qemu(command: string, ...args: string[]): void {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: dir, encoding: 'utf8' });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${stdout}${stderr}`);
}

testFormat({
  format: qcow2,
  qemuName: 'qcow2',
  qemuChecks: true,
  variants: [
    { name: 'plain', options: {} },
    { name: 'extended L2, preallocated', options: { extended_l2: true, preallocation: 'falloc' } },
  ],
  qemuOptions: [
    'compat=0.10,cluster_size=1k',
    'lazy_refcounts=on,extended_l2=on,preallocation=full',
  ],
  sizes: [0, 512, 2 * MIB + 512],
  hugeBytes: 3 * 2 ** 40,
});

/** An image in memory with data in its first MiB. */
async function image(
  options: [string, string | number | boolean][] = [],
): Promise<{ host: MemoryHost; file: HostFile; data: Uint8Array }> {
  const host = new MemoryHost();
  await createImage(host, '/d', { sizeBytes: 4 * MIB, options: new Map(options) });
  const disk = await openImage('/d', host, { format: 'qcow2' });
  await disk.write(0, noise(MIB, 1));
  await disk.close();
  const data = new Uint8Array(4 * MIB);
  data.set(noise(MIB, 1));
  return { host, file: await host.openFile('/d', { access: 'write' }), data };
}

async function numberAt(file: HostFile, offsetBytes: number): Promise<number> {
  const bytes = new Uint8Array(8);
  await file.read(offsetBytes, bytes);
  return Number(new DataView(bytes.buffer).getBigUint64(0) & 0x00ff_ffff_ffff_fe00n);
}

async function put(file: HostFile, offsetBytes: number, ...bytes: number[]): Promise<void> {
  await file.write(offsetBytes, new Uint8Array(bytes));
}

describe('qcow2 check mends', () => {
  const cases: {
    name: string;
    corruptions: number;
    leaks: number;
    /** Whether all data are still there afterwards. */
    keepsData?: boolean;
    damage: (file: HostFile, l2: number, block: number) => Promise<void>;
  }[] = [
    { name: 'nothing', corruptions: 0, leaks: 0, damage: async () => {} },
    {
      name: 'a refcount that is too high',
      corruptions: 0,
      leaks: 1,
      damage: (file, _l2, block) => put(file, block + 1, 9),
    },
    {
      name: 'a refcount that is too low',
      corruptions: 1,
      leaks: 0,
      damage: (file, l2, block) =>
        numberAt(file, l2).then((host) => put(file, block + (host / CLUSTER) * 2 + 1, 0)),
    },
    {
      name: 'two owners of a cluster',
      corruptions: 2,
      leaks: 1,
      keepsData: false,
      damage: async (file, l2) => {
        const entry = new Uint8Array(8);
        await file.read(l2, entry);
        await file.write(l2 + 8, entry);
      },
    },
    {
      name: 'an L2 entry that leads out of the file',
      corruptions: 1,
      leaks: 1,
      keepsData: false,
      damage: (file, l2) => put(file, l2, 0x80, 0x7f),
    },
    {
      name: 'a refcount block that lies nowhere',
      corruptions: 22,
      leaks: 0,
      damage: (file) => put(file, CLUSTER, 0, 0x7f, 0, 0, 0, 0, 0, 0),
    },
    {
      name: 'a refcount table that leads to one block again and again',
      corruptions: 8191,
      leaks: 0,
      damage: async (file, _l2, block) => {
        const table = new DataView(new ArrayBuffer(CLUSTER));
        for (let at = 0; at < CLUSTER; at += 8) table.setBigUint64(at, BigInt(block));
        await file.write(CLUSTER, new Uint8Array(table.buffer));
      },
    },
    {
      name: 'a data cluster that is the L1 table',
      corruptions: 3,
      leaks: 1,
      keepsData: false,
      damage: async (file, l2) => {
        const { l1Offset } = await readHeader(file);
        await put(file, l2, 0x80, 0, 0, 0, 0, l1Offset / 65536, 0, 0);
      },
    },
  ];
  for (const { name, corruptions, leaks, keepsData, damage } of cases)
    it(name, async () => {
      const { host, file, data } = await image();
      const { l1Offset, refcountTableOffset } = await readHeader(file);
      const block = await numberAt(file, refcountTableOffset);
      await damage(file, await numberAt(file, l1Offset), block);
      const found = await checkImage(host, '/d');
      assert.equal(found.corruptions > 0, corruptions > 0, found.text);
      assert.equal(found.leaks > 0, leaks > 0, found.text);
      await checkImage(host, '/d', 'all');
      const left = await checkImage(host, '/d');
      assert.deepEqual(left, { corruptions: 0, leaks: 0, text: '' });
      const disk = await openImage('/d', host, { format: 'qcow2' });
      const bytes = await readAll(disk);
      if (keepsData !== false) assert.ok(Buffer.compare(bytes, data) === 0);
      await disk.write(0, noise(MIB, 2));
      await disk.close();
      assert.deepEqual(await checkImage(host, '/d'), { corruptions: 0, leaks: 0, text: '' });
    });
});

it('marks an image as corrupt rather than write over its tables, until it is repaired', async () => {
  const { host, file } = await image();
  const { l1Offset } = await readHeader(file);
  const l2 = await numberAt(file, l1Offset);
  await put(file, l2, 0x80, 0, 0, 0, 0, l1Offset / 65536, 0, 0);
  const isCorrupt = (error: ImageError): boolean => error.kind === 'corrupt';
  const disk = await openImage('/d', host, { format: 'qcow2' });
  await assert.rejects(disk.write(0, noise(512, 1)), isCorrupt);
  await assert.rejects(disk.write(MIB, noise(512, 1)), isCorrupt, 'nothing more is written');
  await disk.close();
  assert.ok(((await readHeader(file)).incompatible & q.INCOMPATIBLE_CORRUPT) !== 0);
  await assert.rejects(openImage('/d', host, { format: 'qcow2' }), /marked as corrupt/);
  await checkImage(host, '/d', 'all');
  await (await openImage('/d', host, { format: 'qcow2' })).close();
});

describe('qcow2 with bitmaps', { skip: hasQemu ? false : 'there is no qemu-img' }, () => {
  it('sets the bits of what is written, of those that follow writes alone', async () => {
    qemu('qemu-img', 'create', '-q', '-f', 'qcow2', 'bits', '64M');
    qemu('qemu-img', 'bitmap', '--add', '-g', '64k', 'bits', 'follows');
    qemu('qemu-img', 'bitmap', '--add', '--disable', 'bits', 'stands');
    const disk = await openImage(at('bits'), nodeStorageHost, { format: 'qcow2' });
    await disk.write(5 * MIB, noise(100_352, 1));
    await disk.discard(0, CLUSTER);
    await disk.flush();
    await disk.close();
    qemu('qemu-img', 'check', '-q', 'bits');
    const file = await nodeStorageHost.openFile(at('bits'));
    const bitmaps = await readBitmaps(file, await readHeader(file));
    const tables = (bitmaps?.entries ?? []).map(({ table }) => numberAt(file, table.offsetBytes));
    const [follows = 0, stands] = await Promise.all(tables);
    assert.equal(stands, 0);
    const bytes = new Uint8Array(128);
    await file.read(follows, bytes);
    await file.close();
    const set = [...bytes.keys()].filter((index) => bytes[index] !== 0);
    assert.deepEqual(
      set.map((index) => [index, bytes[index]]),
      [
        [0, 1],
        [10, 3],
      ],
    );
    assert.deepEqual(
      bitmaps?.entries.map(({ flags }) => flags),
      [2, 0],
      'not in use',
    );
  });
});

it('shares snapshots with QEMU', { skip: hasQemu ? false : 'there is no qemu-img' }, async () => {
  const options = new Map([['cluster_size', 4096]]);
  await createImage(nodeStorageHost, at('shared'), { sizeBytes: MIB, options });
  const open = () => openImage(at('shared'), nodeStorageHost, { format: 'qcow2' });
  const first = new Uint8Array(4096);
  let disk = await open();
  await disk.write(0, noise(8192, 1));
  await disk.snapshots?.create('ours');
  await disk.write(0, noise(4096, 2));
  await disk.close();
  qemu('qemu-img', 'snapshot', '-c', 'theirs', 'shared');
  qemu('qemu-img', 'snapshot', '-a', 'ours', 'shared');
  disk = await open();
  await disk.read(0, first);
  assert.deepEqual(first, noise(8192, 1).slice(0, 4096));
  await disk.snapshots?.apply('theirs');
  await disk.read(0, first);
  assert.deepEqual(first, noise(4096, 2));
  await disk.snapshots?.delete('theirs');
  await disk.close();
  qemu('qemu-img', 'snapshot', '-d', 'ours', 'shared');
  qemu('qemu-img', 'check', '-q', 'shared');
  qemu('qemu-io', '-f', 'qcow2', '-c', 'read 0 8192', 'shared');
});

it("keeps the nanoseconds of QEMU's snapshots", {
  skip: hasQemu ? false : 'there is no qemu-img',
}, async () => {
  qemu('qemu-img', 'create', '-q', '-f', 'qcow2', 'dated', '1M');
  qemu('qemu-img', 'snapshot', '-c', 'theirs', 'dated');
  const dates = (): string => {
    const args = ['info', '--output=json', 'dated'];
    const { stdout } = spawnSync('qemu-img', args, { cwd: dir, encoding: 'utf8' });
    return String(/"date-sec": (\d+),\s*"date-nsec": (\d+)/.exec(stdout)?.slice(1));
  };
  const before = dates();
  const disk = await openImage(at('dated'), nodeStorageHost, { format: 'qcow2' });
  const created = disk.snapshots?.list()[0]?.createdNs ?? 0n;
  assert.equal(`${created / 1_000_000_000n},${created % 1_000_000_000n}`, before);
  await disk.snapshots?.create('ours');
  await disk.close();
  assert.equal(dates(), before);
});

it('keeps a raw data file a raw image', async () => {
  const host = new MemoryHost();
  const options = new Map<string, string | boolean>([
    ['data_file', 'data'],
    ['data_file_raw', true],
  ]);
  await createImage(host, '/d', { sizeBytes: MIB, options });
  const disk = await openImage('/d', host, { format: 'qcow2' });
  await disk.write(512, noise(300_032, 1));
  await disk.writeZeroes(65536, 65536, { mayUnmap: true });
  await disk.writeZeroes(140_288, 1024);
  await disk.discard(196_608, 65536);
  const bytes = await readAll(disk);
  await disk.close();
  const data = new Uint8Array(MIB);
  await (await host.openFile('/data')).read(0, data);
  assert.ok(Buffer.compare(bytes, data) === 0);
  assert.ok(data.subarray(65536, 131072).every((byte) => byte === 0));
  assert.deepEqual(await checkImage(host, '/d'), { corruptions: 0, leaks: 0, text: '' });
});

it('finds its data file beside it, or else from the working directory, as QEMU does', async () => {
  const host = new MemoryHost();
  const options = new Map([['data_file', 'folder/data']]);
  await createImage(host, '/folder/disk', { sizeBytes: MIB, options });
  const data = host.files.get('/folder/folder/data');
  assert.ok(data !== undefined);
  host.files.delete('/folder/folder/data');
  await assert.rejects(
    openImage('/folder/disk', host, { format: 'qcow2' }),
    /^ImageError: \/folder\/folder\/data: no such file$/,
  );
  host.files.set('folder/data', data);
  const disk = await openImage('/folder/disk', host, { format: 'qcow2' });
  await disk.write(0, noise(65536, 1));
  await disk.close();
  assert.ok((await data.size()) >= 65536);
});

/** A device of a fixed size, with old data all over. */
class Device extends MemoryFile {
  constructor(sizeBytes: number) {
    super('/d');
    this.apply(0, noise(sizeBytes, 99));
  }

  override resizeTo(): void {}
}

it('lives on a device that is full of old data', async () => {
  const host = new MemoryHost();
  host.files.set('/d', new Device(3 * MIB));
  const options = new Map([['cluster_size', 4096]]);
  await createImage(host, '/d', { sizeBytes: 16 * MIB, options });
  const disk = await openImage('/d', host, { format: 'qcow2' });
  const data = new Uint8Array(16 * MIB);
  for (const offset of [512, 40_448, 8 * MIB, 16 * MIB - 1024]) {
    await disk.write(offset, noise(1024, offset));
    data.set(noise(1024, offset), offset);
  }
  await disk.snapshots?.create('one');
  await disk.write(0, new Uint8Array(4096));
  await disk.snapshots?.apply('one');
  await assert.rejects(
    disk.write(MIB, noise(4 * MIB, 1)),
    (error: ImageError) => error.kind === 'no-space',
  );
  await disk.writeZeroes(MIB, 4 * MIB);
  assert.ok(Buffer.compare(await readAll(disk), data) === 0);
  await disk.close();
  assert.deepEqual(await checkImage(host, '/d'), { corruptions: 0, leaks: 0, text: '' });
});

describe('qcow2 changes its size', () => {
  for (const compat of ['0.10', '1.1'])
    it(`version ${compat}: what was cut off does not come back`, async () => {
      const { host, data } = await image([
        ['compat', compat],
        ['cluster_size', 4096],
      ]);
      const disk = await openImage('/d', host, { format: 'qcow2' });
      await assert.rejects(async () => await disk.resize?.(MIB / 2 + 512), /loses data/);
      await disk.resize?.(MIB / 2 + 512, { shrink: true });
      await disk.resize?.(64 * MIB);
      await disk.write(64 * MIB - 512, noise(512, 3));
      const bytes = new Uint8Array(4 * MIB);
      await disk.read(0, bytes);
      data.fill(0, MIB / 2 + 512);
      assert.ok(Buffer.compare(bytes, data) === 0);
      await disk.close();
      assert.deepEqual(await checkImage(host, '/d'), { corruptions: 0, leaks: 0, text: '' });
    });

  it('new room hides what a longer backing file has there', async () => {
    const host = new MemoryHost();
    await (await host.openFile('/base', { access: 'create' })).write(0, noise(MIB, 1));
    const options = new Map([
      ['backing_file', 'base'],
      ['backing_fmt', 'raw'],
    ]);
    await createImage(host, '/d', { sizeBytes: MIB / 4 + 512, options });
    const disk = await openImage('/d', host, { format: 'qcow2' });
    await disk.resize?.(MIB, { preallocation: 'metadata' });
    const bytes = await readAll(disk);
    assert.ok(Buffer.compare(bytes.subarray(0, MIB / 4 + 512), noise(MIB / 4 + 512, 1)) === 0);
    assert.ok(bytes.subarray(MIB / 4 + 512).every((byte) => byte === 0));
    await disk.close();
  });
});

it('opens a disk of 10 TiB with 1,000 snapshots with few reads, in little memory', async () => {
  const host = new MemoryHost();
  await createImage(host, '/d', { sizeBytes: 10 * 2 ** 40, options: new Map() });
  const disk: DiskImage = await openImage('/d', host, { format: 'qcow2' });
  for (let index = 0; index < 3; index++) await disk.snapshots?.create(`one of many ${index}`);
  await disk.close();
  await multiplySnapshots(host, 1000);
  const reads: number[] = [];
  const file = host.files.get('/d');
  assert.ok(file !== undefined);
  const read = file.read.bind(file);
  file.read = (offsetBytes, into) => {
    reads.push(into.length);
    return read(offsetBytes, into);
  };
  const before = process.memoryUsage();
  const again = await openImage('/d', host, { format: 'qcow2' });
  await again.read(2 ** 40, new Uint8Array(4096));
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  assert.equal(again.snapshots?.list().length, 1000);
  // The L1 table has 160 KiB, that of the snapshots 72 KiB, the refcount table 64 KiB.
  const total = reads.reduce((sum, one) => sum + one, 0);
  assert.ok(reads.length <= 12 && total < 512 << 10, `${reads.join(' + ')} bytes are read`);
  const bytes = heapUsed + arrayBuffers - before.heapUsed - before.arrayBuffers;
  assert.ok(bytes < 50e6, `${bytes} bytes`);
  await again.close();
});

/** Writes the first snapshot's entry `count` times, as if there were so many. */
async function multiplySnapshots(host: MemoryHost, count: number): Promise<void> {
  const file = await host.openFile('/d', { access: 'write' });
  const { snapshotsOffset } = await readHeader(file);
  const entry = new Uint8Array(Math.ceil((40 + 16 + 1 + 'one of many 0'.length) / 8) * 8);
  await file.read(snapshotsOffset, entry);
  const table = new Uint8Array(entry.length * count);
  for (let index = 0; index < count; index++) table.set(entry, index * entry.length);
  const end = Math.ceil((await file.size()) / CLUSTER) * CLUSTER;
  await file.write(end, table);
  const fields = new DataView(new ArrayBuffer(12));
  fields.setUint32(0, count);
  fields.setBigUint64(4, BigInt(end));
  await file.write(q.H_NB_SNAPSHOTS, new Uint8Array(fields.buffer));
}
