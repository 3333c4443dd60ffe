import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { crc32c } from '../../blocks/crc32c.ts';
import { type ImageError, SECTOR_BYTES } from '../../image.ts';
import { openImage } from '../../open.ts';
import { type MemoryFile, MemoryHost, noise } from '../../testing.ts';
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
import * as v from './layout.ts';
import { vhdx } from './vhdx.ts';

const MIB = 1 << 20;
const dir = tempDir('vhdx-log');
const BLOCKS_OF_1M = { block_size: MIB };

testFormat({
  format: vhdx,
  qemuName: 'vhdx',
  qemuChecks: true,
  variants: [
    { name: 'dynamic', options: {} },
    { name: 'blocks of 1 MiB', options: BLOCKS_OF_1M },
    { name: 'fixed', options: { subformat: 'fixed' } },
  ],
  qemuOptions: ['', 'block_size=1M,block_state_zero=off', 'subformat=fixed'],
  sizes: [0, SECTOR_BYTES, 5 * MIB + SECTOR_BYTES],
  hugeBytes: 64 * 2 ** 40,
});

testKills({ format: vhdx, qemuName: 'vhdx', variants: [BLOCKS_OF_1M] });

testResizing({
  format: vhdx,
  qemuName: 'vhdx',
  cases: [
    { name: 'blocks of 1 MiB', options: BLOCKS_OF_1M, largeBytes: 40 * MIB, shrinks: true },
    {
      name: 'fixed',
      options: { ...BLOCKS_OF_1M, subformat: 'fixed' },
      largeBytes: 40 * MIB,
      shrinks: true,
      keepsUnits: true,
    },
  ],
});

async function base(host: MemoryHost): Promise<Uint8Array> {
  await createImage(vhdx, host, '/base.vhdx', 5 * MIB, BLOCKS_OF_1M);
  const image = await openImage('/base.vhdx', host, { format: 'vhdx' });
  const expected = new Uint8Array(5 * MIB);
  await exercise(image, expected, 1, 30);
  await image.close();
  return expected;
}

describe('differencing VHDX images', () => {
  it('read from their parent what they do not have', async () => {
    const host = new MemoryHost();
    const expected = await base(host);
    await createImage(vhdx, host, '/top.vhdx', 5 * MIB, { backing_file: 'base.vhdx' });
    const top = await openImage('/top.vhdx', host, { format: 'vhdx' });
    assert.equal((await top.info()).backingName, 'base.vhdx');
    assert.deepEqual(await readAll(top), expected);
    await exercise(top, expected, 2, 30);
    await top.close();
    const again = await openImage('/top.vhdx', host, { format: 'vhdx', readOnly: true });
    assert.deepEqual(await readAll(again), expected);
    assert.deepEqual((await checkImage(vhdx, host, '/top.vhdx')).messages, []);
  });

  it('are refused when their parent was written to, or is gone', async () => {
    const host = new MemoryHost();
    await base(host);
    await createImage(vhdx, host, '/top.vhdx', 5 * MIB, { backing_file: 'base.vhdx' });
    const image = await openImage('/base.vhdx', host, { format: 'vhdx' });
    await image.write(0, noise(512, 1));
    await image.close();
    await assert.rejects(openImage('/top.vhdx', host, { format: 'vhdx' }), /was changed after/);
    host.files.delete('/base.vhdx');
    await assert.rejects(
      openImage('/top.vhdx', host, { format: 'vhdx' }),
      (error: ImageError) => error.kind === 'not-found',
    );
  });

  it('have sectors of their own and of the parent in one block', async () => {
    const host = new MemoryHost();
    const expected = await base(host);
    const options = { backing_file: 'base.vhdx', ...BLOCKS_OF_1M };
    await createImage(vhdx, host, '/top.vhdx', 5 * MIB, options);
    const file = await host.openFile('/top.vhdx', { access: 'write' });
    const end = await file.size();
    // As Hyper-V leaves a block of which only sectors 16 to 23 were written: [MS-VHDX] 2.5.1.1, state 7.
    await file.write(end, noise(MIB, 5));
    const bitmap = new Uint8Array(MIB);
    bitmap[2] = 0xff;
    await file.write(end + MIB, bitmap);
    const entries = new DataView(new ArrayBuffer(16));
    entries.setBigUint64(0, BigInt(end + v.PARTIALLY_PRESENT), true);
    entries.setBigUint64(8, BigInt(end + MIB + v.FULLY_PRESENT), true);
    await file.write(3 * MIB, new Uint8Array(entries.buffer, 0, 8));
    await file.write(3 * MIB + 4096 * 8, new Uint8Array(entries.buffer, 8, 8));
    expected.set(noise(MIB, 5).subarray(8192, 12288), 8192);
    assert.deepEqual((await checkImage(vhdx, host, '/top.vhdx')).messages, []);
    const top = await openImage('/top.vhdx', host, { format: 'vhdx' });
    assert.deepEqual(await readAll(top), expected);
    await exercise(top, expected, 3, 30);
    await top.close();
    const again = await openImage('/top.vhdx', host, { format: 'vhdx', readOnly: true });
    assert.deepEqual(await readAll(again), expected);
  });
});

