import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { randomNumbers } from '#hw/testing.ts';
import { type DiskImage, ImageError } from '../image.ts';
import { openImage } from '../open.ts';
import { MemoryFile, MemoryHost, noise } from '../testing.ts';
import { Ext4 } from './ext4.ts';
import { readPartitions } from './partitions.ts';

const PARTITION = 1 << 20;
const FS_KIB = 8192;
const UUID = '01234567-89ab-cdef-0123-456789abcdef';
const isMissing = spawnSync('mke2fs', ['-V']).error !== undefined;
const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-ext4-'));
after(() => rmSync(dir, { recursive: true }));

/** A disk whose first partition has an ext4 file system, made by e2fsprogs. */
function makeImage(): Uint8Array {
  const root = path.join(dir, 'root');
  const big = noise(300_000, 1);
  mkdirSync(path.join(root, 'boot', 'many'), { recursive: true });
  writeFileSync(path.join(root, 'boot', 'vmlinuz-1'), big);
  writeFileSync(path.join(root, 'empty'), '');
  symlinkSync('boot/vmlinuz-1', path.join(root, 'vmlinuz'));
  symlinkSync('/boot/../vmlinuz', path.join(root, 'again'));
  symlinkSync('loop', path.join(root, 'loop'));
  symlinkSync(`/boot/${'./'.repeat(60)}vmlinuz-1`, path.join(root, 'long'));
  for (let i = 0; i < 300; i++) writeFileSync(path.join(root, 'boot', 'many', `file-${i}`), `${i}`);
  const image = path.join(dir, 'image');
  writeFileSync(image, new Uint8Array(PARTITION + FS_KIB * 1024));
  const options = ['-q', '-F', '-t', 'ext4', '-U', UUID, '-d', root, '-E', `offset=${PARTITION}`];
  const made = spawnSync('mke2fs', [...options, image, `${FS_KIB}k`]);
  assert.equal(made.status, 0, String(made.stderr));
  const bytes = new Uint8Array(readFileSync(image));
  const view = new DataView(bytes.buffer);
  bytes[446 + 4] = 0x83;
  view.setUint32(446 + 8, PARTITION / 512, true);
  view.setUint32(446 + 12, FS_KIB * 2, true);
  view.setUint16(510, 0xaa55, true);
  return bytes;
}

async function open(bytes: Uint8Array): Promise<DiskImage> {
  const host = new MemoryHost();
  const file = new MemoryFile('disk');
  file.apply(0, bytes);
  host.files.set('disk', file);
  return await openImage('disk', host, { format: 'raw', readOnly: true });
}

async function openExt4(bytes: Uint8Array): Promise<Ext4> {
  const disk = await open(bytes);
  const [partition] = await readPartitions(disk);
  assert.ok(partition);
  const files = await Ext4.open(disk, partition);
  assert.ok(files);
  return files;
}

describe('an ext4 file system', { skip: isMissing && 'no mke2fs' }, () => {
  let image: Uint8Array;
  let files: Ext4;
  before(async () => {
    image = makeImage();
    files = await openExt4(image);
  });

  it('has its UUID', () => assert.equal(files.uuid, UUID));

  for (const name of ['/boot/vmlinuz-1', 'vmlinuz', '/again', '/long', '/boot/../boot/./vmlinuz-1'])
    it(`reads ${name.slice(0, 40)}`, async () =>
      assert.deepEqual(await files.readFile(name), noise(300_000, 1)));

  it('reads small and empty files, and lists directories', async () => {
    assert.equal(new TextDecoder().decode(await files.readFile('/boot/many/file-299')), '299');
    assert.equal((await files.readFile('/empty')).length, 0);
    assert.equal((await files.list('/boot/many')).length, 300);
  });

  const refused = [
    { name: '/boot/nothing', kind: 'not-found' },
    { name: '/empty/below', kind: 'not-found' },
    { name: '/boot', kind: 'not-found' },
    { name: '/loop', kind: 'corrupt' },
  ];
  for (const { name, kind } of refused)
    it(`says that ${name} is ${kind}`, async () =>
      await assert.rejects(files.readFile(name), { name: 'ImageError', kind }));

  it('survives damage', async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const random = randomNumbers(seed);
      const bytes = image.slice();
      for (let i = 0; i < 40; i++)
        bytes[PARTITION + 1024 + random(random(2) ? 0x400 : 0x8_0000)] = random(256);
      await openAndRead(bytes).catch((error: unknown) => {
        if (!(error instanceof ImageError)) throw error;
      });
    }
  });
});

async function openAndRead(bytes: Uint8Array): Promise<void> {
  const disk = await open(bytes);
  for (const partition of await readPartitions(disk)) {
    const files = await Ext4.open(disk, partition);
    await files?.readFile('/again');
  }
}

describe('partitions', () => {
  it('of a GPT are those that lie on the disk', async () => {
    const bytes = new Uint8Array(1 << 20);
    const view = new DataView(bytes.buffer);
    view.setUint16(510, 0xaa55, true);
    bytes[446 + 4] = 0xee;
    view.setUint32(446 + 8, 1, true);
    bytes.set(new TextEncoder().encode('EFI PART'), 512);
    view.setBigUint64(512 + 72, 2n, true);
    view.setUint32(512 + 80, 4, true);
    view.setUint32(512 + 84, 128, true);
    for (const [i, [first, last]] of [
      [40n, 79n],
      [0n, 0n],
      [100n, 5000n],
      [80n, 99n],
    ].entries()) {
      view.setBigUint64(1024 + i * 128 + 32, first ?? 0n, true);
      view.setBigUint64(1024 + i * 128 + 40, last ?? 0n, true);
    }
    assert.deepEqual(await readPartitions(await open(bytes)), [
      { offsetBytes: 40 * 512, lengthBytes: 40 * 512 },
      { offsetBytes: 80 * 512, lengthBytes: 20 * 512 },
    ]);
  });

  it('are none without a table', async () => {
    assert.deepEqual(await readPartitions(await open(new Uint8Array(4096))), []);
  });
});
