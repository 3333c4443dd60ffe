import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { crashes, RecordingHost } from '../../blocks/testing.ts';
import {
  type DiskImage,
  type FileOptions,
  type HostFile,
  ImageError,
  type Replaced,
  SECTOR_BYTES,
} from '../../image.ts';
import { nodeStorageHost } from '../../node/node-host.ts';
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
import { vmdk } from './vmdk.ts';

const KIB = 1024;
const MIB = 1 << 20;
const dir = tempDir('vmdk-split');

testFormat({
  format: vmdk,
  qemuName: 'vmdk',
  qemuChecks: true,
  variants: [
    { name: 'monolithicSparse', options: {} },
    { name: 'with grains of zeros', options: { zeroed_grain: true } },
    { name: 'monolithicFlat', options: { subformat: 'monolithicFlat' } },
    { name: 'twoGbMaxExtentSparse', options: { subformat: 'twoGbMaxExtentSparse' } },
    { name: 'twoGbMaxExtentFlat', options: { subformat: 'twoGbMaxExtentFlat' } },
    { name: 'streamOptimized', options: { subformat: 'streamOptimized' } },
  ],
  qemuOptions: [
    '',
    'zeroed_grain=on',
    'subformat=monolithicFlat',
    'subformat=twoGbMaxExtentSparse',
    'subformat=twoGbMaxExtentFlat',
  ],
  qemuOpensEmpty: () => false,
  sizes: [0, SECTOR_BYTES, 5 * MIB + SECTOR_BYTES],
  hugeBytes: 3 * 2 ** 40,
});

testKills({
  format: vmdk,
  qemuName: 'vmdk',
  variants: [
    {},
    { zeroed_grain: true },
    { subformat: 'monolithicFlat' },
    { subformat: 'twoGbMaxExtentSparse' },
  ],
});

testResizing({
  format: vmdk,
  qemuName: 'vmdk',
  cases: [
    { name: 'monolithicSparse', options: {}, largeBytes: 100 * MIB, shrinks: true },
    {
      name: 'monolithicFlat',
      options: { subformat: 'monolithicFlat' },
      largeBytes: 40 * MIB,
      shrinks: true,
      keepsUnits: true,
    },
  ],
});

/** A disk of one part that becomes one of three: the second and third are new. */
const SPLIT_START = 3 * MIB + SECTOR_BYTES;
const SPLIT_END = 5 * 2 ** 30;
const SPLIT_SPOTS = [2 * MIB, 2047 * MIB - 512, 2047 * MIB, 4094 * MIB - 4096, SPLIT_END - 8192];

async function checkSplit(image: DiskImage, first: Uint8Array): Promise<void> {
  const start = new Uint8Array(first.length);
  await image.read(0, start);
  assert.deepEqual(start, first);
  const zeros = new Uint8Array(8192);
  for (const at of [4 * MIB, ...SPLIT_SPOTS]) {
    const bytes = new Uint8Array(8192).fill(1);
    await image.read(at, bytes);
    assert.deepEqual(bytes, zeros, `at ${at}`);
  }
}

for (const subformat of ['twoGbMaxExtentSparse', 'twoGbMaxExtentFlat']) {
  it(`${subformat}: parts are added to a disk that becomes longer`, async () => {
    const at = (name: string): string => path.join(dir, name);
    const name = `${subformat}.vmdk`;
    await createImage(vmdk, nodeStorageHost, at(name), SPLIT_START, { subformat });
    let image = await openImage(at(name), nodeStorageHost, { format: 'vmdk' });
    const first = noise(MIB, 7);
    await image.write(0, first);
    await image.resize?.(SPLIT_END);
    await checkSplit(image, first);
    for (const [index, spot] of SPLIT_SPOTS.entries()) await image.write(spot, noise(8192, index));
    await image.discard(0, 64 * KIB);
    await assert.rejects(async () => await image.resize?.(MIB), /loses data/);
    await image.close();
    image = await openImage(at(name), nodeStorageHost, { format: 'vmdk', readOnly: true });
    assert.equal(image.sizeBytes, SPLIT_END);
    await image.close();
    assert.equal(readdirSync(dir).filter((one) => one.startsWith(`${subformat}-`)).length, 3);
    if (!hasQemu) return;
    for (const [index, spot] of SPLIT_SPOTS.entries()) {
      writeFileSync(at('spot'), noise(8192, index));
      run(dir, 'qemu-io', '-f', 'vmdk', '-c', `write -q -s spot ${spot} 8192`, name);
    }
    run(dir, 'qemu-io', '-f', 'vmdk', '-c', `write -q -P 9 ${3000 * MIB} 1M`, name);
    if (subformat === 'twoGbMaxExtentSparse') run(dir, 'qemu-img', 'check', '-f', 'vmdk', name);
    image = await openImage(at(name), nodeStorageHost, { format: 'vmdk' });
    const bytes = new Uint8Array(8192);
    await image.read(4094 * MIB - 4096, bytes);
    assert.deepEqual(bytes, noise(8192, 3));
    await image.read(3000 * MIB, bytes);
    assert.deepEqual(bytes, new Uint8Array(8192).fill(9));
    await image.close();
  });
}

