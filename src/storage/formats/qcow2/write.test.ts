import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { ImageError } from '../../image.ts';
import { nodeStorageHost } from '../../node/node-host.ts';
import { openImage } from '../../open.ts';
import { MemoryHost, noise } from '../../testing.ts';
import { isZero } from '../../zeros.ts';
import { qcow2 } from './qcow2.ts';
import { checkImage, createImage, Dice, randomShape, type Shape, Workload } from './testing.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-qcow2-write-'));
after(() => rmSync(dir, { recursive: true }));
const at = (name: string): string => path.join(dir, name);
const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;

function qemu(command: string, ...args: string[]): string {
  const result = spawnSync(command, args, { cwd: dir, encoding: 'utf8' });
  assert.equal(result.status, 0, `${command} ${args.join(' ')}: ${result.stderr}${result.stdout}`);
  return result.stdout;
}

/** Puts a base under every second image. */
function withBacking(shape: Shape, dice: Dice, write: (base: Uint8Array) => void): Uint8Array {
  const model = new Uint8Array(shape.sizeBytes);
  if (dice.roll(2) === 0) return model;
  const base = noise(1 << 20, 9);
  write(base);
  model.set(base);
  shape.options.set('preallocation', 'off');
  shape.options.set('backing_file', 'base.raw').set('backing_fmt', 'raw');
  return model;
}

const nameOf = ({ sizeBytes, options }: Shape): string =>
  `${sizeBytes} bytes, ${[...options].map((pair) => pair.join('=')).join(',')}`;

describe('qcow2 written by chance', () => {
  for (let seed = 1; seed <= 30; seed++) {
    const dice = new Dice(seed);
    const shape = randomShape(dice);
    it(`seed ${seed}: ${nameOf(shape)}`, async () => {
      const host = new MemoryHost();
      const baseFile = await host.openFile('/base.raw', { access: 'create' });
      const model = withBacking(shape, dice, (base) => void baseFile.write(0, base));
      await createImage(host, '/d', shape);
      const hasSnapshots = shape.options.get('refcount_bits') !== 1;
      const first = await openImage('/d', host, { format: 'qcow2' });
      await new Workload(first, model, dice, hasSnapshots).run(25);
      await first.close();
      const again = await openImage('/d', host, { format: 'qcow2' });
      await new Workload(again, model, dice, false).run(5);
      await again.close();
      const { corruptions, leaks, text } = await checkImage(host, '/d');
      assert.deepEqual({ corruptions, leaks, text }, { corruptions: 0, leaks: 0, text: '' });
    });
  }
});

describe('qcow2 and qemu-img', { skip: hasQemu ? false : 'there is no qemu-img' }, () => {
  for (const seed of [101, 102, 103, 104, 105, 106]) {
    const dice = new Dice(seed);
    const shape = randomShape(dice);
    it(`QEMU reads, checks and writes what we wrote: ${nameOf(shape)}`, async () => {
      const model = withBacking(shape, dice, (base) => writeFileSync(at('base.raw'), base));
      await createImage(nodeStorageHost, at('ours'), shape);
      const image = await openImage(at('ours'), nodeStorageHost, { format: 'qcow2' });
      await new Workload(image, model, dice, shape.options.get('refcount_bits') !== 1).run(20);
      await image.close();
      qemu('qemu-img', 'check', '-q', '-f', 'qcow2', 'ours');
      const write = ['-c', 'write -P 0x5a 70000 3000', '-c', 'write -z -u 200000 150000'];
      qemu('qemu-io', '-f', 'qcow2', ...write, 'ours');
      model.fill(0x5a, 70000, 73000);
      model.fill(0, 200000, 350000);
      qemu('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', 'ours', 'out');
      assert.ok(Buffer.compare(readFileSync(at('out')), model) === 0);
      const again = await openImage(at('ours'), nodeStorageHost, { format: 'qcow2' });
      await new Workload(again, model, dice, false).run(3);
      await again.close();
      qemu('qemu-img', 'check', '-q', '-f', 'qcow2', 'ours');
    });
  }
});