it('VHDX images grow', async () => {
  const host = new MemoryHost();
  await createImage(vhdx, host, '/d', 3 * MIB + 512, BLOCKS_OF_1M);
  const image = await openImage('/d', host, { format: 'vhdx' });
  await image.write(3 * MIB, noise(512, 1));
  await image.resize?.(20 * MIB);
  await image.write(19 * MIB, noise(512, 2));
  await image.close();
  const again = await openImage('/d', host, { format: 'vhdx', readOnly: true });
  const expected = new Uint8Array(20 * MIB);
  expected.set(noise(512, 1), 3 * MIB);
  expected.set(noise(512, 2), 19 * MIB);
  assert.deepEqual(await readAll(again), expected);
  assert.deepEqual((await checkImage(vhdx, host, '/d')).messages, []);
});

async function replayByQemu(file: MemoryFile): Promise<void> {
  const bytes = new Uint8Array(await file.size());
  await file.read(0, bytes);
  writeFileSync(path.join(dir, 'log'), bytes);
  writeFileSync(path.join(dir, 'raw'), noise(MIB, 1));
  run(dir, 'qemu-img', 'check', '-q', '-r', 'all', '-f', 'vhdx', 'log');
  run(dir, 'qemu-img', 'compare', '-f', 'vhdx', '-F', 'raw', 'log', 'raw');
}

it('what the log has is read by who may not write, and carried out by who may', async () => {
  const host = new MemoryHost();
  await createImage(vhdx, host, '/d', 4 * MIB, BLOCKS_OF_1M);
  const image = await openImage('/d', host, { format: 'vhdx' });
  await image.write(0, noise(MIB, 1));
  await image.flush();
  // The power fails when the log is written, and the BAT not yet.
  const file = host.files.get('/d');
  file?.apply(3 * MIB, new Uint8Array(MIB));
  if (hasQemu && file !== undefined) await replayByQemu(file);
  for (const readOnly of [true, false]) {
    const again = await openImage('/d', host, { format: 'vhdx', readOnly });
    assert.deepEqual((await readAll(again)).subarray(0, MIB), noise(MIB, 1));
    await again.close();
  }
  const bat = new Uint8Array(8);
  await file?.read(3 * MIB, bat);
  assert.equal(bat[0], v.FULLY_PRESENT);
});

it('VHDX images survive a loss of power after any write', async () => {
  assert.ok((await testCrashes(vhdx, 3 * MIB, BLOCKS_OF_1M, 1)) > 15);
});

it('damaged VHDX images are refused or read, and nothing else', async () => {
  const host = new MemoryHost();
  await createImage(vhdx, host, '/d', 3 * MIB, BLOCKS_OF_1M);
  const image = await openImage('/d', host, { format: 'vhdx' });
  await image.write(MIB, noise(4096, 1));
  await image.flush();
  const file: MemoryFile | undefined = host.files.get('/d');
  const bytes = new Uint8Array((await file?.size()) ?? 0);
  await file?.read(0, bytes);
  const hot = [
    [65536, 65536 + 80],
    [131072, 131072 + 80],
    [192 * 1024, 192 * 1024 + 80],
    [MIB, MIB + 96],
    [2 * MIB, 2 * MIB + 192],
    [2 * MIB + 65536, 2 * MIB + 65536 + 40],
    [3 * MIB, 3 * MIB + 32],
  ] as const;
  const reseal = (damaged: Uint8Array): void => {
    if (damaged.length < 4 * MIB) return;
    const view = new DataView(damaged.buffer);
    const parts = [
      [65536, 4096],
      [131072, 4096],
      [192 * 1024, 65536],
      [MIB, 8192],
    ] as const;
    for (const [at, length] of parts)
      view.setUint32(at + 4, crc32c(damaged.subarray(at, at + length), 4), true);
    damaged.copyWithin(256 * 1024, 192 * 1024, 256 * 1024);
  };
  const { opened, refused } = await fuzzImage(vhdx, bytes, hot, 3, 40, reseal);
  assert.ok(opened > 3 && refused > 3, `${opened} opened, ${refused} refused`);
});
