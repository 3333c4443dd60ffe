import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { ImageError } from '../../image.ts';
import { openImage } from '../../open.ts';
import { MemoryHost } from '../../testing.ts';
import { makeIso } from './testing.ts';

async function disc(): Promise<MemoryHost> {
  const host = new MemoryHost();
  const file = await host.openFile('/d.iso', { access: 'create' });
  await file.write(0, makeIso(20));
  return host;
}

it('ISO images are recognised, and read as they are', async () => {
  const image = await openImage('/d.iso', await disc(), { probe: true, readOnly: true });
  assert.equal(image.format, 'iso');
  assert.equal(image.sizeBytes, 20 * 2048);
  const { specific } = await image.info();
  assert.deepEqual(specific, {
    'sector-size': 2048,
    'volume-id': 'DEBIAN 12',
    'volume-size': 40960,
  });
  const into = new Uint8Array(512);
  await image.read(16 * 2048, into);
  assert.equal(Buffer.from(into).toString('latin1', 1, 6), 'CD001');
});

it('ISO images are not written to, and other files are none', async () => {
  const host = await disc();
  await assert.rejects(
    openImage('/d.iso', host, { format: 'iso' }),
    (error: ImageError) => error.kind === 'read-only',
  );
  await host.openFile('/e', { access: 'create' });
  await assert.rejects(
    openImage('/e', host, { format: 'iso', readOnly: true }),
    (error: ImageError) => error.kind === 'bad-format',
  );
});
