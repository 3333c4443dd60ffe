import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { nodeStorageHost } from './node/node-host.ts';
import { allFormats, backingPath, formatNamed, openImage, probeFormat } from './open.ts';
import { MemoryHost, noise } from './testing.ts';

const dir = mkdtempSync(path.join(tmpdir(), 'ring0-open-'));
after(() => rmSync(dir, { recursive: true }));

describe('openImage', () => {
  it('opens a file of this host, and writes through to it', async () => {
    const file = path.join(dir, 'disk');
    writeFileSync(file, noise(4096, 1));
    const image = await openImage(file, nodeStorageHost, { format: 'raw' });
    await image.write(512, noise(512, 2));
    await image.close();
    const again = await openImage(file, nodeStorageHost, { probe: true, readOnly: true });
    const into = new Uint8Array(512);
    await again.read(512, into);
    assert.deepEqual(into, noise(512, 2));
    await again.close();
  });

  it('guesses no format unless told to', async () => {
    const host = new MemoryHost();
    await host.openFile('/d', { access: 'create' });
    await assert.rejects(openImage('/d', host), /its format is not named/);
    assert.equal((await openImage('/d', host, { probe: true })).format, 'raw');
  });
});

it('raw, which matches everything, comes last', async () => {
  assert.equal((await allFormats()).at(-1)?.name, 'raw');
  assert.equal(
    (await probeFormat(await new MemoryHost().openFile('/d', { access: 'create' }))).name,
    'raw',
  );
});

it('an unknown format is named with those that are known', async () => {
  assert.equal((await formatNamed('raw')).name, 'raw');
  assert.equal((await formatNamed('vhd')).name, 'vpc');
  for (const { name } of await allFormats()) assert.equal((await formatNamed(name)).name, name);
  await assert.rejects(formatNamed('floppy'), /no image format 'floppy'; there are .*raw/);
});

describe('backingPath', () => {
  const cases = [
    { name: 'base.raw', expected: '/images/base.raw' },
    { name: '../base.raw', expected: '/base.raw' },
    { name: '/abs/base', expected: '/abs/base' },
    { name: 'file:base', expected: '/images/base' },
    { name: 'https://host/b', expected: 'https://host/b' },
    { name: 'json:{"driver":"raw"}', expected: undefined },
    { name: 'nbd://host/export', expected: undefined },
  ];
  for (const { name, expected } of cases)
    it(`${name} is ${expected ?? 'refused'}`, () => {
      const run = (): string => backingPath(nodeStorageHost, '/images/top.qcow2', name);
      if (expected === undefined) assert.throws(run, /is not supported; files and http\(s\) are/);
      else assert.equal(run(), expected);
    });
});
