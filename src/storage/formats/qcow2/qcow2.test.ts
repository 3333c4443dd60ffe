import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import type { ImageError } from '../../image.ts';
import { nodeStorageHost } from '../../node/node-host.ts';
import { openImage } from '../../open.ts';
import { MemoryHost, noise } from '../../testing.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-qcow2-'));
after(() => rmSync(dir, { recursive: true }));
const at = (name: string): string => path.join(dir, name);
const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;

function qemuImg(...args: string[]): void {
  const { status, stderr } = spawnSync('qemu-img', args, { cwd: dir, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
}

/** Data, text that compresses, and holes, with an end in the middle of a cluster. */
function content(): Uint8Array {
  const bytes = new Uint8Array((5 << 20) + 512);
  bytes.set(noise(300_000, 1), 70_000);
  bytes.fill(0x41, 1 << 20, (1 << 20) + 900_000);
  bytes.set(noise(100_000, 2), 3 << 20);
  bytes.set(noise(512, 3), 5 << 20);
  return bytes;
}

async function readAll(file: string): Promise<Uint8Array> {
  const image = await openImage(file, nodeStorageHost, { format: 'qcow2', readOnly: true });
  const bytes = new Uint8Array(image.sizeBytes);
  for (let done = 0; done < bytes.length; done += 393_216)
    await image.read(done, bytes.subarray(done, done + 393_216));
  await image.close();
  return bytes;
}

describe('qcow2 images of qemu-img', { skip: hasQemu ? false : 'there is no qemu-img' }, () => {
  const cases = [
    { name: 'version 2', options: 'compat=0.10', flags: [] },
    { name: 'version 3', options: 'compat=1.1', flags: [] },
    { name: 'clusters of 512 bytes', options: 'cluster_size=512', flags: [] },
    { name: 'clusters of 2 MiB', options: 'cluster_size=2M', flags: [] },
    { name: 'refcounts of 1 bit', options: 'refcount_bits=1', flags: [] },
    { name: 'extended L2', options: 'extended_l2=on,cluster_size=128k', flags: [] },
    { name: 'preallocation', options: 'preallocation=metadata', flags: [] },
    { name: 'zlib', options: 'compression_type=zlib', flags: ['-c'] },
    { name: 'zlib in clusters of 512 bytes', options: 'cluster_size=512', flags: ['-c'] },
    { name: 'zlib in clusters of 2 MiB', options: 'cluster_size=2M', flags: ['-c'] },
    { name: 'zstd', options: 'compression_type=zstd', flags: ['-c'] },
  ];
  for (const { name, options, flags } of cases)
    it(`reads ${name}`, async () => {
      writeFileSync(at('source'), content());
      qemuImg('convert', '-f', 'raw', '-O', 'qcow2', ...flags, '-o', options, 'source', 'image');
      assert.ok(Buffer.compare(await readAll(at('image')), content()) === 0);
    });

  it('reads through a chain whose base is shorter', async () => {
    const base = content().subarray(0, 2 << 20);
    writeFileSync(at('base.raw'), base);
    qemuImg('create', '-q', '-f', 'qcow2', '-b', 'base.raw', '-F', 'raw', 'middle.qcow2', '4M');
    qemuImg('create', '-q', '-f', 'qcow2', '-b', 'middle.qcow2', '-F', 'qcow2', 'top.qcow2', '6M');
    const expected = new Uint8Array(6 << 20);
    expected.set(base);
    assert.ok(Buffer.compare(await readAll(at('top.qcow2')), expected) === 0);
  });

  it('refuses a chain that leads back to itself', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', 'loop-a', '1M');
    qemuImg('create', '-q', '-f', 'qcow2', '-b', 'loop-a', '-F', 'qcow2', 'loop-b', '1M');
    qemuImg('rebase', '-u', '-b', 'loop-b', '-F', 'qcow2', 'loop-a');
    await assert.rejects(readAll(at('loop-a')), /leads back to it/);
  });

  it('reads and writes data in an external file', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', '-o', 'data_file=data.raw', 'external', '1M');
    const image = await openImage(at('external'), nodeStorageHost, { format: 'qcow2' });
    await image.write(70_144, noise(3072, 4));
    // The cluster at offset 0 of the data file is a place like any other.
    await image.write(1024, noise(3072, 4));
    await image.close();
    qemuImg('check', '-q', '-f', 'qcow2', 'external');
    qemuImg('convert', '-f', 'qcow2', '-O', 'raw', 'external', 'out');
    const expected = new Uint8Array(1 << 20);
    expected.set(noise(3072, 4), 70_144);
    expected.set(noise(3072, 4), 1024);
    assert.ok(Buffer.compare(readFileSync(at('out')), expected) === 0);
    assert.ok(Buffer.compare(await readAll(at('external')), expected) === 0);
  });

  it('lists snapshots and says what is where in a sparse disk of 3 TiB', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', 'large', '3T');
    for (const name of ['one', 'two']) qemuImg('snapshot', '-c', name, 'large');
    const image = await openImage(at('large'), nodeStorageHost, { probe: true, readOnly: true });
    assert.equal(image.sizeBytes, 3 * 2 ** 40);
    const { snapshots, clusterBytes } = await image.info();
    assert.equal(clusterBytes, 65536);
    assert.deepEqual(
      snapshots?.map(({ id, name, sizeBytes }) => [id, name, sizeBytes]),
      [
        ['1', 'one', 3 * 2 ** 40],
        ['2', 'two', 3 * 2 ** 40],
      ],
    );
    const last = image.sizeBytes - 4096;
    assert.deepEqual(await image.extent(last, 4096), { kind: 'unallocated', lengthBytes: 4096 });
    await image.close();
  });

  it('names what is corrupt when the file was cut', async () => {
    writeFileSync(at('source'), content());
    qemuImg('convert', '-c', '-f', 'raw', '-O', 'qcow2', 'source', 'cut');
    truncateSync(at('cut'), 400_000);
    await assert.rejects(readAll(at('cut')), (error: ImageError) => error.kind === 'corrupt');
  });
});

