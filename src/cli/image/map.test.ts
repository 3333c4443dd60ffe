// Where the parts of a disk lie: beside qemu-img, for every kind of image and what may have happened to one.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'node:test';
import { ring0Image } from './testing.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-map-'));
after(() => rmSync(dir, { recursive: true }));
const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;

const MIB = 1 << 20;
const SIZE_BYTES = 16 * MIB;

const KINDS: readonly string[] = [
  '-f raw',
  '-f qcow2',
  '-f qcow2 -o compat=0.10',
  '-f qcow2 -o extended_l2=on',
  '-f qcow2 -o cluster_size=4k',
  '-f qcow2 -o data_file=disk.data',
  '-f qcow2 -o data_file=disk.data,data_file_raw=on',
  '-f qcow2 -o preallocation=metadata',
  '-f vdi',
  '-f vdi -o static=on',
  '-f vpc',
  '-f vpc -o subformat=fixed,force_size=on',
  '-f vmdk',
  '-f vmdk -o zeroed_grain=on',
  '-f vmdk -o subformat=monolithicFlat',
  '-f vmdk -o subformat=twoGbMaxExtentSparse',
  '-f vmdk -o subformat=twoGbMaxExtentFlat',
  '-f vmdk -o subformat=streamOptimized',
  '-f parallels',
  '-f qed',
];

interface Layout {
  readonly name: string;
  /** Commands of qemu-io. */
  readonly commands: readonly string[];
  /** Makes holes in the host's files of what is zeros there. */
  readonly digs?: boolean;
}

const LAYOUTS: readonly Layout[] = [
  { name: 'empty', commands: [] },
  { name: 'data at both ends', commands: ['write -P 1 0 64k', 'write -P 2 16320k 64k'] },
  {
    name: 'zeros written',
    commands: ['write -P 1 0 4M', 'write -z 1M 1M', 'write -z 6M 2M', 'write -P 0 9M 1M'],
  },
  { name: 'discarded', commands: ['write -P 1 0 8M', 'discard 2M 3M'] },
  { name: 'holes', commands: ['write -P 1 3M 4k', 'write -P 1 4100k 8k'], digs: true },
];

