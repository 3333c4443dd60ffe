import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import type { ImageError } from '../image.ts';
import { digestOf } from '../node/digest.ts';
import { nodeStorageHost } from '../node/node-host.ts';
import { openImage } from '../open.ts';
import { MemoryHost, noise } from '../testing.ts';
import { exportAppliance } from './export.ts';
import { openAppliance } from './import.ts';
import { parseManifest } from './manifest.ts';
import { makeOvf, parseOvf } from './ovf.ts';
import { readTar, tarHeader } from './tar.ts';

const MIB = 1 << 20;
const dir = mkdtempSync(path.join(tmpdir(), 'ring0-ova-'));
after(() => rmSync(dir, { recursive: true }));
const at = (name: string): string => path.join(dir, name);

/** Data, text, holes longer than a grain table's 32 MiB, an end within a grain. */
function content(): Uint8Array {
  const bytes = new Uint8Array(70 * MIB + 512);
  bytes.set(noise(300_000, 1), 70_000);
  bytes.fill(0x41, MIB, MIB + 900_000);
  bytes.set(noise(512, 2), 70 * MIB);
  return bytes;
}

async function makePackage(name: string): Promise<void> {
  writeFileSync(at('disk.raw'), content());
  const disk = await openImage(at('disk.raw'), nodeStorageHost, { format: 'raw', readOnly: true });
  const file = await nodeStorageHost.openFile(at(name), { access: 'create' });
  const request = {
    name: 'a machine',
    cpus: 2,
    memoryBytes: 512 * MIB,
    networks: ['NAT'],
    disks: [disk],
  };
  const digest = (of: typeof file, offset: number, length: number): Promise<string> =>
    digestOf('SHA256', of, offset, length);
  await exportAppliance(file, request, { host: nodeStorageHost, digest });
  await file.close();
  await disk.close();
}

describe('a package of one file', async () => {
  await makePackage('m.ova');

  it('says what the machine is, has sound files, and the disk as it was', async () => {
    const appliance = await openAppliance(at('m.ova'), nodeStorageHost);
    assert.equal(await appliance.verify(digestOf), true);
    const [system] = appliance.ovf.systems;
    assert.deepEqual(
      [system?.name, system?.cpus, system?.memoryBytes, system?.networks],
      ['a machine', 2, 512 * MIB, ['NAT']],
    );
    const [disk] = system?.disks ?? [];
    assert.ok(disk?.format !== undefined);
    const name = appliance.pathOf(disk) ?? '';
    const options = { format: disk.format, readOnly: true };
    const image = await openImage(name, appliance.host, options);
    assert.equal(image.sizeBytes, disk.capacityBytes);
    const bytes = new Uint8Array(image.sizeBytes);
    await image.read(0, bytes);
    assert.ok(Buffer.compare(bytes, content()) === 0);
    await image.close();
    await appliance.close();
  });

  it('is taken apart by tar, and its disk read by QEMU', (test) => {
    if (spawnSync('qemu-img', ['--version']).status !== 0) return test.skip('no qemu-img');
    const run = (program: string, ...args: string[]): void => {
      const { status, stderr } = spawnSync(program, args, { cwd: dir, encoding: 'utf8' });
      assert.equal(status, 0, stderr);
    };
    run('tar', 'xf', 'm.ova');
    const disk = 'a machine-disk1.vmdk';
    run('qemu-img', 'compare', '-f', 'vmdk', '-F', 'raw', disk, 'disk.raw');
    run('qemu-img', 'check', '-q', '-f', 'vmdk', disk);
  });

  it('that was unpacked is a package too, and is not taken when a file was changed', async () => {
    const packed = await openAppliance(at('a machine.ovf'), nodeStorageHost);
    assert.equal(await packed.verify(digestOf), true);
    const file = await nodeStorageHost.openFile(at('a machine-disk1.vmdk'), { access: 'write' });
    await file.write(100_000, noise(10, 9));
    await file.close();
    await assert.rejects(
      packed.verify(digestOf),
      (error: ImageError) =>
        error.kind === 'corrupt' && /was changed or damaged/.test(error.message),
    );
    rmSync(at('a machine.mf'));
    assert.equal(
      await (await openAppliance(at('a machine.ovf'), nodeStorageHost)).verify(digestOf),
      false,
    );
  });

  it('that was cut off or damaged is refused', async () => {
    const whole = readFileSync(at('m.ova'));
    const host = new MemoryHost();
    for (const [name, bytes] of [
      ['/cut', whole.subarray(0, 40_000)],
      ['/damaged', Buffer.from(whole).fill(1, 110, 112)],
      ['/text', Buffer.from('<Envelope>')],
      ['/other', Buffer.concat([tarHeader('x', 0, 0), Buffer.alloc(1024)])],
    ] as const) {
      await (await host.openFile(name, { access: 'create' })).write(0, bytes);
      await assert.rejects(
        openAppliance(name, host),
        (error: ImageError) => error.name === 'ImageError' && error.message.startsWith(name),
      );
    }
  });
});

