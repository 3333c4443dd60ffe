import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createImage, type Options, readAll } from '../formats/testing.ts';
import { type DiskImage, type FileOptions, type HostFile, ImageError } from '../image.ts';
import { formatNamed, openImage } from '../open.ts';
import { MemoryFile, MemoryHost, noise } from '../testing.ts';
import { concatenated } from './concat.ts';
import { copyDisk } from './copy.ts';
import { type Lost, SalvagedDisk } from './salvage.ts';

const SECTOR = 512;
const UNIT = 4096;
const MIB = 1 << 20;
const GIB = 2 ** 30;

interface HostRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

function meet(a: HostRange, b: HostRange): boolean {
  const isBefore = (one: HostRange, two: HostRange): boolean =>
    one.offsetBytes + one.lengthBytes <= two.offsetBytes;
  return !isBefore(a, b) && !isBefore(b, a);
}

/** A file that cannot be read in places, and tells what was read of it. */
class WornFile extends MemoryFile {
  bad: readonly HostRange[] = [];
  readonly reads: HostRange[] = [];

  override async read(offsetBytes: number, into: Uint8Array): Promise<number> {
    const range = { offsetBytes, lengthBytes: into.length };
    this.reads.push(range);
    if (this.#isBad(range))
      throw new ImageError('io', `${this.path}: read: i/o error`, { path: this.path, offsetBytes });
    return await super.read(offsetBytes, into);
  }

  override tryRead(offsetBytes: number, into: readonly Uint8Array[]): boolean {
    const lengthBytes = into.reduce((sum, one) => sum + one.length, 0);
    return !this.#isBad({ offsetBytes, lengthBytes }) && super.tryRead(offsetBytes, into);
  }

  #isBad(range: HostRange): boolean {
    return this.bad.some((one) => meet(one, range));
  }
}

class WornHost extends MemoryHost {
  override async openFile(path: string, options: FileOptions = {}): Promise<HostFile> {
    if (!this.files.has(path) && options.access?.startsWith('create') === true)
      this.files.set(path, new WornFile(path));
    return await super.openFile(path, options);
  }

  worn(path: string): WornFile {
    const file = this.files.get(path);
    assert.ok(file instanceof WornFile);
    return file;
  }
}

interface Kind {
  readonly format: string;
  readonly options?: Options;
  readonly sizeBytes: number;
  /** Where a unit of data lies. */
  readonly places: readonly number[];
  /** What lies here is told by the table that is lost. */
  readonly lostBytes: number;
}

/** Two tables of each, so that one can be lost. */
const KINDS: readonly Kind[] = [
  {
    format: 'qcow2',
    options: { cluster_size: 4096 },
    sizeBytes: 16 * MIB,
    places: [0, MIB, 5 * MIB, 15 * MIB],
    lostBytes: 5 * MIB,
  },
  {
    format: 'qed',
    options: { cluster_size: 4096, table_size: 2 },
    sizeBytes: 16 * MIB,
    places: [0, MIB, 5 * MIB, 15 * MIB],
    lostBytes: 5 * MIB,
  },
  {
    format: 'vmdk',
    sizeBytes: 512 * MIB,
    places: [0, MIB, 300 * MIB, 500 * MIB],
    lostBytes: 300 * MIB,
  },
  {
    format: 'vdi',
    sizeBytes: 4 * GIB,
    places: [0, GIB - UNIT, 2 * GIB, 4 * GIB - UNIT],
    lostBytes: 2 * GIB,
  },
  {
    format: 'vpc',
    sizeBytes: 8 * GIB,
    places: [0, GIB, 5 * GIB, 8 * GIB - UNIT],
    lostBytes: 5 * GIB,
  },
  {
    format: 'vhdx',
    options: { block_size: MIB },
    sizeBytes: 4 * GIB,
    places: [0, MIB, 2 * GIB, 4 * GIB - UNIT],
    lostBytes: 2 * GIB,
  },
  {
    format: 'parallels',
    sizeBytes: 4 * GIB,
    places: [0, MIB, 2 * GIB, 4 * GIB - UNIT],
    lostBytes: 2 * GIB,
  },
];