describe('qcow2 options that do not fit', () => {
  const cases: { name: string; options: [string, string | number | boolean][]; says: RegExp }[] = [
    { name: 'a cluster of 1000 bytes', options: [['cluster_size', 1000]], says: /cluster_size/ },
    {
      name: 'zstd in version 2',
      options: [
        ['compat', '0.10'],
        ['compression_type', 'zstd'],
      ],
      says: /compat=0.10/,
    },
    {
      name: 'subclusters of 128 bytes',
      options: [
        ['extended_l2', true],
        ['cluster_size', 4096],
      ],
      says: /16K or more/,
    },
    { name: 'refcounts of 3 bits', options: [['refcount_bits', 3]], says: /refcount_bits/ },
    {
      name: 'an unknown preallocation',
      options: [['preallocation', 'some']],
      says: /preallocation/,
    },
    {
      name: 'preallocation over a backing file',
      options: [
        ['preallocation', 'full'],
        ['backing_file', 'b'],
      ],
      says: /backing_file/,
    },
    { name: 'a raw data file without one', options: [['data_file_raw', true]], says: /data_file/ },
    { name: '1 TiB in clusters of 512', options: [['cluster_size', 512]], says: /too many/ },
  ];
  for (const { name, options, says } of cases)
    it(name, async () => {
      const shape = { sizeBytes: 2 ** 40, options: new Map(options) };
      await assert.rejects(createImage(new MemoryHost(), '/d', shape), (error: ImageError) => {
        assert.match(error.message, says);
        return error.kind === 'bad-option';
      });
    });
});

it('measures what a full image takes', async () => {
  const host = new MemoryHost();
  const request = { sizeBytes: 4 << 20, options: new Map([['cluster_size', 65536]]) };
  const { required, fullyAllocated } = qcow2.measure?.(request, 1 << 20) ?? {
    required: 0,
    fullyAllocated: 0,
  };
  const options = new Map<string, string | number>([...request.options]).set(
    'preallocation',
    'metadata',
  );
  await createImage(host, '/d', { sizeBytes: 4 << 20, options });
  assert.equal(await host.files.get('/d')?.size(), fullyAllocated);
  assert.equal(required, fullyAllocated - (3 << 20));
});

it('has no write under way any more when it fails', async () => {
  const CLUSTER = 65536;
  const host = new MemoryHost();
  await createImage(host, '/d', { sizeBytes: 1 << 20, options: new Map() });
  const disk = await openImage('/d', host, { format: 'qcow2' });
  await disk.write(0, noise(CLUSTER, 1));
  await disk.flush();
  const file = host.files.get('/d');
  assert.ok(file !== undefined);
  const log: string[] = [];
  const write = file.write.bind(file);
  let writes = 0;
  file.write = async (offsetBytes, from) => {
    // The data that has a place, which comes first, is slow, and for all else there is no room.
    if (writes++ > 0) throw new ImageError('no-space', '/d: full', { path: '/d' });
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
    await write(offsetBytes, from);
    log.push('written');
  };
  await assert.rejects(disk.write(CLUSTER / 2, noise(CLUSTER, 2)), /full/);
  log.push('failed');
  assert.deepEqual(log, ['written', 'failed']);
});

