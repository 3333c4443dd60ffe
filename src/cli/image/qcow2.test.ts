import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { noise } from '#storage/testing.ts';
import { ring0Image } from './testing.ts';

const KIB = 1024;
const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-image-qcow2-'));
after(() => rmSync(dir, { recursive: true }));
const at = (name: string): string => path.join(dir, name);
const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;

const base = new Uint8Array(4096 * KIB);
base.set(noise(300 * KIB, 1), 64 * KIB);
base.fill(7, 3000 * KIB, 3100 * KIB);
const changed = base.slice();
changed.set(noise(90 * KIB, 2), 200 * KIB);
changed.fill(0, 3000 * KIB, 3064 * KIB);

/** Runs a command that must succeed. */
async function ring0(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await ring0Image(...args);
  assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** What a guest sees is `expected`, and the tables are sound: by us and by qemu-img. */
async function assertDisk(name: string, expected: Uint8Array): Promise<void> {
  await ring0('convert', '-O', 'raw', at(name), at('seen.raw'));
  assert.ok(Buffer.from(expected).equals(readFileSync(at('seen.raw'))), name);
  await ring0('check', at(name));
  if (!hasQemu) return;
  for (const args of [
    ['compare', '-f', 'raw', 'seen.raw', name],
    ['check', name],
  ]) {
    const { status, stdout, stderr } = spawnSync('qemu-img', args, { cwd: dir, encoding: 'utf8' });
    assert.equal(status, 0, `${args.join(' ')}: ${stdout}${stderr}`);
  }
}

/** `base.qcow2`, and `top.qcow2` on it with what changed. */
async function makeChain(): Promise<void> {
  writeFileSync(at('base.raw'), base);
  writeFileSync(at('changed.raw'), changed);
  await ring0('convert', '-f', 'raw', '-O', 'qcow2', at('base.raw'), at('base.qcow2'));
  await ring0('convert', '-f', 'raw', '-O', 'qcow2', at('changed.raw'), at('top.qcow2'));
  // What does not differ is given back to the base.
  await ring0('create', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', at('empty.qcow2'));
  copyFileSync(at('empty.qcow2'), at('over.qcow2'));
  await ring0('convert', '-n', '-O', 'qcow2', at('top.qcow2'), at('over.qcow2'));
  copyFileSync(at('over.qcow2'), at('top.qcow2'));
}

await makeChain();
copyFileSync(at('top.qcow2'), at('told.qcow2'));
await ring0('snapshot', '-c', 'of-ours', at('told.qcow2'));
await ring0('convert', '-c', '-O', 'qcow2', at('changed.raw'), at('packed.qcow2'));
// A reference that nothing counts, and counts of clusters that nothing refers to.
const broken = readFileSync(at('base.qcow2'));
const table = Number(broken.readBigUInt64BE(48));
const block = Number(broken.readBigUInt64BE(table));
const clusters = broken.length / (64 * KIB);
writeFileSync(at('leaking.qcow2'), Buffer.concat([broken, Buffer.alloc(128 * KIB)]));
const leaking = readFileSync(at('leaking.qcow2'));
leaking.writeUInt16BE(1, block + clusters * 2);
leaking.writeUInt16BE(1, block + clusters * 2 + 2);
writeFileSync(at('leaking.qcow2'), leaking);

describe('ring0 image on qcow2', () => {
  it('shows names of snapshots as text, which no terminal obeys', async () => {
    await ring0('create', '-q', '-f', 'qcow2', at('named.qcow2'), '1M');
    await ring0('snapshot', '-c', '\u001b[31mred', at('named.qcow2'));
    for (const args of [['info'], ['info', '--output', 'json'], ['snapshot', '-l']]) {
      const shown = await ring0(...args, at('named.qcow2'));
      assert.match(shown, /\\u001b\[31mred/);
      assert.ok(!shown.includes('\u001b'));
    }
  });

  it('creates an image on another one, of its size', async () => {
    const info = JSON.parse(await ring0('info', '--output', 'json', at('empty.qcow2')));
    assert.equal(info['virtual-size'], base.length);
    assert.equal(info['backing-filename'], 'base.qcow2');
    await assertDisk('empty.qcow2', base);
    await assertDisk('top.qcow2', changed);
  });

  for (const type of ['zlib', 'zstd'])
    it(`compresses with ${type}`, async () => {
      writeFileSync(at('text.raw'), Buffer.alloc(2048 * KIB, 'compresses well '));
      const option = `compression_type=${type}`;
      await ring0('convert', '-c', '-O', 'qcow2', '-o', option, at('text.raw'), at('c.qcow2'));
      assert.ok(statSync(at('c.qcow2')).size < 600 * KIB);
      await assertDisk('c.qcow2', readFileSync(at('text.raw')));
    });

  it('copies only what lies above the backing file', async () => {
    const args = ['-O', 'qcow2', '-B', 'base.qcow2', '-F', 'qcow2'];
    await ring0('convert', ...args, at('top.qcow2'), at('b.qcow2'));
    await assertDisk('b.qcow2', changed);
    const { status, stderr } = await ring0Image('convert', ...args, at('base.raw'), at('b2.qcow2'));
    assert.equal(status, 1);
    assert.match(stderr, /is not among the backing files/);
  });

  it('keeps snapshots, goes back to them, reads them, forgets them', async () => {
    copyFileSync(at('base.qcow2'), at('s.qcow2'));
    await ring0('snapshot', '-c', 'before', at('s.qcow2'));
    await ring0('convert', '-n', '-O', 'qcow2', at('changed.raw'), at('s.qcow2'));
    assert.match(await ring0('snapshot', '-l', at('s.qcow2')), /\n1 {9}before .* 0 B /);
    await assertDisk('s.qcow2', changed);
    await ring0('convert', '-l', 'before', at('s.qcow2'), at('before.raw'));
    assert.ok(Buffer.from(base).equals(readFileSync(at('before.raw'))));
    await ring0('snapshot', '-a', '1', at('s.qcow2'));
    await assertDisk('s.qcow2', base);
    await ring0('snapshot', '-d', 'before', at('s.qcow2'));
    assert.equal(await ring0('snapshot', '-l', at('s.qcow2')), '');
    const { status, stderr } = await ring0Image('convert', '-l', 'gone', at('s.qcow2'), at('x'));
    assert.equal(status, 1);
    assert.match(stderr, /there is no snapshot 'gone'/);
  });

  it('commits to the backing file, and is empty then', async () => {
    copyFileSync(at('base.qcow2'), at('low.qcow2'));
    copyFileSync(at('top.qcow2'), at('high.qcow2'));
    await ring0('rebase', '-u', '-b', 'low.qcow2', '-F', 'qcow2', at('high.qcow2'));
    await ring0('resize', at('high.qcow2'), '+64k');
    const longer = Buffer.concat([changed, Buffer.alloc(64 * KIB)]);
    assert.equal(await ring0('commit', at('high.qcow2')), 'Image committed.\n');
    await assertDisk('low.qcow2', longer);
    await assertDisk('high.qcow2', longer);
    assert.doesNotMatch(await ring0('map', at('high.qcow2')), /high\.qcow2/);
  });

  it('commits through several images', async () => {
    for (const name of ['low', 'middle', 'high'])
      copyFileSync(at('base.qcow2'), at(`${name}.qcow2`));
    for (const [name, below] of [
      ['middle', 'low'],
      ['high', 'middle'],
    ] as const)
      await ring0(
        'create',
        '-f',
        'qcow2',
        '-b',
        `${below}.qcow2`,
        '-F',
        'qcow2',
        at(`${name}.qcow2`),
      );
    await ring0('convert', '-n', '-O', 'qcow2', at('changed.raw'), at('middle.qcow2'));
    await ring0('commit', '-b', at('low.qcow2'), at('high.qcow2'));
    await assertDisk('low.qcow2', changed);
  });

  it('changes the backing file, and not the disk', async () => {
    copyFileSync(at('top.qcow2'), at('r.qcow2'));
    await ring0('convert', '-O', 'qcow2', at('changed.raw'), at('other.qcow2'));
    await ring0('rebase', '-b', 'other.qcow2', '-F', 'qcow2', at('r.qcow2'));
    await assertDisk('r.qcow2', changed);
    await ring0('rebase', '-b', '', at('r.qcow2'));
    assert.doesNotMatch(await ring0('info', at('r.qcow2')), /backing/);
    await assertDisk('r.qcow2', changed);
  });

  it('grows and shrinks', async () => {
    copyFileSync(at('base.qcow2'), at('g.qcow2'));
    await ring0('resize', at('g.qcow2'), '+1M');
    await assertDisk('g.qcow2', Buffer.concat([base, Buffer.alloc(1024 * KIB)]));
    await ring0('resize', '--shrink', at('g.qcow2'), '1M');
    await assertDisk('g.qcow2', base.subarray(0, 1024 * KIB));
  });

  it('serves requests of a bench, and wraps at the end', async () => {
    copyFileSync(at('base.qcow2'), at('w.qcow2'));
    const flags = ['-w', '-c', '300', '-d', '8', '-S', '132k', '--pattern', '1'];
    const said = await ring0('bench', '-f', 'qcow2', ...flags, at('w.qcow2'));
    assert.match(said, /^Sending 300 write requests, 4096 bytes each, 8 in parallel/);
    const expected = base.slice();
    for (let index = 0, offset = 0; index < 300; index++, offset += 132 * KIB) {
      offset %= expected.length;
      expected.fill(1, offset, offset + 4096);
    }
    await assertDisk('w.qcow2', expected);
  });
});

describe('ring0 image on qcow2 beside qemu-img', { skip: !hasQemu && 'no qemu-img' }, () => {
  const commands = [
    ['info', 'told.qcow2'],
    ['info', '--output=json', 'told.qcow2'],
    ['snapshot', '-l', 'told.qcow2'],
    ['check', 'told.qcow2'],
    ['check', '--output=json', 'packed.qcow2'],
    ['check', 'leaking.qcow2'],
    ['check', '--output=json', 'leaking.qcow2'],
    ['map', '--output=json', 'told.qcow2'],
    ['map', '--output=json', 'packed.qcow2'],
    ['measure', '-O', 'qcow2', 'changed.raw'],
    ['measure', '-O', 'qcow2', '--output=json', '-o', 'cluster_size=2M', '--size', '3T'],
    ['compare', '-s', 'told.qcow2', 'changed.raw'],
  ];
  for (const command of commands)
    it(`says the same: ${command.join(' ')}`, async () => {
      const cwd = process.cwd();
      process.chdir(dir);
      try {
        const theirs = spawnSync('qemu-img', command, { encoding: 'utf8' });
        const ours = await ring0Image(...command);
        assert.equal(ours.stdout, theirs.stdout);
        assert.equal(ours.status, theirs.status);
      } finally {
        process.chdir(cwd);
      }
    });
});
