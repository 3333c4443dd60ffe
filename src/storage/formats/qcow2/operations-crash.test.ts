import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crashes, RecordingHost } from '../../blocks/testing.ts';
import type { DiskImage, StorageHost } from '../../image.ts';
import { openImage } from '../../open.ts';
import { commitDisk } from '../../ops/commit.ts';
import { copyWhatRebaseChanges } from '../../ops/rebase.ts';
import { MemoryHost, noise } from '../../testing.ts';
import { createImage, exercise, type Options, readAll } from '../testing.ts';
import { qcow2 } from './qcow2.ts';
import { checkImage } from './testing.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE_BYTES = MIB;

interface Operation {
  readonly name: string;
  readonly options?: Options;
  /** What else is done to the image before it is closed and changed; default: nothing. */
  readonly prepare?: (image: DiskImage, host: StorageHost) => Promise<unknown> | undefined;
  /** Writes over bytes of the image's file, so that there is something to mend. */
  readonly damage?: (file: Uint8Array) => void;
  readonly change: (host: StorageHost) => Promise<void>;
  /** What lies behind is not looked at. */
  readonly upToBytes?: number;
  /** Crashes that are looked at, at least. */
  readonly points: number;
}

/** A cluster holds 256 counts, or 64 places: there are several blocks of refcounts and L2 tables. */
const SMALL: Options = { cluster_size: 512 };
const OVER_BASE: Options = { ...SMALL, backing_file: 'base', backing_fmt: 'raw' };

const onImage =
  (task: (image: DiskImage, host: StorageHost) => Promise<unknown> | undefined) =>
  async (host: StorageHost): Promise<void> => {
    const image = await openImage('/d', host, { format: 'qcow2' });
    await task(image, host);
    await image.close();
  };

const amend = (options: Options): Operation['change'] =>
  onImage((image) => image.amend?.(new Map(Object.entries(options))));

async function rebase(image: DiskImage, host: StorageHost, name?: string): Promise<void> {
  const newBacking =
    name === undefined ? undefined : await openImage(`/${name}`, host, { format: 'raw' });
  await copyWhatRebaseChanges({ image, newBacking });
  await newBacking?.close();
  await image.flush();
  await image.setBacking?.(name, name === undefined ? undefined : 'raw');
}

/** Data with zeros between them: each is copied by itself. */
async function writePieces(image: DiskImage): Promise<void> {
  for (let at = 0; at < SIZE_BYTES; at += 64 * KIB) {
    await image.write(at, noise(48 * KIB, at));
    await image.writeZeroes(at + 48 * KIB, 16 * KIB);
  }
}

async function commit(host: StorageHost): Promise<void> {
  const top = await openImage('/d', host, { format: 'qcow2' });
  const base = await openImage('/base', host, { format: 'raw' });
  await commitDisk({ top, base, baseDepth: 1 });
  await base.close();
  await top.makeEmpty?.();
  await top.close();
}

/** Refcounts that are too low from byte `at` of the first block on: qcow2 keeps it in the cluster after the table's. */
const lowCounts = (at: number) => (file: Uint8Array) => {
  const view = new DataView(file.buffer, file.byteOffset);
  const table = Number(view.getBigUint64(48));
  const block = Number(view.getBigUint64(table));
  file.fill(0, block + at, block + at + 64);
};

function assertRefused(error: Error): void {
  assert.match(error.message, /in one step/);
}

function assertMissing(error: Error): void {
  assert.match(error.message, /in one step|no bitmap/);
}

