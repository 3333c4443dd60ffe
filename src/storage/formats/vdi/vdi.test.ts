import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { crashes, RecordingHost } from '../../blocks/testing.ts';
import { type ImageError, SECTOR_BYTES } from '../../image.ts';
import { openImage } from '../../open.ts';
import { MemoryHost, noise } from '../../testing.ts';
import { testKills } from '../killing/testing.ts';
import { testResizing } from '../resizing/testing.ts';
import {
  checkImage,
  createImage,
  exercise,
  fuzzImage,
  readAll,
  testCrashes,
  testFormat,
} from '../testing.ts';
import * as v from './layout.ts';
import { vdi } from './vdi.ts';

const MIB = 1 << 20;

testFormat({
  format: vdi,
  qemuName: 'vdi',
  qemuChecks: true,
  variants: [
    { name: 'dynamic', options: {} },
    { name: 'fixed', options: { static: true } },
  ],
  qemuOptions: ['', 'static=on'],
  sizes: [0, SECTOR_BYTES, 5 * MIB + SECTOR_BYTES],
  hugeBytes: 3 * 2 ** 40,
});

testKills({ format: vdi, qemuName: 'vdi', variants: [{}, { static: true }] });

testResizing({
  format: vdi,
  qemuName: 'vdi',
  cases: [
    { name: 'dynamic', options: {}, largeBytes: 40 * MIB, shrinks: true },
    {
      name: 'fixed',
      options: { static: true },
      largeBytes: 40 * MIB,
      shrinks: true,
      keepsUnits: true,
    },
  ],
});

async function chain(host: MemoryHost): Promise<Uint8Array> {
  await createImage(vdi, host, '/base.vdi', 4 * MIB);
  const base = await openImage('/base.vdi', host, { format: 'vdi' });
  const expected = new Uint8Array(4 * MIB);
  await exercise(base, expected, 1, 30);
  await base.close();
  return expected;
}

describe('differencing VDI images', () => {
  it('read from their parent what they do not have, and cover it with zeros', async () => {
    const host = new MemoryHost();
    const expected = await chain(host);
    await createImage(vdi, host, '/top.vdi', 4 * MIB, { backing_file: 'base.vdi' });
    const top = await openImage('/top.vdi', host, { format: 'vdi' });
    assert.equal((await top.info()).backingName, 'base.vdi');
    assert.deepEqual(await readAll(top), expected);
    await exercise(top, expected, 2, 30);
    expected.fill(0, MIB, 2 * MIB);
    await top.writeZeroes(MIB, MIB);
    await top.close();
    const again = await openImage('/top.vdi', host, { format: 'vdi', readOnly: true });
    assert.deepEqual(await readAll(again), expected);
    await again.close();
    assert.deepEqual((await checkImage(vdi, host, '/top.vdi')).messages, []);
  });

  it('are refused when their parent was written to, or is gone', async () => {
    const host = new MemoryHost();
    await chain(host);
    await createImage(vdi, host, '/top.vdi', 4 * MIB, { backing_file: 'base.vdi' });
    const base = await openImage('/base.vdi', host, { format: 'vdi' });
    await base.write(0, noise(512, 1));
    await base.close();
    await assert.rejects(openImage('/top.vdi', host, { format: 'vdi' }), /was changed after/);
    host.files.delete('/base.vdi');
    await assert.rejects(
      openImage('/top.vdi', host, { format: 'vdi' }),
      (error: ImageError) => error.kind === 'not-found' && /put it there/.test(error.message),
    );
  });
});

it('a VDI image does not differ from images of other formats', async () => {
  const options = { backing_file: 'base.qcow2', backing_fmt: 'qcow2' };
  await assert.rejects(
    createImage(vdi, new MemoryHost(), '/top.vdi', MIB, options),
    (error: ImageError) => error.kind === 'bad-option' && /use qcow2/.test(error.message),
  );
});

it('no VDI image is made that QEMU would not open', async () => {
  const host = new MemoryHost();
  const tooLarge = 0x1fff_ff81 * MIB;
  await assert.rejects(createImage(vdi, host, '/d', tooLarge), {
    kind: 'bad-option',
    message: /at most 536870784 MiB .*use qcow2/,
  });
  await createImage(vdi, host, '/d', MIB);
  const image = await openImage('/d', host, { format: 'vdi' });
  await assert.rejects(async () => await image.resize?.(tooLarge), { kind: 'unsupported' });
  assert.equal(image.sizeBytes, MIB);
  await image.close();
});

