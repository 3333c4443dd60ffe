import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ImageError, SECTOR_BYTES } from '../../image.ts';
import { openImage } from '../../open.ts';
import { checkImage as checkAny } from '../../ops/check.ts';
import { MemoryHost, noise } from '../../testing.ts';
import { createImage, exercise, readAll } from '../testing.ts';
import { parseBundle } from './bundle-xml.ts';
import { parallels } from './parallels.ts';

const MIB = 1 << 20;
const BASE = '{5fbaabe3-6958-40ff-92a7-860e329aab41}';
const TOP = '{11111111-2222-3333-4444-555555555555}';
const NONE = '{00000000-0000-0000-0000-000000000000}';

const sectors = (bytes: number): number => bytes / SECTOR_BYTES;
const image = (guid: string, file: string, type = 'Compressed'): string =>
  `<Image><GUID>${guid}</GUID><Type>${type}</Type><File>${file}</File></Image>`;
const storage = (from: number, to: number, images: string): string =>
  `<Storage><Start>${sectors(from)}</Start><End>${sectors(to)}</End><Blocksize>2048</Blocksize>${images}</Storage>`;
const shot = (guid: string, parent: string): string =>
  `<Shot><GUID>${guid}</GUID><ParentGUID>${parent}</ParentGUID></Shot>`;

interface Parts {
  readonly sizeBytes: number;
  readonly storages: string;
  readonly snapshots?: string;
  readonly parameters?: string;
}

function descriptor({ sizeBytes, storages, snapshots = '', parameters = '' }: Parts): string {
  return `<?xml version='1.0' encoding='UTF-8'?>
<Parallels_disk_image Version="1.0">
  <Disk_Parameters><Disk_size>${sectors(sizeBytes)}</Disk_size>${parameters}</Disk_Parameters>
  <StorageData>${storages}</StorageData>
  <Snapshots>${snapshots}</Snapshots>
</Parallels_disk_image>`;
}

async function store(host: MemoryHost, name: string, text: string): Promise<void> {
  const file = await host.openFile(name, { access: 'create' });
  await file.write(0, new TextEncoder().encode(text));
}

/** 5 MiB and a sector in two parts, the second of which was plain when the snapshot was taken. */
const SIZE = 5 * MIB + SECTOR_BYTES;
const TWO_LEVELS = descriptor({
  sizeBytes: SIZE,
  storages:
    // In no order, which the format does not ask for.
    storage(4 * MIB, SIZE, image(BASE, 'b0', 'Plain') + image(TOP, 'b1')) +
    storage(0, 4 * MIB, image(TOP, 'a1') + image(BASE, 'a0')),
  snapshots: `<TopGUID>${TOP.toUpperCase()}</TopGUID>${shot(TOP, BASE)}${shot(BASE, NONE)}`,
});

async function bundle(): Promise<{ host: MemoryHost; expected: Uint8Array }> {
  const host = new MemoryHost();
  const expected = new Uint8Array(SIZE);
  for (const name of ['a0', 'a1'])
    await createImage(parallels, host, `/d.hdd/${name}`, 4 * MIB, { cluster_size: 65536 });
  const rest = SIZE - 4 * MIB;
  await createImage(parallels, host, '/d.hdd/b1', rest, { cluster_size: 65536 });
  expected.set(noise(rest, 1), 4 * MIB);
  await (await host.openFile('/d.hdd/b0', { access: 'create' })).write(0, noise(rest, 1));
  const base = await openImage('/d.hdd/a0', host, { format: 'parallels' });
  await base.write(100 * 512, noise(2 * MIB, 2));
  expected.set(noise(2 * MIB, 2), 100 * 512);
  await base.close();
  await store(host, '/d.hdd/DiskDescriptor.xml', TWO_LEVELS);
  return { host, expected };
}