async function make(host: WornHost, { format, options, sizeBytes, places }: Kind): Promise<void> {
  await createImage(await formatNamed(format), host, '/source', sizeBytes, options);
  const image = await openImage('/source', host, { format });
  for (const at of places) await image.write(at, noise(UNIT, at / UNIT));
  await image.close();
}

/** Lets the last table be lost that tells of what lies at `lostBytes`. */
async function wear(host: WornHost, { format, lostBytes }: Kind): Promise<void> {
  const file = host.worn('/source');
  const image = await openImage('/source', host, { format, readOnly: true });
  file.reads.length = 0;
  await image.extent(lostBytes, SECTOR);
  file.bad = file.reads.slice(-1);
  assert.equal(file.bad.length, 1, 'no table was read');
}

/** A copy of the disk, what was lost of it, and how often the host was asked. */
async function salvage(
  host: WornHost,
  format: string,
  sparseBytes = UNIT,
  paths: readonly [string, ...string[]] = ['/source'],
) {
  const file = host.worn('/source');
  const open = (path: string): Promise<DiskImage> =>
    openImage(path, host, { format, readOnly: true });
  const source = await open(paths[0]);
  const whole = concatenated([source, ...(await Promise.all(paths.slice(1).map(open)))]);
  await host.openFile('/copy', { access: 'create' });
  await (await host.openFile('/copy', { access: 'write' })).truncate(whole.sizeBytes);
  const target = await openImage('/copy', host, { format: 'raw' });
  file.reads.length = 0;
  const lost: Lost[] = [];
  const disk = new SalvagedDisk(whole, (one) => lost.push(one));
  await copyDisk({ source: disk, target, sparseBytes, targetIsZero: true });
  return { source, target, lost, reads: file.reads.length };
}