describe('ring0 image map and qemu-img', { skip: !hasQemu && 'there is no qemu-img' }, () => {
  const cwd = process.cwd();
  let count = 0;
  beforeEach(() => {
    const here = path.join(dir, String(++count));
    mkdirSync(here);
    process.chdir(here);
  });
  afterEach(() => {
    rmSync(process.cwd(), { recursive: true });
    process.chdir(cwd);
  });

  function make(kind: string, { commands, digs }: Layout, file = 'disk', bytes = SIZE_BYTES): void {
    const format = kind.split(' ')[1] ?? '';
    qemu('qemu-img', 'create', '-q', ...kind.split(' '), file, String(bytes));
    const asked = commands.flatMap((one) => ['-c', one.replace(' ', ' -q ')]);
    // Streams are written but once: what comes too late for one, it refuses.
    if (asked.length > 0) spawnSync('qemu-io', ['-d', 'unmap', '-f', format, ...asked, file]);
    if (digs === true) for (const name of readdirSync('.')) qemu('fallocate', '--dig-holes', name);
  }

  async function same(...words: readonly string[]): Promise<void> {
    const { status, stdout } = spawnSync('qemu-img', words, { encoding: 'utf8' });
    const ours = await ring0Image(...words);
    assert.equal(ours.stdout, stdout, words.join(' '));
    assert.equal(ours.status, status, ours.stderr);
  }

  for (const kind of KINDS)
    for (const layout of LAYOUTS)
      it(`print the same: ${kind}, ${layout.name}`, async () => {
        make(kind, layout);
        const named = [...kind.split(' ').slice(0, 2), 'disk'];
        await same('map', '--output=json', ...named);
        await same('map', '--output=human', ...named);
        await same('map', '--output=json', '-s', '1000k', '-l', '9M', ...named);
        await same('measure', '-O', 'qcow2', ...named);
      });

  // qemu-img asks none: it takes all of a VHDX image for data, in no place.
  for (const subformat of ['dynamic', 'fixed'])
    it(`know more of VHDX: ${subformat}`, async () => {
      make(`-f vhdx -o subformat=${subformat},block_size=1M`, {
        name: '',
        commands: ['write 1M 1M', 'write 4M 1M'],
      });
      const theirs = qemu('qemu-img', 'map', '--output=json', '-f', 'vhdx', 'disk');
      assert.match(theirs, /^\[\{ "start": 0, "length": 16777216, .*"data": true\}\]\n$/);
      const { stdout } = await ring0Image('map', '--output=json', '-f', 'vhdx', 'disk');
      const data = runsOf(stdout).filter(({ zero }) => !zero);
      assert.deepEqual(
        data.map(({ start, length }) => [start / MIB, length / MIB]),
        [
          [1, 1],
          [4, 1],
        ],
      );
      for (const { offset } of data) assert.ok((offset ?? 0) >= MIB);
    });

  // qemu-img ends a run with the file, within a sector; disks consist of whole ones here.
  it('count a part sector at the end of a raw disk as whole', async () => {
    qemu('dd', 'if=/dev/urandom', 'of=disk', 'bs=1000000', 'count=1', 'status=none');
    const theirs = runsOf(qemu('qemu-img', 'map', '--output=json', '-f', 'raw', 'disk'));
    assert.deepEqual(
      theirs.map(({ length }) => length),
      [1_000_000, 448],
    );
    const { stdout } = await ring0Image('map', '--output=json', '-f', 'raw', 'disk');
    assert.deepEqual(
      runsOf(stdout).map(({ length }) => length),
      [1_000_448],
    );
  });

  for (const below of ['raw', 'qcow2', 'vdi', 'vpc', 'vmdk', 'qed'])
    it(`print the same of a chain: qcow2 on ${below}`, async () => {
      make(`-f ${below}`, { name: '', commands: ['write 0 3M', 'write -z 6M 1M'] }, 'base');
      make(
        `-f qcow2 -b base -F ${below}`,
        {
          name: '',
          commands: ['write 1M 64k', 'discard 2M 64k', 'write -z 5M 1M', 'write 20M 1M'],
        },
        'disk',
        24 * MIB,
      );
      await same('map', '--output=json', 'disk');
      await same('map', 'disk');
      await same('measure', '-O', 'qcow2', 'disk');
    });

  it('print the same of parts of 2 GB, and of compressed clusters', async () => {
    for (const kind of ['Sparse', 'Flat']) {
      const file = `disk${kind}`;
      const options = `-f vmdk -o subformat=twoGbMaxExtent${kind}`;
      make(options, { name: '', commands: ['write 2047M 2M'] }, file, 5 * 2 ** 30);
      await same('map', '--output=json', file);
      await same('map', file);
    }
    make('-f raw', { name: '', commands: ['write 1M 1M'] });
    qemu('qemu-img', 'convert', '-c', '-O', 'qcow2', 'disk', 'compressed');
    await same('map', '--output=json', 'compressed');
    await same('map', 'compressed');
  });

  it('name the files of an image as that is named', async () => {
    mkdirSync('folder');
    const layout = { name: '', commands: ['write 1M 64k'] };
    make('-f vmdk -o subformat=monolithicFlat', layout, 'folder/disk.vmdk');
    await same('map', 'folder/disk.vmdk');
    await same('map', path.resolve('folder/disk.vmdk'));
    make('-f vmdk -b folder/disk.vmdk -F vmdk', { name: '', commands: [] }, 'above');
    await same('map', 'above');
  });

  // Within one unit: qemu-img tells runs apart by what ends with the disk, too.
  it('tell apart the same images with compare -s', async () => {
    const formats = ['raw', 'qcow2', 'vdi', 'vpc', 'parallels', 'qed'];
    for (const format of formats)
      make(`-f ${format}${format === 'vpc' ? ' -o force_size=on' : ''}`, EMPTY, format, MIB / 2);
    truncateSync('raw', 0);
    truncateSync('raw', MIB / 2);
    for (const first of formats)
      for (const second of formats)
        await same('compare', '-s', '-f', first, '-F', second, first, second);
  });
});

const EMPTY: Layout = { name: '', commands: [] };

interface JsonRun {
  readonly start: number;
  readonly length: number;
  readonly zero: boolean;
  readonly offset?: number;
}

function runsOf(json: string): readonly JsonRun[] {
  return JSON.parse(json) as readonly JsonRun[];
}

function qemu(program: string, ...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout;
}
