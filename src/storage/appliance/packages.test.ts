// Packages as VirtualBox and VMware write them: several disks, manifests of each kind, and those that are not sound.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import { createImage, readAll } from '../formats/testing.ts';
import { writeStream } from '../formats/vmdk/stream-writer.ts';
import type { ImageError } from '../image.ts';
import { digestOf } from '../node/digest.ts';
import { formatNamed, openImage } from '../open.ts';
import { MemoryHost, noise } from '../testing.ts';
import { openAppliance } from './import.ts';

const MIB = 1 << 20;
const STREAM = 'http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized';

/** As VirtualBox writes it: its own elements beside those of the standard, disks in the order of the ports. */
const VIRTUALBOX = `<?xml version="1.0"?>
<Envelope ovf:version="1.0" xml:lang="en-US" xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="r" xmlns:vbox="http://www.virtualbox.org/ovf/machine">
  <References><File ovf:id="file1" ovf:href="box-disk001.vmdk"/><File ovf:id="file2" ovf:href="box-disk002.vmdk"/></References>
  <DiskSection><Info>List of the virtual disks</Info>
    <Disk ovf:capacity="2097152" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="${STREAM}" vbox:uuid="1"/>
    <Disk ovf:capacity="3145728" ovf:diskId="vmdisk2" ovf:fileRef="file2" ovf:format="${STREAM}" vbox:uuid="2"/>
  </DiskSection>
  <VirtualSystem ovf:id="box"><Info>A virtual machine</Info>
    <OperatingSystemSection ovf:id="96"><Description>Debian_64</Description><vbox:OSType ovf:required="false">Debian_64</vbox:OSType></OperatingSystemSection>
    <VirtualHardwareSection>
      <Item><rasd:Caption>2 virtual CPU</rasd:Caption><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
      <Item><rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>1024</rasd:VirtualQuantity></Item>
      <Item><rasd:Address>0</rasd:Address><rasd:InstanceID>5</rasd:InstanceID><rasd:ResourceSubType>AHCI</rasd:ResourceSubType><rasd:ResourceType>20</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:HostResource>/disk/vmdisk2</rasd:HostResource><rasd:InstanceID>8</rasd:InstanceID><rasd:Parent>5</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource><rasd:InstanceID>7</rasd:InstanceID><rasd:Parent>5</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
      <Item><rasd:AutomaticAllocation>true</rasd:AutomaticAllocation><rasd:Connection>NAT</rasd:Connection><rasd:InstanceID>9</rasd:InstanceID><rasd:ResourceType>10</rasd:ResourceType></Item>
    </VirtualHardwareSection>
    <vbox:Machine ovf:required="false" version="1.16-linux" name="box"><StorageControllers/></vbox:Machine>
  </VirtualSystem>
</Envelope>`;

const contentOf = (disk: number): Uint8Array => {
  const bytes = new Uint8Array((1 + disk) * MIB);
  bytes.set(noise(100_000, disk), 200_000 * disk);
  return bytes;
};

async function put(host: MemoryHost, path: string, bytes: Uint8Array | string): Promise<void> {
  const file = await host.openFile(path, { access: 'create' });
  await file.write(0, Buffer.from(bytes));
}

async function bytesOf(host: MemoryHost, path: string): Promise<Uint8Array> {
  const file = await host.openFile(path);
  const bytes = new Uint8Array(await file.size());
  await file.read(0, bytes);
  return bytes;
}

const FILES = ['box.ovf', 'box-disk001.vmdk', 'box-disk002.vmdk'];

/** The package in a folder, with a manifest whose lines `line` writes. */
async function packageOf(
  line: (file: string, bytes: Uint8Array) => string | undefined,
): Promise<MemoryHost> {
  const host = new MemoryHost();
  await put(host, '/p/box.ovf', VIRTUALBOX);
  for (const disk of [1, 2]) {
    await createImage(await formatNamed('raw'), host, '/raw', contentOf(disk).length);
    const source = await openImage('/raw', host, { format: 'raw' });
    await source.write(0, contentOf(disk));
    const name = `box-disk00${disk}.vmdk`;
    const file = await host.openFile(`/p/${name}`, { access: 'create' });
    await writeStream(source, { file, startBytes: 0, name }, host);
  }
  const lines: string[] = [];
  for (const name of FILES) {
    const text = line(name, await bytesOf(host, `/p/${name}`));
    if (text !== undefined) lines.push(text);
  }
  if (lines.length > 0) await put(host, '/p/box.mf', lines.join('\n'));
  return host;
}

