import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crashes, RecordingHost } from '../../blocks/testing.ts';
import type { DiskImage, ImageError } from '../../image.ts';
import { openImage } from '../../open.ts';
import { MemoryHost, noise } from '../../testing.ts';
import { testCrashes } from '../testing.ts';
import { raw } from './raw.ts';

it('raw disks keep what was flushed when power is lost after any write', async () => {
  assert.ok((await testCrashes(raw, 3 << 20, {}, 3)) > 15);
});

it('raw disks have their old size or their new one when power is lost while it changes', async () => {
  for (const [from, to] of [
    [1 << 20, 3 << 20],
    [3 << 20, 1 << 20],
  ] as const) {
    const host = new RecordingHost();
    const file = await host.openFile('/d', { access: 'create' });
    await file.write(0, noise(from, 1));
    await file.flush();
    const start = new MemoryHost();
    for (const [name, one] of host.files) start.files.set(name, one.clone());
    host.events.length = 0;
    const image = await openImage('/d', host, { format: 'raw' });
    await image.resize?.(to, { shrink: true });
    await image.write(0, noise(512, 1));
    await image.close();
    let points = 0;
    for (const crash of crashes(start, host.events, 4)) {
      points++;
      const after = await openImage('/d', crash.host, { format: 'raw', readOnly: true });
      assert.ok([from, to].includes(after.sizeBytes), `${after.sizeBytes} bytes`);
      const kept = new Uint8Array(Math.min(from, to));
      await after.read(0, kept);
      assert.ok(Buffer.compare(kept, noise(from, 1).subarray(0, kept.length)) === 0);
    }
    assert.equal(points, 2);
  }
});

async function disk(host: MemoryHost, sizeBytes: number, readOnly = false): Promise<DiskImage> {
  const file = await host.openFile('/d.raw', { access: 'create' });
  await raw.create?.(file, { sizeBytes, options: new Map() }, host);
  return await openImage('/d.raw', host, { format: 'raw', readOnly });
}

describe('raw', () => {
  it('reads what was written, and zeros elsewhere', async () => {
    const image = await disk(new MemoryHost(), 1 << 20);
    const data = noise(1024, 1);
    await image.write(4096 - 512, data);
    const into = new Uint8Array(2048).fill(7);
    await image.read(4096 - 1024, into);
    assert.deepEqual(into.subarray(512, 1536), data);
    assert.ok(into.subarray(0, 512).every((byte) => byte === 0));
    assert.ok(into.subarray(1536).every((byte) => byte === 0));
  });

  it('counts a last part sector as whole', async () => {
    const host = new MemoryHost();
    const file = await host.openFile('/d.raw', { access: 'create' });
    await file.write(0, noise(700, 1));
    const image = await openImage('/d.raw', host, { format: 'raw', readOnly: true });
    assert.equal(image.sizeBytes, 1024);
    const into = new Uint8Array(1024);
    await image.read(0, into);
    assert.deepEqual(into.subarray(0, 700), noise(700, 1));
  });

  it('gives room back', async () => {
    const image = await disk(new MemoryHost(), 1 << 20);
    await image.write(0, noise(65536, 1));
    await image.discard(8192, 8192);
    assert.deepEqual(await image.extent(0, 65536), {
      kind: 'data',
      lengthBytes: 8192,
      hostOffsetBytes: 0,
    });
    assert.equal((await image.extent(8192, 4096 * 14)).kind, 'zero');
    await image.writeZeroes(0, 8192, { mayUnmap: true });
    assert.deepEqual(await image.extent(0, 65536), {
      kind: 'zero',
      lengthBytes: 16384,
      hostOffsetBytes: 0,
    });
  });

  const wrong = [
    { name: 'a part of a sector', offset: 0, length: 100 },
    { name: 'an odd offset', offset: 1, length: 512 },
    { name: 'one sector past the end', offset: 1 << 20, length: 512 },
    { name: 'before the start', offset: -512, length: 512 },
  ];
  for (const { name, offset, length } of wrong)
    it(`refuses ${name}`, async () => {
      const image = await disk(new MemoryHost(), 1 << 20);
      await assert.rejects(
        image.read(offset, new Uint8Array(length)),
        (error: ImageError) => error.kind === 'out-of-range',
      );
    });

  it('refuses changes when opened read-only', async () => {
    const image = await disk(new MemoryHost(), 4096, true);
    await assert.rejects(
      image.write(0, new Uint8Array(512)),
      (error: ImageError) => error.kind === 'read-only',
    );
  });

  it('grows, and shrinks only when told to', async () => {
    const image = await disk(new MemoryHost(), 4096);
    await image.resize?.(8192);
    assert.equal(image.sizeBytes, 8192);
    await assert.rejects(async () => await image.resize?.(512), /loses data/);
    await image.resize?.(512, { shrink: true });
    assert.equal(image.sizeBytes, 512);
  });

  it('keeps its size when there is no room for more', async () => {
    const host = new MemoryHost();
    const image = await disk(host, 4096);
    const file = host.files.get('/d.raw');
    assert.ok(file !== undefined);
    file.write = () => Promise.reject(new Error('full'));
    await assert.rejects(async () => await image.resize?.(8192, { preallocation: 'full' }), /full/);
    assert.equal(image.sizeBytes, 4096);
    assert.equal(await file.size(), 4096);
  });
});