describe('SalvagedDisk', () => {
  for (const kind of KINDS)
    it(`loses what a table tells of that cannot be read, and nothing else: ${kind.format}`, async () => {
      const host = new WornHost();
      await make(host, kind);
      await wear(host, kind);
      const { source, target, lost, reads } = await salvage(host, kind.format);
      const [gone] = lost;
      assert.ok(gone !== undefined && lost.length === 1, `lost: ${JSON.stringify(lost)}`);
      assert.ok(meet(gone, { offsetBytes: kind.lostBytes, lengthBytes: UNIT }));
      const end = gone.offsetBytes + gone.lengthBytes;
      for (const at of [gone.offsetBytes, end - SECTOR])
        await assert.rejects(source.read(at, new Uint8Array(SECTOR)));
      for (const at of [gone.offsetBytes - SECTOR, end])
        if (at >= 0 && at < source.sizeBytes) await source.read(at, new Uint8Array(SECTOR));
      const isGone = (at: number): boolean => meet(gone, { offsetBytes: at, lengthBytes: UNIT });
      assert.ok(!kind.places.every(isGone), 'all is lost');
      for (const at of kind.places) {
        const bytes = new Uint8Array(UNIT);
        await target.read(at, bytes);
        assert.deepEqual(bytes, isGone(at) ? new Uint8Array(UNIT) : noise(UNIT, at / UNIT));
      }
      assert.ok(reads < 500, `${reads} reads of the host`);
    });

  it('keeps what an overlay has where its backing image lost a table', async () => {
    const host = new WornHost();
    const [kind] = KINDS;
    assert.ok(kind !== undefined);
    await make(host, kind);
    const options = { backing_file: 'source', backing_fmt: kind.format, cluster_size: UNIT };
    const { format, sizeBytes } = kind;
    await createImage(await formatNamed(format), host, '/top', sizeBytes, options);
    const top = await openImage('/top', host, { format });
    const at = kind.lostBytes - (kind.lostBytes % (2 * MIB)) + 5 * UNIT;
    await top.write(at, noise(UNIT, 9));
    await top.close();
    await wear(host, kind);
    const { target, lost } = await salvage(host, format, UNIT, ['/top', '/top']);
    const bytes = new Uint8Array(UNIT);
    for (const start of [0, sizeBytes]) {
      await target.read(start + at, bytes);
      assert.deepEqual(bytes, noise(UNIT, 9));
      const run = { offsetBytes: start + at, lengthBytes: UNIT };
      assert.ok(!lost.some((one) => meet(one, run)));
    }
    assert.equal(lost.length, 4);
  });

  it('takes no long for a large disk whose tables are all lost', async () => {
    const host = new WornHost();
    const places = Array.from({ length: 128 }, (_, index) => index * 8 * GIB);
    const [format, sizeBytes] = ['qcow2', 1024 * GIB];
    await make(host, {
      format,
      options: { cluster_size: 1 << 18 },
      sizeBytes,
      places,
      lostBytes: 0,
    });
    const file = host.worn('/source');
    const image = await openImage('/source', host, { format, readOnly: true });
    file.reads.length = 0;
    await image.extent(0, SECTOR);
    const [table] = file.reads;
    assert.ok(table !== undefined);
    // The first of them, and all behind it.
    file.bad = [{ offsetBytes: table.offsetBytes, lengthBytes: Number.MAX_SAFE_INTEGER }];
    const { lost, reads } = await salvage(host, format);
    assert.equal(
      lost.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0),
      sizeBytes,
    );
    assert.ok(reads < 10 * lost.length, `${reads} reads of the host for ${lost.length} tables`);
  });

  it('loses as much when zeros are written, too, and tells it once', async () => {
    const host = new WornHost();
    const [kind] = KINDS;
    assert.ok(kind !== undefined);
    await make(host, kind);
    await wear(host, kind);
    const { lost } = await salvage(host, kind.format);
    assert.deepEqual((await salvage(host, kind.format, 0)).lost, lost);
  });

  it('hears that it shall stop', async () => {
    const stop = new AbortController();
    let asked = 0;
    const fails = async (): Promise<never> => {
      if (++asked === 20) stop.abort();
      throw new ImageError('io', 'unreadable', { path: '/source', offsetBytes: 0 });
    };
    const source = { sizeBytes: 1024 * GIB, status: fails, read: fails };
    const disk = new SalvagedDisk(source, () => {}, stop.signal);
    await assert.rejects(disk.status(0, source.sizeBytes), { name: 'AbortError' });
    assert.equal(asked, 20);
  });

  it('loses sectors and compressed clusters, and nothing around them', async () => {
    const host = new MemoryHost();
    const data = await host.openFile('/source', { access: 'create' });
    await data.write(0, noise(12 * UNIT, 1));
    await (await host.openFile('/target', { access: 'create' })).truncate(12 * UNIT);
    const disk = await openImage('/source', host, { format: 'raw' });
    const whole = concatenated([disk]);
    // A sector, the last one of a unit and the first of the next, and a unit that is compressed.
    const bad = [
      { offsetBytes: UNIT + 512, lengthBytes: 512 },
      { offsetBytes: 4 * UNIT - 512, lengthBytes: 1024 },
      { offsetBytes: 8 * UNIT, lengthBytes: UNIT },
    ];
    const source = {
      ...whole,
      status: async (at: number, lengthBytes: number) => {
        const compressed = Math.floor(at / UNIT) === 8;
        const end = compressed ? 9 * UNIT : at < 8 * UNIT ? 8 * UNIT : disk.sizeBytes;
        const length = Math.min(lengthBytes, end - at);
        const status = { kind: 'data', depth: 0, decidedAt: 0, present: true } as const;
        return { ...status, lengthBytes: length, compressed };
      },
      read: async (at: number, into: Uint8Array) => {
        for (const { offsetBytes, lengthBytes } of bad)
          if (at < offsetBytes + lengthBytes && at + into.length > offsetBytes)
            throw new Error('unreadable');
        await whole.read(at, into);
      },
    };
    const expected = await readAll(disk);
    for (const { offsetBytes, lengthBytes } of bad)
      expected.fill(0, offsetBytes, offsetBytes + lengthBytes);
    const target = await openImage('/target', host, { format: 'raw' });
    const lost: unknown[] = [];
    const salvaged = new SalvagedDisk(source, (one) => lost.push(one));
    await copyDisk({ source: salvaged, target, sparseBytes: UNIT, targetIsZero: true });
    assert.deepEqual(lost, bad);
    assert.deepEqual(await readAll(target), expected);
  });
});
