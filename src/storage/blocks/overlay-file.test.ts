import assert from 'node:assert/strict';
import { it } from 'node:test';
import { MemoryHost, noise } from '../testing.ts';
import { OverlayFile } from './overlay-file.ts';

const PAGE_BYTES = 4096;

it('has data where pages lie in holes of the file, or behind its end', async () => {
  const host = new MemoryHost();
  const file = await host.openFile('/f', { access: 'create' });
  await file.truncate(2 * PAGE_BYTES);
  const places = [PAGE_BYTES, 3 * PAGE_BYTES];
  const pages = new Map(places.map((at) => [at, noise(PAGE_BYTES, at)]));
  const overlay = new OverlayFile(file, pages, PAGE_BYTES, 4 * PAGE_BYTES);
  for (const at of places) {
    assert.equal((await file.extent(at, PAGE_BYTES)).data, false);
    assert.equal((await overlay.extent(at, PAGE_BYTES)).data, true);
    const bytes = new Uint8Array(PAGE_BYTES);
    await overlay.read(at, bytes);
    assert.deepEqual(bytes, pages.get(at));
  }
});
