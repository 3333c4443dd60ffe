import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { noise } from '#storage/testing.ts';
import { ring0Image } from './testing.ts';

const KIB = 1024;
const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-image-'));
after(() => rmSync(dir, { recursive: true }));
const at = (name: string): string => path.join(dir, name);

/** Holes, noise, zeros that are written, and an end that is no whole chunk. */
const disk = new Uint8Array(5 * KIB * KIB + 3 * 512);
disk.set(noise(200 * KIB, 1), 128 * KIB);
disk.set(noise(70 * KIB, 2), 3 * KIB * KIB - 512);
disk.set(noise(512, 3), disk.length - 512);
writeFileSync(at('disk.raw'), disk);

const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;

/** Runs qemu-img where the images are. */
function qemu(...args: readonly string[]): { status: number | null; stdout: string } {
  const { status, stdout } = spawnSync('qemu-img', args, { cwd: dir, encoding: 'utf8' });
  return { status, stdout };
}

/** What this process has open, as proc(5) tells it. */
function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return [];
    }
  });
}

const isHalf = (file: string): boolean =>
  file.startsWith(at('#')) || file.startsWith(at('.kept.raw.')) || file.startsWith(at('.new.raw.'));

describe('ring0 image convert', () => {
  const cases = [
    { name: 'raw, sparse', flags: [], most: 400 * KIB },
    { name: 'raw, each byte written', flags: ['-S', '0'], most: 6000 * KIB },
    { name: 'one request at a time', flags: ['-m', '1'], most: 400 * KIB },
    { name: 'out of order', flags: ['-W', '-m', '16'], most: 400 * KIB },
  ];
  for (const { name, flags, most } of cases)
    it(`copies a disk: ${name}`, async () => {
      const made = await ring0Image('convert', ...flags, at('disk.raw'), at('copy.raw'));
      assert.deepEqual(made, { status: 0, stdout: '', stderr: '' });
      assert.ok(Buffer.from(disk).equals(readFileSync(at('copy.raw'))));
      const taken = statSync(at('copy.raw')).blocks * 512;
      assert.ok(taken <= most, `${taken} bytes taken`);
      if (flags.includes('0')) assert.ok(taken >= disk.length);
    });

  it('joins disks', async () => {
    const { status } = await ring0Image('convert', at('disk.raw'), at('disk.raw'), at('two.raw'));
    assert.equal(status, 0);
    assert.ok(Buffer.concat([disk, disk]).equals(readFileSync(at('two.raw'))));
  });

  it('writes into a file that is there, and zeros over what it held', async () => {
    writeFileSync(at('old.raw'), noise(disk.length + 1024, 9));
    const { status } = await ring0Image('convert', '-n', at('disk.raw'), at('old.raw'));
    assert.equal(status, 0);
    const now = readFileSync(at('old.raw'));
    assert.ok(Buffer.from(disk).equals(now.subarray(0, disk.length)));
    assert.deepEqual(
      now.subarray(disk.length),
      Buffer.from(noise(disk.length + 1024, 9).subarray(-1024)),
    );
  });

  it('shows progress as qemu-img does', async () => {
    const { stdout } = await ring0Image('convert', '-p', at('disk.raw'), at('copy.raw'));
    assert.match(
      stdout,
      /^ {4}\(0\.00\/100%\)\r( {4}\(\d+\.\d\d\/100%\)\r)* {4}\(100\.00\/100%\)\r\n$/,
    );
  });

  it('leaves what was there, and no half file, when it is interrupted', {
    timeout: 300_000,
  }, async () => {
    writeFileSync(at('kept.raw'), 'what was there');
    const before = readdirSync(dir);
    const running = ring0Image('convert', '-r', '10k', '-S', '0', at('disk.raw'), at('kept.raw'));
    const again = ring0Image('convert', '-r', '10k', '-S', '0', at('disk.raw'), at('new.raw'));
    // Each has begun when its half file is there, which has no name or a hidden one.
    while (new Set(openFiles().filter(isHalf)).size < 2) await setTimeout(1);
    process.emit('SIGINT', 'SIGINT');
    assert.equal((await running).status, 130);
    assert.equal((await again).status, 130);
    assert.equal(readFileSync(at('kept.raw'), 'utf8'), 'what was there');
    assert.deepEqual(readdirSync(dir), before);
  });

  it('leaves no half file when it fails', async () => {
    const before = readdirSync(dir);
    const { status, stderr } = await ring0Image('convert', '-c', at('disk.raw'), at('bad.raw'));
    assert.equal(status, 1);
    assert.match(stderr, /raw images cannot be written compressed; leave -c out/);
    assert.deepEqual(readdirSync(dir), before);
  });

  it('refuses to write onto what it reads', async () => {
    const { status, stderr } = await ring0Image('convert', at('disk.raw'), at('disk.raw'));
    assert.equal(status, 1);
    assert.match(stderr, /is what is read from/);
  });
});