describe('VDI check', () => {
  it('finds and mends leaks, doubles and entries that lead nowhere', async () => {
    const host = new MemoryHost();
    await createImage(vdi, host, '/d', 8 * MIB);
    const image = await openImage('/d', host, { format: 'vdi' });
    for (let block = 0; block < 5; block++) await image.write(block * MIB, noise(MIB, block + 1));
    await image.close();
    const file = await host.openFile('/d', { access: 'write' });
    const map = v.HEADER_BYTES;
    await file.write(map + 4, new Uint8Array([0, 0, 0, 0]));
    await file.write(map + 8, new Uint8Array([0xff, 0xff, 0, 0]));
    const found = await checkImage(vdi, host, '/d');
    assert.deepEqual([found.corruptions, found.leaks], [2, 2]);
    const mended = await checkImage(vdi, host, '/d', 'all');
    assert.deepEqual([mended.corruptions, mended.leaks], [0, 0]);
    assert.deepEqual([mended.corruptionsFixed, mended.leaksFixed], [2, 2]);
    assert.deepEqual((await checkImage(vdi, host, '/d')).messages, []);
    const again = await openImage('/d', host, { format: 'vdi', readOnly: true });
    const bytes = await readAll(again);
    for (const block of [0, 3, 4])
      assert.deepEqual(bytes.subarray(block * MIB, (block + 1) * MIB), noise(MIB, block + 1));
  });
});

it('VDI images survive a loss of power after any write', async () => {
  assert.ok((await testCrashes(vdi, 3 * MIB, {}, 1)) > 15);
});

it('damaged VDI images are refused or read, and nothing else', async () => {
  const host = new MemoryHost();
  await createImage(vdi, host, '/d', 3 * MIB);
  const image = await openImage('/d', host, { format: 'vdi' });
  await image.write(MIB, noise(4096, 1));
  await image.close();
  const file = host.files.get('/d');
  const base = new Uint8Array(2 * MIB);
  await file?.read(0, base);
  const { opened, refused } = await fuzzImage(vdi, base, [[0x40, 0x210]], 7, 40);
  assert.ok(opened > 3 && refused > 3, `${opened} opened, ${refused} refused`);
});

it('a VDI table without room moves behind the first blocks, wherever power is lost', async () => {
  const host = new RecordingHost();
  await createImage(vdi, host, '/d', 3 * MIB);
  const file = await host.openFile('/d', { access: 'write' });
  // As other programs make them: the table ends where the blocks start.
  await file.write(v.H_DATA_OFFSET, new Uint8Array([0, 4, 0, 0]));
  await file.truncate(1024);
  const content = noise(3 * MIB, 4);
  let image = await openImage('/d', host, { format: 'vdi' });
  await image.write(0, content);
  await image.close();
  const start = new MemoryHost();
  for (const [name, one] of host.files) start.files.set(name, one.clone());
  host.events.length = 0;
  image = await openImage('/d', host, { format: 'vdi' });
  await image.resize?.(200 * MIB);
  await image.write(199 * MIB, content.subarray(0, MIB));
  await image.close();
  let points = 0;
  for (const crash of crashes(start, host.events, 9)) {
    points++;
    const found = await checkImage(vdi, crash.host, '/d', 'leaks');
    assert.deepEqual([found.corruptions, found.leaks], [0, 0], found.messages.join('\n'));
    const after = await openImage('/d', crash.host, { format: 'vdi', readOnly: true });
    const bytes = new Uint8Array(3 * MIB);
    await after.read(0, bytes);
    assert.ok(isDeepStrictEqual(bytes, content), `point ${points}`);
    await after.close();
  }
  assert.ok(points > 8, `${points} points`);
  const after = await openImage('/d', host, { format: 'vdi', readOnly: true });
  const last = new Uint8Array(MIB);
  await after.read(199 * MIB, last);
  assert.ok(isDeepStrictEqual(last, content.slice(0, MIB)));
  assert.deepEqual((await checkImage(vdi, host, '/d')).messages, []);
});
