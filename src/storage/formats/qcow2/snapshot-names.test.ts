import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { it } from 'node:test';
import { nodeStorageHost } from '../../node/node-host.ts';
import { formatNamed, openImage } from '../../open.ts';
import { createImage } from '../../ops/create.ts';

it('a snapshot keeps the bytes of its name, no UTF-8 too, when the table is written again', async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'ring0-names-'));
  const file = path.join(dir, 'disk');
  const snap = async (name: string): Promise<void> => {
    const image = await openImage(file, nodeStorageHost, { format: 'qcow2' });
    await image.snapshots?.create(name);
    await image.close();
  };
  const request = { sizeBytes: 1 << 20, options: new Map() };
  await createImage(file, nodeStorageHost, await formatNamed('qcow2'), request);
  await snap('first-name');
  const bytes = readFileSync(file);
  const odd = Buffer.from('\xef\xbb\xbf\xff\xfeodd..', 'latin1');
  odd.copy(bytes, bytes.indexOf('first-name'));
  writeFileSync(file, bytes);
  await snap('second');
  const after = readFileSync(file);
  assert.ok(after.subarray(after.indexOf('second') - 200).includes(odd));
  rmSync(dir, { recursive: true });
});
