// What scripts that were written for qemu-img read and rely on: the same words give the same output and status.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { noise } from '#storage/testing.ts';
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
  'create -f vdi -o nocow=on new 1M',
  'create -f qcow2 -o nocow=on,lazy_refcounts=on new 1M',
  'create -f raw -o nocow=off new 1M',
  'convert -O vmdk -o nocow=on,subformat=monolithicFlat disk.qcow2 new',
  'measure -O qcow2 -o nocow=on disk.qcow2',
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
  'map --output=json empty',
  'map -f raw empty',
  'map --output=json -f qcow2 empty.qcow2',
  'map --output=json -s 64M disk.qcow2',
  'map --output=json metadata.qcow2',
  'map metadata.qcow2',
  'map --output=json -s 1M -l 8M metadata.qcow2',
  'map --output=json -f raw falloc.raw',
  'measure -O qcow2 metadata.qcow2',
  'compare metadata.qcow2 disk.qcow2',
  'compare -s metadata.qcow2 disk.qcow2',
  'compare -s -f raw -F qcow2 full.raw metadata.qcow2',
  'convert -O qcow2 metadata.qcow2 new',
  'convert -S 0 -O raw metadata.qcow2 new',
  'snapshot -l snapshots.qcow2',
  'create -f qcow2 -b json:{"driver":"qcow2","file.filename":"disk.qcow2"} -F qcow2 new',
  'info json:{"driver":"qcow2","file":{"driver":"file","filename":"disk.qcow2"}}',
  'info -f raw --output=json json:{"driver":"qcow2","file":{"driver":"file","filename":"empty"}}',
  'info --output=json --backing-chain json:{"file.filename":"json.qcow2"}',
  'map --output=json json:{"driver":"qcow2","file.filename":"json.qcow2"}',
  'map json:{"driver":"qcow2","file.filename":"json.qcow2","backing":null}',
  'check json:{"file":{"filename":"tables.qcow2"}}',
  'compare json:{"file.filename":"json.qcow2"} json:{"driver":"qcow2","file.filename":"disk.qcow2"}',
  'commit json:{"file.filename":"json.qcow2"}',
  'rebase -b json:{"driver":"qcow2","file.filename":"disk.qcow2"} -F qcow2 json.qcow2',
  'resize json:{"driver":"qcow2","file.filename":"disk.qcow2"} +1M',
  'measure -O raw json:{"driver":"qcow2","file.filename":"disk.qcow2"}',
  'snapshot -l json:{"driver":"qcow2","file.filename":"snapshots.qcow2"}',
  'amend -o lazy_refcounts=on json:{"driver":"qcow2","file.filename":"disk.qcow2"}',
  'bitmap --add json:{"driver":"qcow2","file.filename":"disk.qcow2"} b',
  'dd if=json:{"driver":"qcow2","file.filename":"disk.qcow2"} of=new bs=1M',
  'convert -O qcow2 json:{"driver":"qcow2","file.filename":"disk.qcow2"} new',
  'convert -O qcow2 json:{"driver":"raw","offset":1049088,"size":1048576,"file.filename":"part.raw"} new',
  'convert -O raw json:{"driver":"raw","offset":1049089,"file.filename":"part.raw"} new',
  'dd if=json:{"driver":"raw","size":"2M","file.filename":"part.raw"} of=new bs=1M',
  'map --output=json json:{"driver":"raw","offset":1048576,"size":1048576,"file.filename":"part.raw"}',
  'map json:{"driver":"raw","offset":"1M","file":{"driver":"file","filename":"part.raw"}}',
  'measure -O raw --image-opts driver=raw,offset=3M,file.filename=part.raw',
  'convert --image-opts -O raw driver=raw,offset=1M,size=512k,file.filename=part.raw new',
  'convert -O raw above-part.qcow2 new',
  'convert -n -O raw json:{"driver":"qcow2","file.filename":"disk.qcow2"} full.raw',
  'convert -B disk.qcow2 -F qcow2 -O qcow2 json.qcow2 new',
  'convert -l 1 -O raw snapshots.qcow2 new',
  'convert -l one -O raw snapshots.qcow2 new',
  'convert -l snapshot.id=2 -O raw snapshots.qcow2 new',
  'convert -l snapshot.name=1 -O raw snapshots.qcow2 new',
  'convert -l snapshot.id=2,snapshot.name=1 -O raw snapshots.qcow2 new',
  'info file:disk.qcow2',
  'info -f raw file:a:b',
  'info -f raw ./a:b',
  'info -f raw ./nbd:c',
  'info --output=json -f raw folder/nbd:d',
  'map -f raw file:a:b',
  'map --output=json -f raw ./nbd:c',
  'check file:tables.qcow2',
  'compare file:disk.qcow2 disk.qcow2',
  'create -f qcow2 file:new 1M',
  'create -f qcow2 -b file:disk.qcow2 -F qcow2 file:new',
  'convert -O qcow2 file:disk.qcow2 file:new',
  'convert -n -O raw -f raw file:a:b full.raw',
  'dd if=file:disk.qcow2 of=file:new bs=1M',
  'commit file:json.qcow2',
  'measure -O raw -f raw file:a:b',
  'resize -f raw file:full.raw +1M',
  'snapshot -l file:snapshots.qcow2',
];

