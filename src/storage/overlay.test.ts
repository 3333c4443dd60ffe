import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { openImage } from './open.ts';
import { OverlayImage } from './overlay.ts';
import { MemoryFile, MemoryHost, noise } from './testing.ts';

const SIZE = 4 << 20;

describe('an overlay', () => {
  it('reads what was written last, and leaves the base as it was', async () => {
    const host = new MemoryHost();
    const base = noise(SIZE, 1);
    const file = new MemoryFile('base');
    file.apply(0, base);
    host.files.set('base', file);
    const image = await openImage('base', host, { format: 'raw', readOnly: true });
    const overlay = new OverlayImage(image, new MemoryFile('scratch'));
    assert.equal(overlay.format, 'raw');
    const expected = base.slice();
    for (const [seed, offset, length] of [
      [2, 512, 512],
      [3, (1 << 20) - 1024, 4096],
      [4, SIZE - 512, 512],
      [5, 1024, 512],
    ] as const) {
      const bytes = noise(length, seed);
      expected.set(bytes, offset);
      await overlay.write(offset, bytes);
    }
    expected.fill(0, 4096, 4096 + 1536);
    await overlay.writeZeroes(4096, 1536);
    // What was written there takes no room any more; the base stays.
    await overlay.discard(0, 8192);
    expected.fill(0, 512, 1536);
    const seen = new Uint8Array(SIZE);
    await overlay.read(0, seen);
    assert.ok(Buffer.compare(seen, expected) === 0);
    const below = new Uint8Array(SIZE);
    await file.read(0, below);
    assert.deepEqual(below, base);
    await assert.rejects(overlay.write(SIZE, new Uint8Array(512)), { kind: 'out-of-range' });
    await overlay.close();
  });
});
