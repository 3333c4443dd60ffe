import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { nodeStorageHost } from '#storage/node/node-host.ts';
import { openImage } from '#storage/open.ts';
import { ring0Image } from './testing.ts';

const KIB = 1024;
const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-image-bitmap-'));
after(() => rmSync(dir, { recursive: true }));
const at = (name: string): string => path.join(dir, name);
const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;

async function ring0(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await ring0Image(...args);
  assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
  return stdout;
}

function qemu(program: 'qemu-img' | 'qemu-io', ...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: dir, encoding: 'utf8' });
  assert.equal(status, 0, `${program} ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

/** What is set, in KiB. */
async function runs(file: string, bitmap: string): Promise<number[][]> {
  const image = await openImage(at(file), nodeStorageHost, { format: 'qcow2', readOnly: true });
  const found: number[][] = [];
  for await (const { offsetBytes, lengthBytes } of image.bitmaps?.runs(bitmap) ?? [])
    found.push([offsetBytes / KIB, (offsetBytes + lengthBytes) / KIB]);
  await image.close();
  return found;
}

async function told(file: string): Promise<unknown> {
  return JSON.parse(await ring0('info', '--output', 'json', at(file)));
}

function assertSameInfo(ours: unknown, file: string): void {
  const theirs = JSON.parse(qemu('qemu-img', 'info', '--output', 'json', file));
  assert.deepEqual({ ...Object(ours), filename: '' }, { ...theirs, filename: '' });
}

describe('ring0 image bitmap', () => {
  beforeEach(async () => {
    await ring0('create', '-f', 'qcow2', at('a.qcow2'), '20M');
  });

  it('does what it is told, in that order', async () => {
    await ring0('bitmap', '--add', '--disable', '-g', '4k', at('a.qcow2'), 'one');
    const { stderr, status } = await ring0Image('bitmap', '--clear', '--add', at('a.qcow2'), 'two');
    assert.equal(status, 1);
    assert.match(stderr, /a\.qcow2: there is no bitmap 'two'/);
    assert.match(await ring0('info', at('a.qcow2')), /name: one\n +granularity: 4096/);
  });

  it('needs something to do, and only what goes with it', async () => {
    for (const [args, why] of [
      [[], /nothing to do/],
      [['--clear', '-g', '4k'], /granularity is for --add/],
      [['--add', '-b', 'x'], /source file is for --merge/],
    ] as const) {
      const { status, stderr } = await ring0Image('bitmap', ...args, at('a.qcow2'), 'one');
      assert.equal(status, 1);
      assert.match(stderr, why);
    }
  });

  it('and QEMU see the same bits, both ways', { skip: !hasQemu && 'no qemu-img' }, async () => {
    await ring0('bitmap', '--add', '-g', '4k', at('a.qcow2'), 'ours');
    qemu('qemu-img', 'bitmap', '--add', '-g', '32k', 'a.qcow2', 'theirs');
    qemu('qemu-io', '-f', 'qcow2', '-c', 'write 1M 9k', '-c', 'write 19M 1M', 'a.qcow2');
    const tail = [19 * KIB, 20 * KIB];
    assert.deepEqual(await runs('a.qcow2', 'ours'), [[KIB, KIB + 12], tail]);
    assert.deepEqual(await runs('a.qcow2', 'theirs'), [[KIB, KIB + 32], tail]);
    await ring0('bitmap', '--disable', at('a.qcow2'), 'theirs');
    await ring0('bitmap', '--merge', 'theirs', at('a.qcow2'), 'ours');
    qemu('qemu-img', 'bitmap', '--add', '--disable', '-g', '64k', 'a.qcow2', 'again');
    qemu('qemu-img', 'bitmap', '--merge', 'ours', 'a.qcow2', 'again');
    assert.deepEqual(await runs('a.qcow2', 'again'), [[KIB, KIB + 64], tail]);
    assertSameInfo(await told('a.qcow2'), 'a.qcow2');
    for (const output of ['human', 'json'] as const) {
      const args = ['measure', '-O', 'qcow2', '--output', output];
      assert.deepEqual(
        (await ring0(...args, at('a.qcow2'))).split('\n').sort(),
        qemu('qemu-img', ...args, 'a.qcow2')
          .split('\n')
          .sort(),
      );
    }
    await ring0('convert', '--bitmaps', '-O', 'qcow2', at('a.qcow2'), at('b.qcow2'));
    await ring0('create', '-f', 'qcow2', at('c.qcow2'), '20M');
    await ring0('bitmap', '--add', at('c.qcow2'), 'x');
    await ring0(
      'bitmap',
      '--merge',
      'again',
      '-b',
      at('b.qcow2'),
      '-F',
      'qcow2',
      at('c.qcow2'),
      'x',
    );
    assert.deepEqual(await runs('c.qcow2', 'x'), [[KIB, KIB + 64], tail]);
    await ring0('resize', at('b.qcow2'), '3G');
    qemu('qemu-io', '-f', 'qcow2', '-c', 'write 2G 4k', 'b.qcow2');
    const far = [2 * KIB * KIB, 2 * KIB * KIB + 4];
    assert.deepEqual(await runs('b.qcow2', 'ours'), [[KIB, KIB + 32], tail, far]);
    assertSameInfo(await told('b.qcow2'), 'b.qcow2');
    for (const file of ['a.qcow2', 'b.qcow2', 'c.qcow2']) qemu('qemu-img', 'check', file);
  });
});

describe('ring0 image amend', () => {
  const steps = [
    'compat=0.10',
    'compat=1.1,lazy_refcounts=on',
    'refcount_bits=64,lazy_refcounts=off',
    'refcount_bits=8',
    'refcount_bits=16,size=30M',
    'compat=v2',
  ];
  it('makes what qemu-img makes of it, and keeps the disk', {
    skip: !hasQemu && 'no qemu-img',
  }, async () => {
    qemu('qemu-img', 'create', '-q', '-f', 'qcow2', 'd.qcow2', '20M');
    const writes = [
      'write -P 7 1M 300k',
      'write -z 3M 1M',
      'write -P 9 8M 64k',
      'write -z -u 8M 64k',
    ];
    qemu('qemu-io', '-f', 'qcow2', ...writes.flatMap((one) => ['-c', one]), 'd.qcow2');
    qemu('qemu-img', 'convert', '-O', 'qcow2', 'd.qcow2', 'e.qcow2');
    for (const step of steps) {
      await ring0('amend', '-f', 'qcow2', '-o', step, at('d.qcow2'));
      qemu('qemu-img', 'amend', '-f', 'qcow2', '-o', step, 'e.qcow2');
      const specific = async (name: string): Promise<unknown> => {
        const info = Object(await told(name));
        return [info['format-specific'], info['backing-filename'], info['virtual-size']];
      };
      assert.deepEqual(await specific('d.qcow2'), await specific('e.qcow2'), step);
      qemu('qemu-img', 'compare', 'd.qcow2', 'e.qcow2');
      qemu('qemu-img', 'check', 'd.qcow2');
      assertSameInfo(await told('d.qcow2'), 'd.qcow2');
    }
  });

  it('keeps zeros that cover a backing file when version 2 cannot say them', async () => {
    await ring0('create', '-f', 'qcow2', at('base.qcow2'), '2M');
    const base = await openImage(at('base.qcow2'), nodeStorageHost, { format: 'qcow2' });
    await base.write(0, new Uint8Array(2048 * KIB).fill(5));
    await base.close();
    await ring0('create', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', at('top.qcow2'), '3M');
    let top = await openImage(at('top.qcow2'), nodeStorageHost, { format: 'qcow2', probe: true });
    await top.writeZeroes(1024 * KIB, 2048 * KIB, { mayUnmap: true });
    await top.close();
    await ring0('amend', '-o', 'compat=0.10', at('top.qcow2'));
    top = await openImage(at('top.qcow2'), nodeStorageHost, { format: 'qcow2', probe: true });
    const bytes = new Uint8Array(3072 * KIB);
    await top.read(0, bytes);
    await top.close();
    const expected = new Uint8Array(3072 * KIB);
    expected.fill(5, 0, 1024 * KIB);
    assert.ok(Buffer.from(expected).equals(bytes));
    await ring0('check', at('top.qcow2'));
  });

  for (const [options, why] of [
    ['refcount_bits=3', /power of two/],
    ['compat=0.10,refcount_bits=8', /refcount_bits=16/],
    ['data_file=x', /convert it/],
    ['backing_file=x', /no option 'backing_file'/],
    ['data_file_raw=on', /convert it/],
    ['size=1M', /--shrink/],
    ['cluster_size=4k', /no option 'cluster_size'/],
  ] as const)
    it(`refuses ${options}, and changes nothing`, async () => {
      await ring0('create', '-f', 'qcow2', at('f.qcow2'), '20M');
      const before = await told('f.qcow2');
      const { status, stderr } = await ring0Image('amend', '-o', options, at('f.qcow2'));
      assert.equal(status, 1);
      assert.match(stderr, why);
      assert.deepEqual(await told('f.qcow2'), before);
    });
});