it('a split disk has its old size or its new one when power is lost while it becomes longer', async () => {
  const host = new RecordingHost();
  await createImage(vmdk, host, '/d.vmdk', SPLIT_START, { subformat: 'twoGbMaxExtentSparse' });
  const first = noise(MIB, 7);
  const image = await openImage('/d.vmdk', host, { format: 'vmdk' });
  await image.write(0, first);
  await image.flush();
  const start = new MemoryHost();
  for (const [name, file] of host.files) start.files.set(name, file.clone());
  host.events.length = 0;
  await image.resize?.(SPLIT_END);
  await image.close();
  const sizes = new Set<number>();
  for (const crash of crashes(start, host.events, 5)) {
    const after = await openImage('/d.vmdk', crash.host, { format: 'vmdk', readOnly: true });
    sizes.add(after.sizeBytes);
    const kept = new Uint8Array(first.length);
    await after.read(0, kept);
    assert.deepEqual(kept, first);
    if (after.sizeBytes === SPLIT_END) await checkSplit(after, first);
    const { corruptions, messages } = await checkImage(vmdk, crash.host, '/d.vmdk', 'none');
    assert.equal(corruptions, 0, messages.join('\n'));
  }
  assert.deepEqual(
    [...sizes].toSorted((a, b) => a - b),
    [SPLIT_START, SPLIT_END],
  );
});

it('no file that is there becomes a part of a split disk', async () => {
  const host = new MemoryHost();
  await createImage(vmdk, host, '/d.vmdk', MIB, { subformat: 'twoGbMaxExtentFlat' });
  await createImage(vmdk, host, '/d-f002.vmdk', MIB);
  const image = await openImage('/d.vmdk', host, { format: 'vmdk' });
  await assert.rejects(async () => await image.resize?.(SPLIT_END), /d-f002\.vmdk: .*move it away/);
  assert.equal(image.sizeBytes, MIB);
  await image.close();
});

for (const subformat of ['twoGbMaxExtentSparse', 'twoGbMaxExtentFlat']) {
  it(`${subformat}: a disk that becomes shorter loses parts, and what lay behind its end`, async () => {
    const at = (name: string): string => path.join(dir, name);
    const name = `short-${subformat}.vmdk`;
    await createImage(vmdk, nodeStorageHost, at(name), SPLIT_END, { subformat });
    const relative = path.relative(process.cwd(), at(name));
    let image = await openImage(relative, nodeStorageHost, { format: 'vmdk' });
    const first = noise(MIB, 7);
    await image.write(0, first);
    for (const [index, spot] of SPLIT_SPOTS.entries()) await image.write(spot, noise(8192, index));
    await image.resize?.(2050 * MIB, { shrink: true });
    const bytes = new Uint8Array(8192);
    await image.read(2047 * MIB, bytes);
    assert.deepEqual(bytes, noise(8192, 2));
    await image.resize?.(SPLIT_START, { shrink: true });
    assert.equal(image.sizeBytes, SPLIT_START);
    await image.close();
    const letter = subformat === 'twoGbMaxExtentFlat' ? 'f' : 's';
    const names = readdirSync(dir).filter((one) => one.startsWith(`short-${subformat}-`));
    assert.deepEqual(names, [`short-${subformat}-${letter}001.vmdk`]);
    if (hasQemu)
      run(dir, 'qemu-io', '-f', 'vmdk', '-c', `read -q -P 0 ${2 * MIB + 8192} 64k`, name);
    image = await openImage(at(name), nodeStorageHost, { format: 'vmdk' });
    await image.writeZeroes(2 * MIB, 8192);
    await image.resize?.(SPLIT_END);
    await checkSplit(image, first);
    await image.close();
  });
}