const REFUSED: readonly string[] = [
  'create -f qcow2 -o encryption=maybe new 1M',
  'convert -C -S 0 -O raw disk.qcow2 new',
  'convert -C -c -O qcow2 disk.qcow2 new',
  'convert -C --salvage -O raw disk.qcow2 new',
  'check -T bad disk.qcow2',
  'compare -T bad disk.qcow2 disk.qcow2',
  'resize --shrink --preallocation=full disk.qcow2 -1M',
  'convert -l nope -O raw snapshots.qcow2 new',
  'convert -l snapshot.id=one -O raw snapshots.qcow2 new',
  'convert -l snapshot.id=1,snapshot.name=1 -O raw snapshots.qcow2 new',
  'convert -l snapshot.foo=1 -O raw snapshots.qcow2 new',
  'convert -l 1 -f raw -O raw empty new',
  'create -f raw json:{"driver":"file","filename":"new"} 1M',
  'convert -O raw disk.qcow2 json:{"driver":"file","filename":"new"}',
  'info json:{"driver":"floppy","file.filename":"disk.qcow2"}',
  'info json:{"driver":"qcow2","file":"disk.qcow2"}',
  'info json:{"filename":"disk.qcow2"}',
  'info json:{"driver":"raw","offset":3145729,"file.filename":"part.raw"}',
  'info json:{"driver":"raw","offset":512,"size":3145728,"file.filename":"part.raw"}',
  'info json:{"driver":"raw","size":513,"file.filename":"part.raw"}',
  'info json:{"driver":"raw","offset":-512,"file.filename":"part.raw"}',
  'info json:{"driver":"raw","offset":1.5,"file.filename":"part.raw"}',
  'info json:{"driver":"file","offset":512,"filename":"part.raw"}',
  'info json:[]',
  'info json:{',
  'info nbd:localhost:1',
  'info nbd://localhost:1/x',
  'info nbd+unix:///x?socket=none',
  'info ssh://host.invalid/x',
  'info gluster://host.invalid/v/x',
  'info rbd:pool/x',
  'check nbd:localhost:1',
  'map file:none',
  'create -f raw nbd:localhost:1 1M',
  'convert -O raw disk.qcow2 ssh://host.invalid/x',
  'dd if=disk.qcow2 of=nbd:localhost:1',
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
    // Which keeps holes.
    assert.equal(spawnSync('cp', ['-a', '--sparse=always', template, here]).status, 0);
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
    makeNamed();
  }

  /** Images with other names in them: of a backing file, of snapshots, one of which is called as the other one is counted. */
  function makeNamed(): void {
    const make = (...words: readonly string[]): void => {
      const { status, stderr } = qemu(template, 'qemu-img', ...words);
      assert.equal(status, 0, stderr);
    };
    make('create', '-q', 'empty', '0');
    make('create', '-q', 'full.raw', '64M');
    make('create', '-q', '-f', 'qcow2', 'empty.qcow2', '0');
    make('create', '-q', '-o', 'preallocation=falloc', 'falloc.raw', '8M');
    make('create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', 'metadata.qcow2', '64M');
    qemu(template, 'qemu-io', '-c', 'write -q -P 3 65k 100k', 'metadata.qcow2');
    writeFileSync(path.join(template, 'part.raw'), noise(3 << 20, 1));
    mkdirSync(path.join(template, 'folder'));
    for (const name of ['a:b', 'nbd:c', 'folder/nbd:d'])
      writeFileSync(path.join(template, name), noise(65536, 2));
    const part = 'json:{"driver":"raw","offset":512,"size":1048576,"file.filename":"part.raw"}';
    make('create', '-q', '-f', 'qcow2', '-b', part, '-F', 'raw', 'above-part.qcow2');
    const backing = 'json:{"driver":"qcow2","file":{"driver":"file","filename":"disk.qcow2"}}';
    make('create', '-q', '-f', 'qcow2', '-b', backing, '-F', 'qcow2', 'json.qcow2');
    qemu(template, 'qemu-io', '-c', 'write -q -P 9 3M 1M', 'json.qcow2');
    make('create', '-q', '-f', 'qcow2', 'snapshots.qcow2', '2M');
    make('snapshot', '-c', 'one', 'snapshots.qcow2');
    qemu(template, 'qemu-io', '-c', 'write -q -P 7 0 1M', 'snapshots.qcow2');
    make('snapshot', '-c', '1', 'snapshots.qcow2');
    qemu(template, 'qemu-io', '-c', 'write -q -P 8 0 1M', 'snapshots.qcow2');
  }

  for (const words of SAME)
    it(`print the same: ${words}`, async () => {
      const expected = qemu(here, 'qemu-img', ...words.split(' '));
      const made = diskOf(words);
      fresh();
      const { status, stdout, stderr } = await ring0Image(...words.split(' '));
      assert.equal(stdout, expected.stdout);
      assert.equal(status, expected.status);
      assert.equal(stderr === '', expected.stderr === '', stderr);
      assert.equal(diskOf(words), made, 'the disk that was made holds other bytes');
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

  for (const [extended, mode] of [
    ['on', 'metadata'],
    ['on', 'falloc'],
    ['on', 'full'],
    ['off', 'falloc'],
    ['off', 'full'],
  ] as const)
    it(`reserve the same: preallocation=${mode}, extended_l2=${extended}`, async () => {
      const options = `preallocation=${mode},extended_l2=${extended}`;
      const words = ['create', '-q', '-f', 'qcow2', '-o', options];
      assert.equal(qemu(here, 'qemu-img', ...words, 'theirs', '5000000').status, 0);
      assert.equal((await ring0Image(...words, 'ours', '5000000')).status, 0);
      for (const file of ['ours', 'theirs']) {
        assert.equal(qemu(here, 'qemu-img', 'check', '-q', file).status, 0);
        const map = qemu(here, 'qemu-img', 'map', '--output=json', file).stdout;
        assert.equal(map, qemu(here, 'qemu-img', 'map', '--output=json', 'theirs').stdout);
        assert.equal((await ring0Image('map', '--output=json', file)).stdout, map);
      }
      // What they take of the host but for the tables of a few clusters.
      const [ours, theirs] = ['ours', 'theirs'].map((file) => statSync(file).blocks / 2048);
      assert.ok(Math.abs((ours ?? 0) - (theirs ?? 0)) < 0.5, `${ours} MiB, ${theirs} MiB`);
      const grow = ['resize', '-q', '-f', 'qcow2', `--preallocation=${mode}`, 'theirs', '+3M'];
      assert.equal((await ring0Image(...grow)).status, 0);
      assert.equal(qemu(here, 'qemu-img', 'check', '-q', 'theirs').status, 0);
      const written = qemu(here, 'qemu-io', '-c', 'write -q -P 5 6M 100k', 'theirs');
      assert.equal(written.status, 0, written.stderr);
      const read = ['read -q -P 0 4M 2M', 'read -q -P 5 6M 100k', 'read -q -P 0 6392k 1M'];
      const { stdout } = qemu(here, 'qemu-io', ...read.flatMap((one) => ['-c', one]), 'theirs');
      assert.equal(stdout, '');
    });

  for (const words of [
    'commit above-part.qcow2',
    'commit -b part.raw above-part.qcow2',
    'convert -B part.raw -F raw -O qcow2 above-part.qcow2 new',
    'convert -n -O raw json:{"driver":"raw","size":512,"file.filename":"part.raw"} part.raw',
    'resize json:{"driver":"raw","size":512,"file.filename":"part.raw"} 1M',
  ])
    it(`takes no part of a file for all of it: ${words}`, async () => {
      const bytes = readFileSync('part.raw');
      const { status, stderr } = await ring0Image(...words.split(' '));
      assert.equal(status, 1);
      assert.match(stderr, /part\.raw.*\n$/);
      assert.deepEqual(readFileSync('part.raw'), bytes);
    });

  for (const [words, remedy] of [
    ['info nbd:host:10809', /nbd:host:10809: the protocol 'nbd' is not supported; download/],
    ['check nbd+unix:///disk?socket=s', /the protocol 'nbd\+unix' is not supported; download/],
    ['convert -O raw ssh://host/disk new', /the protocol 'ssh' is not supported; download/],
    ['create -f raw rbd:pool/disk 1M', /the protocol 'rbd' is not supported; make a file/],
    ['convert -O raw disk.qcow2 nbd:host:10809', /'nbd' is not supported; make a file/],
    ['create -f qcow2 -b gluster://host/v/x -F raw new 1M', /'gluster' is not supported/],
  ] as const)
    it(`say that there is no such protocol: ${words}`, async () => {
      const before = readdirSync('.');
      const { status, stderr } = await ring0Image(...words.split(' '));
      assert.equal(status, 1);
      assert.match(stderr, remedy);
      assert.deepEqual(readdirSync('.'), before);
    });

  it('open a file that is there whatever its name looks like', async () => {
    writeFileSync('ssh:disk', noise(512, 1));
    assert.match((await ring0Image('info', '-f', 'raw', 'ssh:disk')).stdout, /image: ssh:disk/);
    assert.match(
      (await ring0Image('info', '-f', 'raw', 'no:disk')).stderr,
      /no:disk: no such file/,
    );
  });

  it('say why there are no secrets', async () => {
    const { status, stderr } = await ring0Image('info', '--object', 'secret,id=s', 'disk.qcow2');
    assert.equal(status, 1);
    assert.match(stderr, /--object: images are not encrypted here, so they need no secret/);
  });
});

/** What the disk holds that a copy has made. */
function diskOf(words: string): string | undefined {
  const made = /^(?:convert|dd) .*?(\S+)$/.exec(words)?.[1] === 'full.raw' ? 'full.raw' : 'new';
  if (!/^(convert|dd) /.test(words)) return undefined;
  const { status, stderr } = qemu('.', 'qemu-img', 'convert', '-O', 'raw', made, 'bytes');
  assert.equal(status, 0, stderr);
  return createHash('sha256').update(readFileSync('bytes')).digest('hex');
}

function qemu(
  cwd: string,
  program: string,
  ...args: readonly string[]
): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(program, args, { cwd, encoding: 'utf8' });
}
