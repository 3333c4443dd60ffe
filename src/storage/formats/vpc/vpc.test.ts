import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
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
import { checksum } from './footer.ts';
import { geometryOf, roundedUp, sectorsIn } from './geometry.ts';
import * as v from './layout.ts';
import { vpc } from './vpc.ts';

const MIB = 1 << 20;

testFormat({
  format: vpc,
  qemuName: 'vpc',
  qemuChecks: false,
  variants: [
    { name: 'dynamic', options: {} },
    { name: 'dynamic, by geometry', options: { force_size: false } },
    { name: 'fixed', options: { subformat: 'fixed' } },
  ],
  qemuOptions: ['', 'force_size=on', 'subformat=fixed'],
  qemuOpensEmpty: (variant) => !variant.includes('fixed'),
  sizes: [0, SECTOR_BYTES, 5 * MIB + SECTOR_BYTES],
  hugeBytes: v.MAX_SIZE_BYTES,
});

testKills({ format: vpc, variants: [{}, { subformat: 'fixed' }] });

testResizing({
  format: vpc,
  qemuName: 'vpc',
  cases: [
    { name: 'dynamic', options: {}, largeBytes: 300 * MIB, shrinks: true },
    { name: 'fixed', options: { subformat: 'fixed' }, largeBytes: 9 * MIB, shrinks: true },
  ],
});

describe('VHD geometries', () => {
  const cases = [
    { sectors: 68, expected: [1, 4, 17] },
    { sectors: 1 << 16, expected: [963, 4, 17] },
    { sectors: 1 << 24, expected: [16644, 16, 63] },
    { sectors: 1 << 30, expected: [65535, 16, 255] },
  ];
  for (const { sectors, expected } of cases)
    it(`of ${sectors} sectors`, () => {
      const geometry = geometryOf(sectors);
      assert.deepEqual([geometry.cylinders, geometry.heads, geometry.sectors], expected);
      assert.ok(sectorsIn(geometryOf(roundedUp(sectors))) >= Math.min(sectors, v.MAX_CHS_SECTORS));
    });
});

describe('differencing VHD images', () => {
  for (const backingName of ['base.vhd', '/a/base.vhd'])
    it(`find their parent by ${backingName}, and differ from it`, async () => {
      const host = new MemoryHost();
      await createImage(vpc, host, '/a/base.vhd', 5 * MIB);
      const base = await openImage('/a/base.vhd', host, { format: 'vpc' });
      const expected = new Uint8Array(5 * MIB);
      await exercise(base, expected, 1, 30);
      await base.close();
      await createImage(vpc, host, '/a/top.vhd', 5 * MIB, { backing_file: backingName });
      const top = await openImage('/a/top.vhd', host, { format: 'vpc' });
      assert.equal((await top.info()).backingName, backingName);
      assert.deepEqual(await readAll(top), expected);
      await exercise(top, expected, 2, 30);
      await top.close();
      const again = await openImage('/a/top.vhd', host, { format: 'vpc', readOnly: true });
      assert.deepEqual(await readAll(again), expected);
      assert.deepEqual((await checkImage(vpc, host, '/a/top.vhd')).messages, []);
      host.files.delete('/a/base.vhd');
      await assert.rejects(
        openImage('/a/top.vhd', host, { format: 'vpc' }),
        (error: ImageError) => error.kind === 'not-found' && /base\.vhd/.test(error.message),
      );
    });

  const odd: readonly [string, string, string][] = [
    ['a path of Windows', 'W2ku', 'C:\\Virtual PCs\\base disk.vhd'],
    ['a path of Windows, relative', 'W2ru', '..\\a\\base disk.vhd'],
    ['a server', 'W2ku', '\\\\server\\share\\base disk.vhd'],
    ['another case', 'W2ru', '.\\BASE disk.VHD'],
    ['a URL', 'MacX', 'file://localhost/Users/me/base%20disk.vhd'],
  ];
  for (const [what, platform, path] of odd)
    it(`find their parent by ${what}`, async () => {
      const host = new MemoryHost();
      await createImage(vpc, host, '/a/base disk.vhd', MIB);
      const base = await openImage('/a/base disk.vhd', host, { format: 'vpc' });
      await base.write(0, noise(4096, 1));
      await base.close();
      const options = { backing_file: 'base disk.vhd' };
      await createImage(vpc, host, '/a/top.vhd', MIB, options);
      await setLocator(host, '/a/top.vhd', platform, path);
      const top = await openImage('/a/top.vhd', host, { format: 'vpc', readOnly: true });
      const bytes = new Uint8Array(4096);
      await top.read(0, bytes);
      assert.deepEqual(bytes, noise(4096, 1));
      await top.close();
      host.files.delete('/a/base disk.vhd');
      await assert.rejects(openImage('/a/top.vhd', host, { format: 'vpc' }), (error: ImageError) =>
        /^\/a\/top\.vhd: its parent, '.*disk.*', is not there; put it/.test(error.message),
      );
    });

  it('have sectors of their own and of the parent in one block', async () => {
    const host = new MemoryHost();
    await createImage(vpc, host, '/base.vhd', 4 * MIB);
    const base = await openImage('/base.vhd', host, { format: 'vpc' });
    const expected = noise(4 * MIB, 1);
    await base.write(0, expected);
    await base.close();
    await createImage(vpc, host, '/top.vhd', 4 * MIB, { backing_file: 'base.vhd' });
    const first = await openImage('/top.vhd', host, { format: 'vpc' });
    await first.write(8192, noise(MIB, 2));
    const { hostOffsetBytes = 0 } = await first.extent(8192, 512);
    await first.close();
    expected.set(noise(MIB, 2), 8192);
    // Hyper-V sets a bit for each sector that it writes: here only those of 8192 to 12288 are this image's.
    const bitmap = new Uint8Array(512);
    bitmap[2] = 0xff;
    const file = await host.openFile('/top.vhd', { access: 'write' });
    await file.write(hostOffsetBytes - 8192 - 512, bitmap);
    expected.set(noise(4 * MIB, 1).subarray(12288, 8192 + MIB), 12288);
    const top = await openImage('/top.vhd', host, { format: 'vpc' });
    assert.deepEqual(await readAll(top), expected);
    assert.deepEqual((await top.extent(0, MIB)).lengthBytes, 8192);
    await exercise(top, expected, 3, 30);
    await top.close();
    const again = await openImage('/top.vhd', host, { format: 'vpc', readOnly: true });
    assert.deepEqual(await readAll(again), expected);
  });
});