describe('qcow2: what is discarded', () => {
  it('is the host’s again after one flush', async () => {
    const host = new MemoryHost();
    await createImage(host, '/d', { sizeBytes: 8 << 20, options: new Map() });
    const image = await openImage('/d', host, { format: 'qcow2' });
    await image.write(0, noise(4 << 20, 1));
    await image.flush();
    const file = host.files.get('/d');
    const before = (await file?.allocatedBytes()) ?? 0;
    await image.discard(0, 4 << 20);
    await image.flush();
    // Nothing waits for it: it comes behind the flush.
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(before - ((await file?.allocatedBytes()) ?? 0), 4 << 20);
    assert.ok(((await file?.size()) ?? 0) < 1 << 20, 'it lay at the end, and the file is as long');
    await image.write(0, noise(2 << 20, 2));
    const bytes = new Uint8Array(4 << 20);
    await image.read(0, bytes);
    assert.ok(Buffer.compare(bytes.subarray(0, 2 << 20), noise(2 << 20, 2)) === 0);
    assert.ok(isZero(bytes.subarray(2 << 20)));
    await image.close();
    const { corruptions, leaks, text } = await checkImage(host, '/d');
    assert.deepEqual({ corruptions, leaks, text }, { corruptions: 0, leaks: 0, text: '' });
  });
});

describe('qcow2: what is discarded in parts of clusters', { skip: !hasQemu }, () => {
  for (const shape of ['cluster_size=64k', 'cluster_size=2M', 'cluster_size=128k,extended_l2=on'])
    it(`is what QEMU discards: ${shape}`, async () => {
      const maps: string[] = [];
      const run = (program: string, ...words: string[]): string => {
        const { status, stdout, stderr } = spawnSync(program, words, { encoding: 'utf8' });
        assert.equal(status, 0, stderr);
        return stdout;
      };
      for (const name of ['theirs', 'ours']) {
        run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', shape, at(name), '5M');
        run('qemu-io', '-c', 'write -q -P 7 0 5M', at(name));
        if (name === 'theirs') {
          const discards = ['discard -q 32k 1088k', 'discard -q 2M 2M', 'discard -q 4736k 384k'];
          run('qemu-io', '-d', 'unmap', ...discards.flatMap((one) => ['-c', one]), at(name));
        } else {
          const image = await openImage(at(name), nodeStorageHost, { format: 'qcow2' });
          await image.discard(32 << 10, 1088 << 10);
          await image.discard(2 << 20, 2 << 20);
          await image.discard(4736 << 10, 384 << 10);
          await image.close();
        }
        run('qemu-img', 'check', '-q', at(name));
        maps.push(run('qemu-img', 'map', '--output=json', at(name)));
      }
      assert.equal(maps[1], maps[0]);
    });
});

describe('qcow2: counts of clusters behind the end of the file, as a crash leaves them', () => {
  for (const refcountBits of [1, 16])
    it(`${refcountBits} bits: are leaks that nothing is given, and that a check mends`, async () => {
      const options = new Map<string, number>([
        ['cluster_size', 4096],
        ['refcount_bits', refcountBits],
      ]);
      await createImage(nodeStorageHost, at('behind'), { sizeBytes: 1 << 20, options });
      const bytes = readFileSync(at('behind'));
      const block = Number(bytes.readBigUInt64BE(Number(bytes.readBigUInt64BE(48))));
      const end = bytes.length / 4096;
      for (const cluster of [end, end + 2, end + 3])
        if (refcountBits === 1) {
          const byte = block + (cluster >>> 3);
          bytes[byte] = (bytes[byte] ?? 0) | (1 << (cluster & 7));
        } else bytes.writeUInt16BE(1, block + cluster * 2);
      writeFileSync(at('behind'), bytes);
      const image = await openImage(at('behind'), nodeStorageHost, { format: 'qcow2' });
      await image.bitmaps?.add('one');
      await image.write(0, noise(1 << 20, 1));
      await image.bitmaps?.add('two');
      await image.close();
      const { corruptions, leaks } = await checkImage(nodeStorageHost, at('behind'));
      assert.deepEqual([corruptions, leaks], [0, 3]);
      // It looks at counts of what the file holds alone.
      if (hasQemu) assert.equal(spawnSync('qemu-img', ['check', at('behind')]).status, 3);
      await checkImage(nodeStorageHost, at('behind'), 'leaks');
      assert.equal((await checkImage(nodeStorageHost, at('behind'))).leaks, 0);
      if (hasQemu) assert.equal(spawnSync('qemu-img', ['check', at('behind')]).status, 0);
    });
});