describe('Parallels bundles', () => {
  for (const name of ['/d.hdd', '/d.hdd/', '/d.hdd/DiskDescriptor.xml'])
    it(`are read by the name ${name}`, async () => {
      const { host, expected } = await bundle();
      const disk = await openImage(name, host, { probe: true, readOnly: true });
      assert.deepEqual([disk.format, disk.sizeBytes], ['parallels', SIZE]);
      assert.deepEqual(await readAll(disk), expected);
      await disk.close();
    });

  it('are written to in the files of the top level alone, and are sound then', async () => {
    const { host, expected } = await bundle();
    const before = await Promise.all(['a0', 'b0'].map((name) => contents(host, name)));
    const disk = await openImage('/d.hdd', host, { format: 'parallels' });
    await exercise(disk, expected, 3, 40);
    await disk.close();
    const again = await openImage('/d.hdd', host, { format: 'parallels', readOnly: true });
    assert.deepEqual(await readAll(again), expected);
    await again.close();
    const after = await Promise.all(['a0', 'b0'].map((name) => contents(host, name)));
    assert.deepEqual(after, before);
    const { result } = await checkAny('/d.hdd', host, undefined, 'none');
    assert.deepEqual([result?.messages, result?.corruptions, result?.leaks], [[], 0, 0]);
    assert.ok((result?.allocatedClusters ?? 0) > 0);
  });

  const one = { sizeBytes: MIB, storages: storage(0, MIB, image(BASE, 'x', 'Plain')) };
  const loop = `<TopGUID>${TOP}</TopGUID>${shot(TOP, BASE)}${shot(BASE, TOP)}`;
  const deep = Array.from({ length: 300 }, (_, i) => shot(`{${i}}`, `{${i + 1}}`)).join('');
  const hostile = [
    { name: 'no XML', text: '<Parallels_disk_image><', says: /is no XML/ },
    {
      name: 'entities that grow',
      text: `<!DOCTYPE x [<!ENTITY a "${'b'.repeat(99)}">]>${descriptor(one).slice(39).replace('<Snapshots>', '<Snapshots>&a;')}`,
      says: /is no XML/,
    },
    { name: 'elements in elements', text: '<a>'.repeat(100_000), says: /is no XML/ },
    { name: 'another document', text: '<html/>', says: /no descriptor/ },
    { name: 'too much', text: ' '.repeat(5 << 20), says: /more than 4 MiB/ },
    {
      name: 'a file elsewhere',
      text: descriptor({
        ...one,
        storages: storage(0, MIB, image(BASE, '../../etc/passwd', 'Plain')),
      }),
      says: /is not in the bundle's folder/,
    },
    {
      name: 'an unknown type',
      text: descriptor({ ...one, storages: storage(0, MIB, image(BASE, 'x', 'Zip')) }),
      says: /type 'Zip'/,
    },
    { name: 'a size that is none', text: descriptor({ ...one, sizeBytes: -512 }), says: /'-1'/ },
    { name: 'a huge size', text: descriptor({ ...one, sizeBytes: 2 ** 80 }), says: /no number/ },
    { name: 'a gap', text: descriptor({ ...one, sizeBytes: 2 * MIB }), says: /parts have 1048576/ },
    {
      name: 'parts that overlap',
      text: descriptor({ ...one, storages: one.storages + storage(512, MIB, image(BASE, 'y')) }),
      says: /no part begins at byte 1048576/,
    },
    { name: 'a loop', text: descriptor({ ...one, snapshots: loop }), says: /leads back to/ },
    {
      name: 'too many snapshots',
      text: descriptor({ ...one, snapshots: `<TopGUID>{0}</TopGUID>${deep}` }),
      says: /more than 256 snapshots/,
    },
    {
      name: 'a level without a file',
      text: descriptor({ ...one, snapshots: `<TopGUID>${TOP}</TopGUID>${shot(TOP, BASE)}` }),
      says: /has no image \{1111/,
    },
    {
      name: 'encryption',
      text: descriptor({ ...one, parameters: '<Encryption><Data>AAAA</Data></Encryption>' }),
      says: /is encrypted/,
    },
    {
      name: 'sectors of 4096 bytes',
      text: descriptor({ ...one, parameters: '<LogicSectorSize>4096</LogicSectorSize>' }),
      says: /sectors of 4096 bytes/,
    },
  ];
  for (const { name, text, says } of hostile)
    it(`with ${name} are refused`, () =>
      assert.throws(
        () => parseBundle(text, '/d'),
        (error: unknown) =>
          error instanceof ImageError &&
          error.message.startsWith('/d: ') &&
          says.test(error.message),
      ));

  it('are none but bundles when the format is guessed, whatever their descriptor holds', async () => {
    const { host } = await bundle();
    await store(host, '/d.hdd/DiskDescriptor.xml', 'not even XML');
    await assert.rejects(openImage('/d.hdd', host, { probe: true }), /DiskDescriptor.xml: at 0:/);
  });

  it('whose files are too short, or missing, are refused', async () => {
    const { host } = await bundle();
    await (await host.openFile('/d.hdd/b0')).truncate(SECTOR_BYTES);
    await assert.rejects(openImage('/d.hdd', host, { format: 'parallels' }), /b0: has 512 bytes/);
    host.files.delete('/d.hdd/b0');
    await assert.rejects(openImage('/d.hdd', host, { format: 'parallels' }), /b0: no such file/);
  });
});

async function contents(host: MemoryHost, name: string): Promise<Uint8Array> {
  const file = await host.openFile(`/d.hdd/${name}`);
  const bytes = new Uint8Array(await file.size());
  await file.read(0, bytes);
  return bytes;
}