it('VHD images survive a loss of power after any write', async () => {
  assert.ok((await testCrashes(vpc, 3 * MIB, {}, 1)) > 15);
});

it('damaged VHD images are refused or read, and nothing else', async () => {
  const host = new MemoryHost();
  await createImage(vpc, host, '/d', 7 * MIB);
  const image = await openImage('/d', host, { format: 'vpc' });
  await image.write(MIB, noise(4096, 1));
  await image.write(5 * MIB, noise(4096, 1));
  await image.close();
  const file = host.files.get('/d');
  const base = new Uint8Array((await file?.size()) ?? 0);
  await file?.read(0, base);
  const reseal = (bytes: Uint8Array): void => {
    const view = new DataView(bytes.buffer);
    if (bytes.length < 2048) return;
    view.setUint32(v.F_CHECKSUM, checksum(bytes.subarray(0, 512), v.F_CHECKSUM));
    const at = 512 + v.D_CHECKSUM;
    view.setUint32(at, checksum(bytes.subarray(512, 1536), v.D_CHECKSUM));
    bytes.copyWithin(bytes.length - 512, 0, 512);
  };
  const { opened, refused } = await fuzzImage(
    vpc,
    base,
    [
      [0, 512],
      [512, 640],
      [1536, 1556],
    ],
    3,
    40,
    reseal,
  );
  assert.ok(opened > 3 && refused > 3, `${opened} opened, ${refused} refused`);
});

/** Leaves an image this parent locator alone, and no name of its parent. */
async function setLocator(
  host: MemoryHost,
  image: string,
  platform: string,
  path: string,
): Promise<void> {
  const file = await host.openFile(image, { access: 'write' });
  const header = new Uint8Array(v.DYNAMIC_BYTES);
  await file.read(v.FOOTER_BYTES, header);
  const view = new DataView(header.buffer);
  const offset = Number(view.getBigUint64(v.D_LOCATORS + v.L_OFFSET));
  const bytes = Buffer.from(path, platform === 'MacX' ? 'utf8' : 'utf16le');
  await file.write(offset, bytes);
  header.fill(0, v.D_LOCATORS + v.LOCATOR_BYTES);
  header.fill(0, v.D_PARENT_NAME, v.D_PARENT_NAME + v.PARENT_NAME_BYTES);
  header.set(new TextEncoder().encode(platform), v.D_LOCATORS);
  view.setUint32(v.D_LOCATORS + v.L_LENGTH, bytes.length);
  view.setUint32(v.D_CHECKSUM, checksum(header, v.D_CHECKSUM));
  await file.write(v.FOOTER_BYTES, header);
}