const hex = (algorithm: string, bytes: Uint8Array): string =>
  createHash(algorithm).update(bytes).digest('hex');

describe('packages of others', () => {
  for (const algorithm of ['SHA1', 'SHA256', 'SHA512'])
    it(`are sound by their manifest of ${algorithm}, and are not when a byte of any file has changed`, async () => {
      const make = () =>
        packageOf(
          (file, bytes) => `${algorithm} (${file}) = ${hex(algorithm, bytes).toUpperCase()}`,
        );
      const appliance = await openAppliance('/p/box.ovf', await make());
      assert.equal(await appliance.verify(digestOf), true);
      const [system] = appliance.ovf.systems;
      assert.deepEqual(
        [system?.name, system?.cpus, system?.memoryBytes, system?.networks],
        ['box', 2, 1024 * MIB, ['NAT']],
      );
      for (const [index, disk] of (system?.disks ?? []).entries()) {
        assert.equal(disk.id, `vmdisk${index + 1}`);
        const options = { format: disk.format ?? '', readOnly: true };
        const image = await openImage(appliance.pathOf(disk) ?? '', appliance.host, options);
        assert.ok(Buffer.compare(await readAll(image), contentOf(index + 1)) === 0);
        await image.close();
      }
      for (const name of FILES) {
        const host = await make();
        const bytes = await bytesOf(host, `/p/${name}`);
        // Within a comment of the descriptor, or the last byte of a disk.
        const at = name.endsWith('.ovf') ? VIRTUALBOX.indexOf('Debian_64') : bytes.length - 1;
        bytes[at] = (bytes[at] ?? 0) ^ 1;
        await put(host, `/p/${name}`, bytes);
        await assert.rejects(
          (await openAppliance('/p/box.ovf', host)).verify(digestOf),
          (error: ImageError) => error.kind === 'corrupt' && error.message.includes(`/p/${name}`),
        );
      }
    });

  const manifests = [
    {
      name: 'a disk that the manifest does not have',
      line: (file: string, bytes: Uint8Array) =>
        file.endsWith('2.vmdk') ? undefined : `SHA1(${file})= ${hex('sha1', bytes)}`,
      why: /does not have 'box-disk002\.vmdk'/,
    },
    {
      name: 'a manifest that names what lies elsewhere',
      line: (file: string) => `SHA1(../../etc/${file})= 00`,
      why: /outside of the package/,
    },
    {
      name: 'a manifest that names a file that is not there',
      line: () => 'SHA256(gone.vmdk)= 00',
      why: /gone\.vmdk/,
    },
  ];
  for (const { name, line, why } of manifests)
    it(`are refused: ${name}`, async () => {
      const appliance = await openAppliance('/p/box.ovf', await packageOf(line));
      await assert.rejects(appliance.verify(digestOf), why);
    });

  it('without a manifest are known to have none', async () => {
    const appliance = await openAppliance('/p/box.ovf', await packageOf(() => undefined));
    assert.equal(await appliance.verify(digestOf), false);
  });

  it('lead to nothing outside of their folder', async () => {
    const host = await packageOf(() => undefined);
    const vmdk = await formatNamed('vmdk');
    await createImage(vmdk, host, '/secret.vmdk', 2 * MIB);
    const options = { backing_file: '/secret.vmdk' };
    await createImage(vmdk, host, '/p/box-disk001.vmdk', 2 * MIB, options);
    const beside = await openImage('/p/box-disk001.vmdk', host, { format: 'vmdk', readOnly: true });
    await beside.close();
    const appliance = await openAppliance('/p/box.ovf', host);
    const [disk] = appliance.ovf.systems[0]?.disks ?? [];
    assert.ok(disk !== undefined);
    await assert.rejects(
      openImage(appliance.pathOf(disk) ?? '', appliance.host, { format: 'vmdk', readOnly: true }),
      (error: ImageError) => /secret\.vmdk: lies outside of the package/.test(error.message),
    );
  });
});
