import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { nodeStorageHost } from './node/node-host.ts';
import { allFormats, backingImage, formatNamed, openImage, probeFormat } from './open.ts';
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

describe('backingImage', () => {
  const cases = [
    { name: 'base.raw', expected: '/images/base.raw' },
    { name: '../base.raw', expected: '/base.raw' },
    { name: '/abs/base', expected: '/abs/base' },
    { name: 'file:base', expected: '/images/base' },
    { name: 'https://host/b', expected: 'https://host/b' },
    { name: 'nbd://host/export', expected: undefined },
  ];
  for (const { name, expected } of cases)
    it(`${name} is ${expected ?? 'refused'}`, () => {
      const run = (): string => backingImage(nodeStorageHost, '/images/top.qcow2', name).file;
      if (expected === undefined) assert.throws(run, /is not supported; files and http\(s\) are/);
      else assert.equal(run(), expected);
    });
});

describe("names as QEMU's json:{…}", () => {
  const json = (value: unknown): string => `json:${JSON.stringify(value)}`;
  const file = (filename: string) => ({ driver: 'file', filename });

  /** `/top.qed` has `/base.qed` behind it; `/other.raw` has other bytes. */
  async function images(): Promise<MemoryHost> {
    const host = new MemoryHost();
    const base = await host.openFile('/other.raw', { access: 'create' });
    await base.write(0, noise(1 << 20, 2));
    const qed = await formatNamed('qed');
    for (const [path, backing] of [
      ['/base.qed', undefined],
      ['/top.qed', '/base.qed'],
      ['/json.qed', json({ driver: 'raw', 'file.filename': '/other.raw' })],
    ] as const) {
      const made = await host.openFile(path, { access: 'create' });
      const options = new Map(
        backing === undefined ? [] : [['backing_file', backing] as const, ['backing_fmt', 'qed']],
      );
      if (path === '/json.qed') options.set('backing_fmt', 'raw');
      await qed.create?.(made, { sizeBytes: 1 << 20, options }, host);
    }
    const under = await openImage('/base.qed', host, { format: 'qed' });
    await under.write(0, noise(512, 1));
    await under.close();
    return host;
  }

  async function firstSector(host: MemoryHost, name: string): Promise<Uint8Array> {
    const image = await openImage(name, host, { probe: true, readOnly: true });
    const into = new Uint8Array(512);
    await image.read(0, into);
    await image.close();
    return into;
  }

  const sound = [
    { name: 'nested', value: { driver: 'qed', file: file('/top.qed') }, bytes: noise(512, 1) },
    { name: 'with dots', value: { 'file.filename': '/top.qed' }, bytes: noise(512, 1) },
    { name: 'of a file alone', value: file('/other.raw'), bytes: noise(512, 2) },
    {
      name: 'without the backing file',
      value: { driver: 'qed', file: file('/top.qed'), backing: null },
      bytes: new Uint8Array(512),
    },
    {
      name: 'with another backing file',
      value: {
        ...{ driver: 'qed', file: file('/top.qed'), 'backing.driver': 'raw' },
        backing: { file: file('/other.raw') },
      },
      bytes: noise(512, 2),
    },
    {
      name: 'with one behind that',
      value: {
        ...{ driver: 'qed', file: file('/top.qed') },
        backing: { driver: 'qed', file: file('/top.qed.2'), backing: file('/other.raw') },
      },
      bytes: noise(512, 2),
    },
    { name: 'within an image', value: { file: file('/json.qed') }, bytes: noise(512, 2) },
    {
      name: 'with what changes nothing here',
      value: {
        driver: 'raw',
        file: { ...file('/other.raw'), aio: 'native' },
        cache: { direct: true },
      },
      bytes: noise(512, 2),
    },
  ];
  for (const { name, value, bytes } of sound)
    it(`are read: ${name}`, async () => {
      const host = await images();
      const top = host.files.get('/top.qed')?.clone();
      if (top !== undefined) host.files.set('/top.qed.2', top);
      assert.deepEqual(await firstSector(host, json(value)), bytes);
    });

  const deep = (levels: number): unknown => {
    let value: unknown = file('/other.raw');
    for (let i = 0; i < levels; i++)
      value = { driver: 'qed', file: file('/top.qed'), backing: value };
    return value;
  };
  const bad = [
    { name: 'json:', why: /^json:: is no JSON/ },
    { name: 'json:{', why: /is no JSON/ },
    { name: 'json:[]', why: /is no JSON object/ },
    { name: 'json:null', why: /is no JSON object/ },
    { name: json({ driver: 'qed' }), why: /file\.filename is missing/ },
    { name: json({ filename: '/top.qed' }), why: /'filename' is none/ },
    { name: json({ file: 'node' }), why: /'file' is none/ },
    { name: json({ driver: 'floppy', file: file('/top.qed') }), why: /no image format 'floppy'/ },
    { name: json({ file: { driver: 'nbd', host: 'x' } }), why: /no driver 'nbd'/ },
    { name: json({ driver: 'raw', file: { driver: 'qed' } }), why: /no driver 'qed' of files/ },
    { name: json({ driver: 5, file: file('/top.qed') }), why: /'driver' is no text/ },
    { name: json({ file: { filename: ['/top.qed'] } }), why: /'file\.filename\.0' is none/ },
    { name: json({ ...file('/other.raw'), offset: 512 }), why: /'offset' is none/ },
    { name: json({ file: file('/top.qed'), backing: 'node' }), why: /'backing' is none/ },
    { name: json({ file: file('/other.raw'), backing: file('/x') }), why: /names no backing file/ },
    { name: json(deep(40)), why: /too deep/ },
    { name: `json:${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`, why: /too deep/ },
    { name: json(deep(3)), why: /leads back to it/ },
    { name: `json:${' '.repeat(70_000)}{}`, why: /too long/ },
    { name: 'json:{"__proto__":{"driver":"raw"}}', why: /is none of what it may have/ },
  ];
  for (const { name, why } of bad)
    it(`are refused: ${name.slice(0, 70)}`, async () => {
      const host = await images();
      await assert.rejects(
        firstSector(host, name),
        (error: Error) => error.name === 'ImageError' && why.test(error.message),
      );
    });

  it('lead from a server to that server alone, and else to where they say', () => {
    const named = json({ driver: 'qed', file: file('/etc/x'), backing: file('y') });
    const remote = backingImage(nodeStorageHost, 'https://host/a/top', named);
    assert.equal(remote.file, 'https://host/etc/x');
    assert.equal(remote.backing?.file, 'https://host/a/y');
    const local = backingImage(nodeStorageHost, '/images/top', named);
    assert.equal(local.file, '/etc/x');
    assert.equal(local.backing?.file, path.resolve('y'));
  });
});
