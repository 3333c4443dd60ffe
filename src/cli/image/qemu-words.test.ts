// What scripts that were written for qemu-img read and rely on: the same words give the same output and status.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { ring0Image } from './testing.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-words-'));
after(() => rmSync(dir, { recursive: true }));
const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;

/** Output may differ where it is for people: in what is refused, and why. */
const SAME: readonly string[] = [
  'create -f qcow2 new 1G',
  'create -f qcow2 -b disk.qcow2 -F qcow2 new',
  'create -f qcow2 -o preallocation=metadata,extended_l2=on,cluster_size=128k new 1M',
  'create -f qcow2 -o encryption=off,compat=0.10 new 1000000',
  'create -f qcow2 -o data_file=data,data_file_raw=on,lazy_refcounts=on new 1M',
  'create -f raw -o preallocation=falloc new 1M',
  'create -f vdi -o static=on new 1M',
  'create -f vdi new 1M',
  'create -f vpc -o subformat=fixed,force_size=on new 1M',
  'create -f vhdx -o block_size=2M,log_size=2M new 10M',
  'create -f vhdx new 10M',
  'create -f vmdk -o toolsversion=3,hwversion=10,subformat=streamOptimized new 1M',
  'create -f vmdk new 1M',
  'create -f parallels new 1M',
  'create -f qed -b disk.qcow2 -F qcow2 new',
  'check disk.qcow2',
  'check tables.qcow2',
  'check --output=json disk.qcow2',
  'amend -p -o lazy_refcounts=on disk.qcow2',
  'measure -O qcow2 -o preallocation=full disk.qcow2',
  'measure -O qcow2 -o preallocation=metadata disk.qcow2',
  'measure -O qcow2 -o backing_file=x,backing_fmt=raw disk.qcow2',
  'convert -r 0 -O raw disk.qcow2 new',
  'convert -C -O raw disk.qcow2 new',
  'dd if=disk.qcow2 of=new bs=1M skip=63',
  'dd if=disk.qcow2 of=new bs=1M skip=65',
];

const REFUSED: readonly string[] = [
  'create -f qcow2 -o encryption=maybe new 1M',
  'convert -C -S 0 -O raw disk.qcow2 new',
  'convert -C -c -O qcow2 disk.qcow2 new',
  'convert -C --salvage -O raw disk.qcow2 new',
  'check -T bad disk.qcow2',
  'compare -T bad disk.qcow2 disk.qcow2',
  'resize --shrink --preallocation=full disk.qcow2 -1M',
];

describe('ring0 image and qemu-img', { skip: !hasQemu && 'there is no qemu-img' }, () => {
  const template = path.join(dir, 'template');
  const here = path.join(dir, 'here');
  const cwd = process.cwd();
  beforeEach(() => {
    if (!statSync(template, { throwIfNoEntry: false })) makeTemplate();
    fresh();
  });
  afterEach(() => process.chdir(cwd));

  function fresh(): void {
    rmSync(here, { recursive: true, force: true });
    cpSync(template, here, { recursive: true });
    process.chdir(here);
  }

  /** 32 of 1024 clusters are allocated: 3.125 %, which C rounds down. */
  function makeTemplate(): void {
    mkdirSync(template);
    qemu(template, 'qemu-img', 'create', '-q', '-f', 'qcow2', 'disk.qcow2', '64M');
    qemu(template, 'qemu-io', '-f', 'qcow2', '-c', 'write -q 1M 2M', 'disk.qcow2');
    // Several L2 tables, with clusters that do not follow one another.
    const writes = ['2M 2M', '0 1M', '15M 3M', '31M 2M'].flatMap((range) => [
      '-c',
      `write -q ${range}`,
    ]);
    qemu(
      template,
      'qemu-img',
      'create',
      '-q',
      '-f',
      'qcow2',
      '-o',
      'cluster_size=4k',
      'tables.qcow2',
      '40M',
    );
    qemu(template, 'qemu-io', '-f', 'qcow2', ...writes, 'tables.qcow2');
  }

  for (const words of SAME)
    it(`print the same: ${words}`, async () => {
      const expected = qemu(here, 'qemu-img', ...words.split(' '));
      fresh();
      const { status, stdout, stderr } = await ring0Image(...words.split(' '));
      assert.equal(stdout, expected.stdout);
      assert.equal(status, expected.status);
      assert.equal(stderr === '', expected.stderr === '', stderr);
    });

  for (const words of REFUSED)
    it(`refuse: ${words}`, async () => {
      const expected = qemu(here, 'qemu-img', ...words.split(' '));
      const { status, stderr } = await ring0Image(...words.split(' '));
      assert.notEqual(status, 0);
      assert.equal(status, expected.status);
      assert.notEqual(stderr, '');
    });

  it('reserve the new room of a raw disk, and none of its holes', async () => {
    spawnSync('truncate', ['--size', '64M', 'raw']);
    const { status } = await ring0Image(
      'resize',
      '-f',
      'raw',
      '--preallocation=falloc',
      'raw',
      '+2M',
    );
    assert.equal(status, 0);
    assert.equal(statSync('raw').blocks * 512, 2 << 20);
  });

  it('say why there are no secrets', async () => {
    const { status, stderr } = await ring0Image('info', '--object', 'secret,id=s', 'disk.qcow2');
    assert.equal(status, 1);
    assert.match(stderr, /--object: images are not encrypted here, so they need no secret/);
  });
});

function qemu(
  cwd: string,
  program: string,
  ...args: readonly string[]
): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(program, args, { cwd, encoding: 'utf8' });
}
