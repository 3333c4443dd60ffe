import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type DiskImage, ImageError } from '../../image.ts';
import { openImage } from '../../open.ts';
import { MemoryFile, MemoryHost, noise } from '../../testing.ts';
import { createImage, type Options } from '../testing.ts';
import { qcow2 } from './qcow2.ts';
import { checkImage } from './testing.ts';

const MIB = 1 << 20;
const SOUND = { corruptions: 0, leaks: 0, text: '' };

type Call = 'read' | 'flush' | 'write' | 'truncate' | 'flushed' | 'written' | 'truncated';

/** Fails when `fails` says so, before it does something or after. */
class FailingFile extends MemoryFile {
  fails: (call: Call) => boolean = () => false;

  override async read(offsetBytes: number, into: Uint8Array): Promise<number> {
    this.#pass('read');
    return await super.read(offsetBytes, into);
  }

  override async write(offsetBytes: number, from: Uint8Array): Promise<void> {
    this.#pass('write');
    await super.write(offsetBytes, from);
    this.#pass('written');
  }

  override async truncate(sizeBytes: number): Promise<void> {
    this.#pass('truncate');
    await super.truncate(sizeBytes);
    this.#pass('truncated');
  }

  override async flush(): Promise<void> {
    this.#pass('flush');
    await super.flush();
    this.#pass('flushed');
  }

  #pass(call: Call): void {
    if (this.fails(call)) throw new ImageError('io', `${this.path}: ${call} fails`);
  }
}

async function imageOn(
  sizeBytes: number,
  prepare: (image: DiskImage) => Promise<unknown> | undefined,
  options: Options = {},
): Promise<{ host: MemoryHost; file: FailingFile; image: DiskImage }> {
  const host = new MemoryHost();
  const file = new FailingFile('/d');
  host.files.set('/d', file);
  await createImage(qcow2, host, '/d', sizeBytes, options);
  const image = await openImage('/d', host, { format: 'qcow2' });
  await prepare(image);
  await image.close();
  return { host, file, image: await openImage('/d', host, { format: 'qcow2' }) };
}

describe('qcow2: a host that fails once', () => {
  it('leaves an L2 table whole of which a part cannot be read', async () => {
    const data = noise(MIB, 1);
    const { host, file, image } = await imageOn(64 * MIB, (made) => made.write(0, data));
    let reads = 0;
    file.fails = (call) => call === 'read' && ++reads === 2;
    await assert.rejects(async () => await image.makeEmpty?.(), ImageError);
    assert.equal(reads, 2);
    file.fails = () => false;
    await image.flush();
    await image.write(8 * MIB, noise(2 * MIB, 2));
    const now = new Uint8Array(MIB);
    await image.read(0, now);
    assert.ok(Buffer.compare(now, data) === 0, 'other data lie where these were');
    await image.close();
    assert.deepEqual(await checkImage(host, '/d'), SOUND);
  });

  it('writes again after bitmaps could not be marked once', async () => {
    const { file, image } = await imageOn(4 * MIB, (made) => made.bitmaps?.add('dirty'));
    let flushes = 0;
    file.fails = (call) => call === 'flush' && ++flushes === 1;
    await assert.rejects(image.write(0, noise(512, 1)), ImageError);
    await image.write(0, noise(512, 1));
    await image.close();
  });
});

const KIB = 1024;
const DISK_BYTES = MIB + 512;
const PLAIN: Options = { cluster_size: 4 * KIB };
/** A refcount table that has no room for the counts of more than 2 MiB. */
const SMALL: Options = { cluster_size: 512, refcount_bits: 64 };
const V2: Options = { cluster_size: 4 * KIB, compat: '0.10' };