const OPERATIONS: readonly Operation[] = [
  {
    name: 'commit, which cuts the file behind its first clusters',
    options: OVER_BASE,
    prepare: writePieces,
    change: commit,
    points: 30,
  },
  {
    name: 'commit of an image with a snapshot',
    options: OVER_BASE,
    prepare: async (image) => {
      await writePieces(image);
      await image.snapshots?.create('kept');
    },
    change: commit,
    points: 30,
  },
  {
    name: 'rebase',
    options: OVER_BASE,
    change: onImage((image, host) => rebase(image, host, 'other')),
    points: 30,
  },
  {
    name: 'rebase to nothing',
    options: OVER_BASE,
    change: onImage((image, host) => rebase(image, host)),
    points: 30,
  },
  {
    name: 'growth',
    options: SMALL,
    change: onImage((image) => image.resize?.(6 * MIB)),
    points: 3,
  },
  {
    name: 'growth and back',
    upToBytes: SIZE_BYTES,
    options: SMALL,
    change: onImage(async (image) => {
      await image.resize?.(6 * MIB);
      await image.write(5 * MIB, noise(300 * KIB, 8));
      await image.resize?.(SIZE_BYTES, { shrink: true });
    }),
    points: 20,
  },
  {
    name: 'discard',
    options: SMALL,
    change: onImage(async (image) => {
      await image.discard(0, SIZE_BYTES / 2);
      await image.flush();
      await image.discard(0, SIZE_BYTES);
    }),
    points: 10,
  },
  { name: 'amend compat=0.10', options: SMALL, change: amend({ compat: '0.10' }), points: 2 },
  {
    name: 'amend compat=1.1',
    options: { ...SMALL, compat: '0.10' },
    prepare: (image) => image.snapshots?.create('kept'),
    change: amend({ compat: '1.1' }),
    points: 2,
  },
  {
    name: 'amend refcount_bits',
    options: SMALL,
    change: amend({ refcount_bits: 64 }),
    points: 10,
  },
  { name: 'amend lazy_refcounts', change: amend({ lazy_refcounts: true }), points: 1 },
  { name: 'amend size', options: SMALL, change: amend({ size: 20 * MIB }), points: 3 },
  {
    name: 'check -r all',
    options: SMALL,
    damage: lowCounts(100),
    change: async (host) => void (await checkImage(host, '/d', 'all')),
    points: 3,
  },
  {
    name: 'check -r leaks',
    options: SMALL,
    damage: (file) => {
      // The refcount of a cluster that nobody uses: the file's last one, that of the table's second block.
      const view = new DataView(file.buffer, file.byteOffset);
      const block = Number(view.getBigUint64(Number(view.getBigUint64(48)) + 8));
      view.setUint16(block + 510, 3);
    },
    change: async (host) => void (await checkImage(host, '/d', 'leaks')),
    points: 1,
  },
  {
    name: 'a bitmap of an image whose data file has a long name',
    options: { data_file: `${'long-'.repeat(70)}data` },
    change: onImage(async (image) => {
      // Beside the name is room in the first sector, or there is none and all stays as it is.
      await image.bitmaps?.add('one').catch(assertRefused);
      await image.bitmaps?.add('two').catch(assertRefused);
      await image.bitmaps?.remove('one').catch(assertMissing);
    }),
    points: 1,
  },
  {
    name: 'another data file of a long name',
    options: { data_file: `${'long-'.repeat(85)}data` },
    change: onImage(async (image, host) => {
      const name = `${'long+'.repeat(85)}data`;
      await (await host.openFile(`/${name}`, { access: 'create' })).close();
      await image.amend?.(new Map([['data_file', name]])).catch(assertRefused);
      await image.write(0, noise(4 * KIB, 1));
    }),
    points: 1,
  },
  ...['other', `${'long-'.repeat(80)}other`].map(
    (name): Operation => ({
      name: `rebase to a name of ${name.length} bytes, in a header with the names of features`,
      options: { backing_file: 'base', backing_fmt: 'raw' },
      change: onImage(async (image, host) => {
        await rebase(image, host, name);
        await image.setBacking?.('base', 'raw');
        await rebase(image, host, name);
      }),
      points: 5,
    }),
  ),
  {
    name: 'growth with room ahead',
    options: SMALL,
    change: onImage((image) => image.resize?.(6 * MIB, { preallocation: 'metadata' })),
    points: 3,
  },
];

const SOUND = { corruptions: 0, leaks: 0, text: '' };

describe('qcow2: power is lost within', () => {
  for (const [index, operation] of OPERATIONS.entries())
    it(operation.name, async () => {
      const host = new RecordingHost();
      const before = await prepare(host, operation, index);
      const start = new MemoryHost();
      for (const [name, file] of host.files) start.files.set(name, file.clone());
      host.events.length = 0;
      await operation.change(host);
      assert.deepEqual(await checkImage(host, '/d'), SOUND);
      const after = await content(host);
      let points = 0;
      for (const crash of crashes(start, host.events, 3 + index)) {
        points++;
        await checkCrash(crash.host, operation, [before, after]);
      }
      assert.ok(points >= operation.points, `${points} points`);
    });
});

/** What the disk holds. */
async function prepare(host: StorageHost, one: Operation, seed: number): Promise<Uint8Array> {
  const other = noise(MIB, 8);
  const files = { base: noise(700 * KIB, 7), other, [`${'long-'.repeat(80)}other`]: other };
  for (const [name, bytes] of Object.entries(files)) {
    const file = await host.openFile(`/${name}`, { access: 'create' });
    await file.write(0, bytes);
    await file.truncate(SIZE_BYTES);
    await file.flush();
  }
  await createImage(qcow2, host, '/d', SIZE_BYTES, one.options);
  const image = await openImage('/d', host, { format: 'qcow2' });
  const expected = await readAll(image);
  await exercise(image, expected, seed, 12);
  await one.prepare?.(image, host);
  await image.close();
  if (one.damage !== undefined) {
    const file = await host.openFile('/d', { access: 'write' });
    const bytes = new Uint8Array(await file.size());
    await file.read(0, bytes);
    one.damage(bytes);
    await file.write(0, bytes);
    await file.flush();
    const { corruptions, leaks } = await checkImage(host, '/d');
    assert.ok(corruptions + leaks > 0, 'nothing is damaged');
  }
  return expected;
}

async function content(host: StorageHost): Promise<Uint8Array> {
  const image = await openImage('/d', host, { format: 'qcow2', readOnly: true });
  const bytes = await readAll(image);
  await image.close();
  return bytes;
}

async function checkCrash(
  host: MemoryHost,
  { damage, upToBytes = Number.MAX_SAFE_INTEGER }: Operation,
  states: readonly Uint8Array[],
): Promise<void> {
  const found = await checkImage(host, '/d', damage === undefined ? 'leaks' : 'all');
  assert.equal(found.corruptions, 0, found.text);
  const image = await openImage('/d', host, { format: 'qcow2' });
  const bytes = await readAll(image);
  for (let at = 0; at < Math.min(bytes.length, upToBytes); at += 512) {
    const sector = Buffer.from(bytes.subarray(at, at + 512));
    const isKnown = states.some((state) => sector.equals(sectorOf(state, at)));
    assert.ok(isKnown, `sector at ${at} is neither old nor new`);
  }
  await image.write(0, noise(8 * KIB, 5));
  await image.close();
  assert.deepEqual(await checkImage(host, '/d'), SOUND);
}

/** Beyond a disk's end there are zeros. */
function sectorOf(state: Uint8Array, at: number): Uint8Array {
  const sector = new Uint8Array(512);
  sector.set(state.subarray(at, at + 512));
  return sector;
}