describe('OVF descriptors of others', () => {
  const envelope = (references: string, rest = ''): string =>
    `<Envelope xmlns:o="x"><References>${references}</References>${rest}</Envelope>`;
  const refused = [
    {
      name: 'files elsewhere',
      text: envelope('<File o:href="../x" o:id="1"/>'),
      kind: 'unsupported',
    },
    {
      name: 'files of servers',
      text: envelope('<File o:href="http://x/y" o:id="1"/>'),
      kind: 'unsupported',
    },
    {
      name: 'gzip',
      text: envelope('<File o:href="x" o:compression="gzip"/>'),
      kind: 'unsupported',
    },
    { name: 'other XML', text: '<html/>', kind: 'corrupt' },
    {
      name: 'a thousand levels of entities',
      text: '<!DOCTYPE a [<!ENTITY b "&c;">]><a>&b;</a>',
      kind: 'corrupt',
    },
    { name: 'elements in each other', text: '<a>'.repeat(200_000), kind: 'corrupt' },
    {
      name: 'disks in files that are not there',
      text: envelope(
        '',
        '<DiskSection><Disk o:diskId="d" o:fileRef="f" o:capacity="1"/></DiskSection>',
      ),
      kind: 'corrupt',
    },
  ];
  for (const { name, text, kind } of refused)
    it(`are refused: ${name}`, () =>
      assert.throws(
        () => parseOvf(text, '/x.ovf'),
        (error: ImageError) => error.kind === kind && error.message.startsWith('/x.ovf'),
      ));

  it('have units, collections, ports and older names', () => {
    const item = (fields: string): string => `<Item>${fields}</Item>`;
    const disk = (id: string, port: number): string =>
      item(
        `<r:AddressOnParent>${port}</r:AddressOnParent><r:HostResource>/disk/${id}</r:HostResource><r:Parent>5</r:Parent><r:ResourceType>17</r:ResourceType>`,
      );
    const text = envelope(
      '<File o:href="a.vhd" o:id="1"/>',
      `<DiskSection><Disk o:diskId="a" o:fileRef="1" o:capacity="3" o:capacityAllocationUnits="byte * 2^30" o:format="http://go.microsoft.com/fwlink/?LinkId=137171"/><Disk o:diskId="b" o:capacity="512"/></DiskSection>
      <VirtualSystemCollection><VirtualSystem o:id="vm"><VirtualHardwareSection>${item(
        '<r:ResourceType>4</r:ResourceType><r:VirtualQuantity>2</r:VirtualQuantity><r:AllocationUnits>GigaBytes</r:AllocationUnits>',
      )}${disk('b', 1)}${disk('a', 0)}</VirtualHardwareSection></VirtualSystem></VirtualSystemCollection>`,
    );
    assert.deepEqual(parseOvf(text, '/x').systems, [
      {
        name: 'vm',
        cpus: 1,
        memoryBytes: 2 * 2 ** 30,
        disks: [
          { id: 'a', file: 'a.vhd', capacityBytes: 3 * 2 ** 30, format: 'vpc' },
          { id: 'b', file: undefined, capacityBytes: 512, format: undefined },
        ],
        networks: [],
      },
    ]);
  });

  it('that we write say what they were given, whatever the names are', () => {
    const system = {
      name: `<&"'>`,
      cpus: 3,
      memoryBytes: 64 * MIB,
      disks: [{ id: 'd', file: 'd.vmdk', capacityBytes: 512, format: 'vmdk' as const }],
      networks: ['a & b'],
    };
    assert.deepEqual(parseOvf(makeOvf(system), '/x').systems, [system]);
  });
});

describe('manifests', () => {
  it('have digests of three kinds', () => {
    const text = 'SHA1(a.ovf)= 0aFF\r\nSHA256 (b c.vmdk) = 01\n\nSHA512(d)= 2\n';
    assert.deepEqual(parseManifest(text, '/m'), [
      { algorithm: 'SHA1', file: 'a.ovf', digest: '0aff' },
      { algorithm: 'SHA256', file: 'b c.vmdk', digest: '01' },
      { algorithm: 'SHA512', file: 'd', digest: '2' },
    ]);
  });
  for (const text of ['MD5(a)= 00', 'nonsense', 'SHA1(a)= xyz'])
    it(`are refused: ${text}`, () =>
      assert.throws(() => parseManifest(text, '/m'), /^ImageError: \/m/));
});

it('archives have members of more than 8 GiB', async () => {
  const host = new MemoryHost();
  const file = await host.openFile('/t', { access: 'create' });
  await file.write(0, tarHeader('big', 9 * 2 ** 30, 0));
  await file.truncate(512 + 9 * 2 ** 30);
  assert.deepEqual(await readTar(file), [
    { name: 'big', offsetBytes: 512, sizeBytes: 9 * 2 ** 30 },
  ]);
});
