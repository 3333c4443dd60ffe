import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type DiskImage, ImageError } from '../../image.ts';
import { openImage } from '../../open.ts';
import { MemoryFile, MemoryHost, noise } from '../../testing.ts';
import { createImage } from '../testing.ts';
import { qcow2 } from './qcow2.ts';
import { checkImage } from './testing.ts';

const MIB = 1 << 20;
const SOUND = { corruptions: 0, leaks: 0, text: '' };

/** Fails when `fails` says so. */
class FailingFile extends MemoryFile {
  fails: (call: 'read' | 'flush') => boolean = () => false;

  override async read(offsetBytes: number, into: Uint8Array): Promise<number> {
    this.#pass('read');
    return await super.read(offsetBytes, into);
  }

  override async flush(): Promise<void> {
    this.#pass('flush');
    await super.flush();
  }

  #pass(call: 'read' | 'flush'): void {
    if (this.fails(call)) throw new ImageError('io', `${this.path}: ${call} fails`);
  }
}

async function imageOn(
  sizeBytes: number,
  prepare: (image: DiskImage) => Promise<unknown> | undefined,
): Promise<{ host: MemoryHost; file: FailingFile; image: DiskImage }> {
  const host = new MemoryHost();
  const file = new FailingFile('/d');
  host.files.set('/d', file);
  await createImage(qcow2, host, '/d', sizeBytes);
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