it('parts that are called otherwise stay: a descriptor may name any file', async () => {
  const host = new MemoryHost();
  const subformat = 'twoGbMaxExtentFlat';
  await createImage(vmdk, host, '/d.vmdk', SPLIT_END, { subformat });
  const text = await host.openFile('/d.vmdk');
  const bytes = new Uint8Array(await text.size());
  await text.read(0, bytes);
  await host.replace('/renamed.vmdk', bytes);
  const image = await openImage('/renamed.vmdk', host, { format: 'vmdk' });
  await assert.rejects(async () => await image.resize?.(MIB, { shrink: true }), {
    kind: 'unsupported',
    message: /d-f002\.vmdk is not called as a part of it is/,
  });
  assert.equal(image.sizeBytes, SPLIT_END);
  await image.close();
  assert.ok(host.files.has('/d-f002.vmdk'));
});

/** Its descriptors are not replaced, or not durably. */
class FailingHost extends MemoryHost {
  fails: 'replace' | 'settle' | 'nothing' = 'nothing';
  closed: string[] = [];

  override async openFile(path: string, options: FileOptions = {}): Promise<HostFile> {
    const file = await super.openFile(path, options);
    return Object.assign(file, { close: async () => void this.closed.push(path) });
  }

  override async replace(path: string, bytes: Uint8Array): Promise<Replaced> {
    if (this.fails === 'replace') throw new ImageError('no-space', `${path}: full`, { path });
    const replaced = await super.replace(path, bytes);
    const settle = async (): Promise<void> => {
      if (this.fails === 'settle') throw new ImageError('io', `${path}: no flush`, { path });
    };
    return { ...replaced, settle };
  }
}

it('new parts of a split disk go when its descriptor cannot be written', async () => {
  const host = new FailingHost();
  await createImage(vmdk, host, '/d.vmdk', MIB, { subformat: 'twoGbMaxExtentSparse' });
  const image = await openImage('/d.vmdk', host, { format: 'vmdk' });
  host.fails = 'replace';
  await assert.rejects(async () => await image.resize?.(SPLIT_END), { kind: 'no-space' });
  assert.equal(image.sizeBytes, MIB);
  assert.deepEqual([...host.files.keys()], ['/d.vmdk', '/d-s001.vmdk']);
  host.fails = 'nothing';
  await image.resize?.(SPLIT_END);
  assert.equal(image.sizeBytes, SPLIT_END);
  await image.close();
  assert.equal(host.files.size, 4);
});

it('they stay, and the old descriptor is closed, when the new one is there but not durable', async () => {
  const host = new FailingHost();
  await createImage(vmdk, host, '/d.vmdk', MIB, { subformat: 'twoGbMaxExtentSparse' });
  const image = await openImage('/d.vmdk', host, { format: 'vmdk' });
  host.fails = 'settle';
  host.closed = [];
  await assert.rejects(async () => await image.resize?.(SPLIT_END), { kind: 'io' });
  assert.deepEqual(host.closed, ['/d.vmdk']);
  assert.equal(image.sizeBytes, SPLIT_END);
  await image.close();
  assert.equal(host.files.size, 4);
});

describe('VMDK images that differ from others', () => {
  it('read from their parent what they do not have, by ring0 and by QEMU', async () => {
    const host = new MemoryHost();
    await createImage(vmdk, host, '/base.vmdk', 5 * MIB);
    const base = await openImage('/base.vmdk', host, { format: 'vmdk' });
    const expected = new Uint8Array(5 * MIB);
    await exercise(base, expected, 1, 30);
    await base.close();
    for (const zeroed_grain of [false, true]) {
      const options = { backing_file: 'base.vmdk', zeroed_grain };
      await createImage(vmdk, host, '/top.vmdk', 5 * MIB, options);
      const top = await openImage('/top.vmdk', host, { format: 'vmdk' });
      const content = expected.slice();
      assert.deepEqual(await readAll(top), content);
      await exercise(top, content, 2, 30);
      await top.close();
      const again = await openImage('/top.vmdk', host, { format: 'vmdk', readOnly: true });
      assert.deepEqual(await readAll(again), content);
    }
  });

  it('are refused when their parent was written to, or is gone', async () => {
    const host = new MemoryHost();
    await createImage(vmdk, host, '/base.vmdk', MIB);
    await createImage(vmdk, host, '/top.vmdk', MIB, { backing_file: 'base.vmdk' });
    const base = await openImage('/base.vmdk', host, { format: 'vmdk' });
    await base.write(0, noise(512, 1));
    await base.close();
    await assert.rejects(openImage('/top.vmdk', host, { format: 'vmdk' }), /was changed after/);
    host.files.delete('/base.vmdk');
    await assert.rejects(
      openImage('/top.vmdk', host, { format: 'vmdk' }),
      (error: ImageError) => error.kind === 'not-found',
    );
  });
});