describe('ring0 image', () => {
  it('creates, grows and shrinks a disk', async () => {
    const made = await ring0Image('create', at('new.raw'), '1.5M');
    assert.equal(made.stdout, `Formatting '${at('new.raw')}', fmt=raw size=1572864\n`);
    const steps = [
      { size: '+512k', expected: 2 * KIB * KIB },
      { size: '3M', expected: 3 * KIB * KIB },
      { size: '-1M', expected: 2 * KIB * KIB },
    ];
    for (const { size, expected } of steps) {
      const resized = await ring0Image('resize', '-f', 'raw', '--shrink', at('new.raw'), size);
      assert.equal(resized.stdout, 'Image resized.\n');
      assert.equal(statSync(at('new.raw')).size, expected);
    }
    const refused = await ring0Image('resize', '-f', 'raw', at('new.raw'), '1M');
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /would be lost; .*--shrink/);
    assert.equal(statSync(at('new.raw')).size, 2 * KIB * KIB);
  });

  it('warns when disks may outgrow their file system, together too', async () => {
    const { bavail, bsize } = statfsSync(dir);
    const size = String(Math.ceil(bavail * bsize * 1.5));
    const { stderr, status } = await ring0Image('create', at('huge.raw'), size);
    assert.equal(status, 0);
    assert.match(stderr, /huge\.raw: may grow by .*, and the file system has .* left/);
    const info = await ring0Image('info', at('huge.raw'), at('disk.raw'));
    assert.match(info.stderr, /huge\.raw, .*disk\.raw: may grow/);
    rmSync(at('huge.raw'));
  });

  it('copies blocks as dd', async () => {
    const words = [`if=${at('disk.raw')}`, `of=${at('part.raw')}`, 'bs=64k', 'skip=2', 'count=3'];
    assert.equal((await ring0Image('dd', ...words)).status, 0);
    const part = disk.subarray(128 * KIB, (128 + 192) * KIB);
    assert.ok(Buffer.from(part).equals(readFileSync(at('part.raw'))));
  });

  const changed = disk.slice();
  changed[130 * KIB] = (changed[130 * KIB] ?? 0) ^ 1;
  writeFileSync(at('changed.raw'), changed);
  writeFileSync(at('longer.raw'), Buffer.concat([disk, Buffer.alloc(4096)]));
  const comparisons = [
    {
      name: 'a disk and itself',
      files: ['disk.raw', 'disk.raw'],
      status: 0,
      said: 'Images are identical.\n',
    },
    {
      name: 'one changed byte',
      files: ['disk.raw', 'changed.raw'],
      status: 1,
      said: `Content mismatch at offset ${130 * KIB}!\n`,
    },
    {
      name: 'zeros at the end',
      files: ['disk.raw', 'longer.raw'],
      status: 0,
      said: 'Warning: Image size mismatch!\nImages are identical.\n',
    },
    {
      name: 'zeros at the end, strictly',
      files: ['-s', 'longer.raw', 'disk.raw'],
      status: 1,
      said: 'Strict mode: Image size mismatch!\n',
    },
    { name: 'a file that is not there', files: ['disk.raw', 'none'], status: 2, said: '' },
  ];
  for (const { name, files, status, said } of comparisons)
    it(`compares ${name}`, async () => {
      const args = files.map((word) => (word.startsWith('-') ? word : at(word)));
      const outcome = await ring0Image('compare', ...args);
      assert.deepEqual([outcome.status, outcome.stdout], [status, said]);
      if (hasQemu) assert.deepEqual(qemu('compare', ...files), { status, stdout: said });
    });

  it('says what it cannot compare in one line of text', async () => {
    const { status, stderr } = await ring0Image('compare', 'no\ne', at('disk.raw'));
    assert.deepEqual([status, stderr], [2, 'ring0: no\\u000ae: no such file\n']);
  });

  const mistakes = [
    { argv: ['info', 'none'], message: /none: no such file/ },
    { argv: ['info', ''], message: /'': no such file/ },
    { argv: ['info', 'no\ne\u001b[31m'], message: /no\\u000ae\\u001b\[31m: no such file\n$/ },
    { argv: ['info', '/dev/null/x'], message: /null\/x: no such file/ },
    { argv: ['create', 'none/x', '1M'], message: /none\/x: there is no such folder/ },
    { argv: ['create', 'none/', '1M'], message: /none\/: names a folder/ },
    { argv: ['info', 'x'.repeat(300)], message: /x: open: name too long\n$/ },
    { argv: ['create', '-f', 'foo', 'x', '1M'], message: /no image format 'foo'; there are/ },
    { argv: ['create', '-o', 'foo=1', 'x', '1M'], message: /raw images have no option 'foo'/ },
    { argv: ['create', 'x', '1Q'], message: /^ring0: '1Q' is not a size/ },
    { argv: ['dd', 'if=x', 'of=y', 'bs=1Q'], message: /^ring0: '1Q' is not a size/ },
    { argv: ['measure', '--size', '1Q'], message: /^ring0: --size: '1Q' is not a size/ },
    { argv: ['create', 'x'], message: /the size is missing/ },
    { argv: ['create', '-b', 'y', 'x', '1M'], message: /raw images have no backing file/ },
    { argv: ['convert', 'x'], message: /the file to write after them/ },
    { argv: ['convert', '-m', '17', 'x', 'y'], message: /--coroutines: '17' does not fit/ },
    { argv: ['convert', '-t', 'fast', 'x', 'y'], message: /--cache: 'fast' is no cache mode/ },
    {
      argv: ['convert', '-n', '-t', 'fast', 'x', 'y'],
      message: /--cache: 'fast' is no cache mode/,
    },
    {
      argv: ['convert', '-l', 'one', at('disk.raw'), 'y'],
      message: /raw images hold no snapshots/,
    },
    { argv: ['map', '-s', '1', at('disk.raw')], message: /--start-offset: '1' is no multiple/ },
    { argv: ['bench', '-c', '0', 'x'], message: /--count: '0' does not fit/ },
    { argv: ['dd', 'if=x', 'of=y', 'bs=0'], message: /^ring0: bs: give from 1/ },
    { argv: ['measure'], message: /either a file or --size/ },
    { argv: ['dd', 'if=x'], message: /both if=FILE and of=FILE/ },
    { argv: ['dd', 'iff=x'], message: /'iff=x' is not understood/ },
    { argv: ['info', '--output', 'xml', 'x'], message: /give human or json/ },
    { argv: ['rebase', 'x'], message: /required option '-b/ },
    { argv: [], message: /a command is missing after `image`/ },
  ];
  for (const { argv, message } of mistakes)
    it(`refuses \`image ${argv.join(' ')}\``, async () => {
      const { status, stderr, stdout } = await ring0Image(...argv);
      assert.equal(status, 1);
      assert.match(stderr, message);
      assert.equal(stderr.split('\n').length, 2, 'one line');
      assert.equal(stdout, '');
    });
});

it('makes files with names as long as there are', async () => {
  for (const name of ['x'.repeat(255), 'é'.repeat(127)]) {
    const { status, stderr } = await ring0Image('create', '-q', '-f', 'qcow2', at(name), '1M');
    assert.equal(stderr, '');
    assert.equal(status, 0);
  }
});

describe('ring0 image beside qemu-img', { skip: !hasQemu && 'no qemu-img' }, () => {
  if (hasQemu) {
    qemu('create', '-f', 'qcow2', 'base.qcow2', '4M');
    spawnSync('qemu-io', ['-c', 'write -P 5 64k 128k', at('base.qcow2')]);
    qemu('create', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2', 'top.qcow2', '5M');
    spawnSync('qemu-io', ['-c', 'write -P 7 1M 64k', '-c', 'write -z 2M 64k', at('top.qcow2')]);
    qemu('snapshot', '-c', 'one', 'top.qcow2');
    qemu('create', '-f', 'vdi', 'new.vdi', '10M');
    qemu('create', '-f', 'qcow2', '-o', 'compat=0.10', 'old.qcow2', '5G');
    qemu('convert', '-O', 'raw', 'top.qcow2', 'top.raw');
  }
  const commands = [
    ['info', 'base.qcow2'],
    ['info', '--output=json', 'base.qcow2'],
    ['info', 'top.qcow2'],
    ['info', '--output=json', 'top.qcow2'],
    ['info', '--backing-chain', 'top.qcow2'],
    ['info', '--output=json', '--backing-chain', 'top.qcow2'],
    ['info', 'old.qcow2'],
    ['info', 'top.raw'],
    ['info', '--output=json', 'new.vdi'],
    ['map', 'top.qcow2'],
    ['map', '--output=json', 'top.qcow2'],
    ['map', '--output=json', '-s', '1M', '-l', '100k', 'top.qcow2'],
    ['compare', 'top.qcow2', 'base.qcow2'],
    ['compare', 'top.qcow2', 'top.raw'],
    ['snapshot', '-l', 'top.qcow2'],
    ['measure', '-O', 'raw', 'top.qcow2'],
    ['measure', '-O', 'raw', '--size', '1G', '--output=json'],
    ['check', 'top.raw'],
  ];
  // Snapshots are told to the microsecond, which we do not keep.
  const comparable = (text: string): string => text.replace(/"date-nsec": \d+/g, '"date-nsec": 0');
  for (const command of commands)
    it(`says the same: ${command.join(' ')}`, async () => {
      const cwd = process.cwd();
      process.chdir(dir);
      try {
        const ours = await ring0Image(...command);
        const theirs = qemu(...command);
        assert.equal(comparable(ours.stdout), comparable(theirs.stdout));
        assert.equal(ours.status, theirs.status);
      } finally {
        process.chdir(cwd);
      }
    });

  it('reads a chain of qcow2 images as qemu-img does', async () => {
    assert.equal((await ring0Image('convert', at('top.qcow2'), at('chain.raw'))).status, 0);
    assert.equal(qemu('compare', '-f', 'raw', 'chain.raw', 'top.qcow2').status, 0);
  });
});