describe('qcow2 headers from strangers', () => {
  /** An empty disk of 64 KiB: header, then an L1 table of one entry in the second cluster. */
  function image(change: (view: DataView) => void): Uint8Array {
    const bytes = new Uint8Array(3 << 16);
    const view = new DataView(bytes.buffer);
    const fields = [0x514649fb, 3, 0, 0, 0, 16, 0, 65536, 0, 1, 0, 65536, 0, 131072, 1];
    fields.forEach((value, index) => {
      view.setUint32(index * 4, value);
    });
    view.setUint32(96, 4);
    view.setUint32(100, 104);
    change(view);
    return bytes;
  }
  const cases: { name: string; kind?: ImageError['kind']; change: (view: DataView) => void }[] = [
    { name: 'as it should be', change: () => {} },
    { name: 'no magic', kind: 'bad-format', change: (v) => v.setUint32(0, 1) },
    { name: 'version 4', kind: 'unsupported', change: (v) => v.setUint32(4, 4) },
    { name: 'clusters of 2^31', kind: 'unsupported', change: (v) => v.setUint32(20, 31) },
    { name: 'LUKS', kind: 'unsupported', change: (v) => v.setUint32(32, 2) },
    { name: 'an L1 table of 32 GiB', kind: 'unsupported', change: (v) => v.setUint32(36, -1) },
    { name: 'a disk of 8 PiB', kind: 'unsupported', change: (v) => v.setUint32(24, 1 << 21) },
    { name: 'an L1 table too short', kind: 'corrupt', change: (v) => v.setUint32(24, 1) },
    { name: 'an L1 table beyond the file', kind: 'corrupt', change: (v) => v.setUint32(40, 1) },
    { name: 'an L1 table off a cluster', kind: 'corrupt', change: (v) => v.setUint32(44, 512) },
    { name: 'a backing name outside', kind: 'corrupt', change: (v) => v.setUint32(12, 65535) },
    { name: 'snapshots beyond the file', kind: 'corrupt', change: (v) => v.setUint32(60, 9) },
    { name: 'an unknown feature', kind: 'unsupported', change: (v) => v.setUint32(76, 1 << 9) },
    { name: 'a refcount order of 7', kind: 'corrupt', change: (v) => v.setUint32(96, 7) },
    { name: 'a header of 8 bytes', kind: 'corrupt', change: (v) => v.setUint32(100, 8) },
    { name: 'an L2 table off a cluster', kind: 'corrupt', change: (v) => v.setUint32(65540, 512) },
    { name: 'reserved L1 bits', kind: 'corrupt', change: (v) => v.setUint32(65536, 1 << 30) },
  ];
  for (const { name, kind, change } of cases)
    it(`${name}: ${kind ?? 'reads'}`, async () => {
      const host = new MemoryHost();
      const bytes = image(change);
      if (name === 'a backing name outside') new DataView(bytes.buffer).setUint32(16, 100);
      if (name === 'snapshots beyond the file') new DataView(bytes.buffer).setUint32(68, 1 << 20);
      await (await host.openFile('/d', { access: 'create' })).write(0, bytes);
      const run = async (): Promise<void> => {
        const disk = await openImage('/d', host, { format: 'qcow2', readOnly: true });
        await disk.read(0, new Uint8Array(4096));
      };
      if (kind === undefined) await run();
      else await assert.rejects(run(), (error: ImageError) => error.kind === kind);
    });
});