/** What is done to all of an image, which has a snapshot and, unless it is of version 2, a bitmap. */
const OPERATIONS: readonly {
  readonly name: string;
  readonly options?: Options;
  readonly change: (image: DiskImage) => Promise<unknown> | undefined;
}[] = [
  { name: 'growth', change: (image) => image.resize?.(5 * MIB) },
  {
    name: 'growth with room ahead',
    change: (image) => image.resize?.(5 * MIB, { preallocation: 'metadata' }),
  },
  {
    name: 'growth that needs a longer refcount table',
    options: SMALL,
    change: (image) => image.resize?.(8 * KIB * MIB),
  },
  { name: 'shrinking', change: (image) => image.resize?.(MIB / 2, { shrink: true }) },
  { name: 'writing', change: (image) => image.write(40 * KIB, noise(300 * KIB, 3)) },
  { name: 'a snapshot', change: (image) => image.snapshots?.create('more') },
  {
    name: 'a snapshot with small clusters',
    options: SMALL,
    change: (image) => image.snapshots?.create('more'),
  },
  { name: 'a return to a snapshot', change: (image) => image.snapshots?.apply('1') },
  {
    name: 'a return to a snapshot in version 2',
    options: V2,
    change: (image) => image.snapshots?.apply('1'),
  },
  { name: 'a snapshot less', change: (image) => image.snapshots?.delete('1') },
  {
    name: 'a snapshot less in version 2',
    options: V2,
    change: (image) => image.snapshots?.delete('1'),
  },
  { name: 'a bitmap', change: (image) => image.bitmaps?.add('more') },
  { name: 'a bitmap less', change: (image) => image.bitmaps?.remove('dirty') },
  { name: 'that all is dropped', change: (image) => image.makeEmpty?.() },
];

describe('qcow2: a call of the host fails, and what is written then is there, after', () => {
  for (const operation of OPERATIONS)
    it(operation.name, async () => {
      let call = 1;
      // Of the many calls of small clusters some, unlike in kind from round to round.
      while (await failsAt(call, operation)) call += call < 20 ? 1 : 6;
      assert.ok(call > 10, `${call} calls`);
    });
});

/** Lets call `call` of an operation fail. Resolves with whether there was such a call. */
async function failsAt(
  call: number,
  { name, options = PLAIN, change }: (typeof OPERATIONS)[number],
): Promise<boolean> {
  const old = noise(64 * KIB, 1);
  const { host, file, image } = await imageOn(
    DISK_BYTES,
    async (made) => {
      await made.write(0, old);
      await made.snapshots?.create('first');
      if (options['compat'] !== '0.10') await made.bitmaps?.add('dirty');
      await made.write(16 * KIB, noise(128 * KIB, 2));
    },
    options,
  );
  let calls = 0;
  file.fails = () => ++calls === call;
  let failed = false;
  await change(image)?.catch((error: unknown) => {
    assert.ok(error instanceof ImageError, String(error));
    failed = true;
  });
  file.fails = () => false;
  if (name.startsWith('growth') && failed) {
    assert.equal(image.sizeBytes, DISK_BYTES, `call ${call}: what failed was done all the same`);
    const [bitmap] = (await image.bitmaps?.list()) ?? [];
    assert.equal(bitmap?.inconsistent, false, `call ${call}: the bitmap is lost`);
  }
  // In room that was freed, too.
  await image.write(8 * KIB, noise(300 * KIB, 4));
  await image.flush();
  const { sizeBytes } = image;
  const held = await firstOf(image, MIB / 2);
  await image.close();
  const found = await checkImage(host, '/d');
  assert.deepEqual(found, SOUND, `call ${call}`);
  const again = await openImage('/d', host, { format: 'qcow2', readOnly: true });
  const what = `call ${call}, which ${failed ? 'failed all of it' : 'did no harm'}`;
  assert.equal(again.sizeBytes, sizeBytes, what);
  assert.ok(Buffer.compare(await firstOf(again, MIB / 2), held) === 0, what);
  const isThere = again.snapshots?.list().some(({ id }) => id === '1');
  await again.close();
  if (isThere) {
    const first = await openImage('/d', host, { format: 'qcow2', readOnly: true, snapshot: '1' });
    assert.ok(Buffer.compare(await firstOf(first, old.length), old) === 0, `${what}: the snapshot`);
    await first.close();
  }
  return calls >= call;
}

async function firstOf(image: DiskImage, lengthBytes: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(lengthBytes);
  await image.read(0, bytes);
  return bytes;
}