it('VMDK disks of more than 2047 MiB are split', async () => {
  const host = new MemoryHost();
  const size = 3 * 2 ** 30;
  await createImage(vmdk, host, '/d.vmdk', size, { subformat: 'twoGbMaxExtentSparse' });
  assert.deepEqual([...host.files.keys()].sort(), ['/d-s001.vmdk', '/d-s002.vmdk', '/d.vmdk']);
  const image = await openImage('/d.vmdk', host, { format: 'vmdk' });
  const at = (2047 << 20) - 4096;
  await image.write(at, noise(MIB, 1));
  await image.close();
  const again = await openImage('/d.vmdk', host, { format: 'vmdk', readOnly: true });
  const into = new Uint8Array(MIB);
  await again.read(at, into);
  assert.deepEqual(into, noise(MIB, 1));
  assert.deepEqual((await checkImage(vmdk, host, '/d.vmdk')).messages, []);
});

it('VMDK streams of qemu-img are read', { skip: !hasQemu && 'no qemu-img' }, async () => {
  const dir = tempDir('vmdk-stream');
  const { nodeStorageHost } = await import('../../node/node-host.ts');
  const raw = await nodeStorageHost.openFile(`${dir}/raw`, { access: 'create' });
  const expected = new Uint8Array(5 * MIB);
  expected.set(noise(MIB, 1), MIB + 512);
  expected.fill(0x41, 3 * MIB, 4 * MIB);
  await raw.write(0, expected);
  await raw.close();
  const options = ['-O', 'vmdk', '-o', 'subformat=streamOptimized'];
  run(dir, 'qemu-img', 'convert', '-f', 'raw', ...options, 'raw', 'stream');
  const image = await openImage(`${dir}/stream`, nodeStorageHost, {
    format: 'vmdk',
    readOnly: true,
  });
  assert.deepEqual(await readAll(image), expected);
  await image.close();
});

describe('VMDK descriptors of strangers', () => {
  const cases = [
    { line: 'RW 100 FLAT "/etc/passwd" 0', message: /outside of the image's folder/ },
    { line: 'RW 100 FLAT "../x" 0', message: /outside of the image's folder/ },
    { line: 'RW 100 SESPARSE "x"', message: /extents of type SESPARSE/ },
    { line: 'RW 99999999999999999999 ZERO', message: /beyond all disks/ },
    { line: '', message: /names no extents/ },
    { line: 'RW 100 FLAT "gone" 0', message: /no such file/ },
  ];
  for (const { line, message } of cases)
    it(`are refused: ${line}`, async () => {
      const host = new MemoryHost();
      const file = await host.openFile('/d', { access: 'create' });
      const text = `# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n${line}\n`;
      await file.write(0, new TextEncoder().encode(text));
      await assert.rejects(openImage('/d', host, { format: 'vmdk', readOnly: true }), message);
    });
});

for (const subformat of ['monolithicFlat', 'twoGbMaxExtentSparse', 'twoGbMaxExtentFlat'])
  it(`VMDK images survive a loss of power after any write: ${subformat}`, async () => {
    assert.ok((await testCrashes(vmdk, 3 * MIB, { subformat }, 2)) > 15);
  });

it('VMDK images survive a loss of power after any write', async () => {
  assert.ok((await testCrashes(vmdk, 3 * MIB, {}, 1)) > 15);
});

for (const options of [{}, { subformat: 'streamOptimized' }])
  it(`damaged VMDK images are refused or read: ${JSON.stringify(options)}`, async () => {
    const host = new MemoryHost();
    await createImage(vmdk, host, '/d', 3 * MIB, options);
    const image = await openImage('/d', host, { format: 'vmdk' });
    await image.write(MIB, noise(8192, 1));
    await image.close();
    const file = host.files.get('/d');
    const bytes = new Uint8Array((await file?.size()) ?? 0);
    await file?.read(0, bytes);
    const hot = [
      [4, 80],
      [512, 700],
      [21 * 512, 23 * 512],
      [26 * 512, 28 * 512],
    ] as const;
    const { opened, refused } = await fuzzImage(vmdk, bytes, hot, 3, 40);
    assert.ok(opened > 3 && refused > 3, `${opened} opened, ${refused} refused`);
  });
