// A target for packages: OVF descriptors, manifests and disks in one archive, as they come from strangers.
import { exportAppliance } from '#storage/appliance/export.ts';
import { openAppliance } from '#storage/appliance/import.ts';
import { createImage, fuzzFile } from '#storage/formats/testing.ts';
import { digestOf } from '#storage/node/digest.ts';
import { formatNamed, openImage } from '#storage/open.ts';
import { MemoryHost, noise } from '#storage/testing.ts';
import type { Target } from './images.ts';

const KIB = 1024;
const BLOCK_BYTES = 512;
/** POSIX.1-2017, pax: where a tar header has its checksum, which counts its own bytes as spaces. */
const CHECKSUM = { offset: 148, length: 8 };
const SPACE = 32;

async function makePackage(): Promise<Uint8Array> {
  const host = new MemoryHost();
  await createImage(await formatNamed('raw'), host, '/disk', 512 * KIB);
  const disk = await openImage('/disk', host, { format: 'raw' });
  await disk.write(64 * KIB, noise(100 * KIB, 1));
  const file = await host.openFile('/made', { access: 'create' });
  const machine = { name: 'm', cpus: 1, memoryBytes: 64 * KIB * KIB, networks: ['n'] };
  await exportAppliance(
    file,
    { ...machine, disks: [disk, disk] },
    { host, digest: (of, at, length) => digestOf('SHA256', of, at, length) },
  );
  const bytes = new Uint8Array(await file.size());
  await file.read(0, bytes);
  return bytes;
}

/** Makes the checksum of what looks like a header right again. */
function reseal(bytes: Uint8Array): void {
  for (let at = 0; at + BLOCK_BYTES <= bytes.length; at += BLOCK_BYTES) {
    const header = bytes.subarray(at, at + BLOCK_BYTES);
    if (new TextDecoder().decode(header.subarray(257, 262)) !== 'ustar') continue;
    const end = CHECKSUM.offset + CHECKSUM.length;
    header.fill(SPACE, CHECKSUM.offset, end);
    const sum = header.reduce((total, byte) => total + byte, 0);
    const text = `${sum.toString(8).padStart(6, '0')}\0 `;
    header.set(new TextEncoder().encode(text), CHECKSUM.offset);
  }
}

/** Looks at the manifest half of the time: what is damaged goes no further then. */
async function usePackage(host: MemoryHost, checks: boolean): Promise<void> {
  const appliance = await openAppliance('/fuzz', host);
  if (checks) await appliance.verify(digestOf);
  for (const { disks } of appliance.ovf.systems)
    for (const disk of disks) {
      const path = appliance.pathOf(disk);
      if (path === undefined || disk.format === undefined) continue;
      const image = await openImage(path, appliance.host, { format: disk.format, readOnly: true });
      const into = new Uint8Array(Math.min(image.sizeBytes, 256 * KIB));
      await image.read(0, into);
      await image.extent(0, into.length);
      await image.close();
    }
  await appliance.close();
}

let made: Promise<Uint8Array> | undefined;

export const APPLIANCE_TARGET: Target = {
  name: 'ova',
  run: async (seed, rounds) => {
    made ??= makePackage();
    const base = await made;
    // Header and text of the descriptor, the manifest, the header of a disk, all.
    const hot = [
      [0, BLOCK_BYTES],
      [BLOCK_BYTES, 6 * KIB],
      [0, 8 * KIB],
      [0, base.length],
    ] as const;
    const use = async (host: MemoryHost, random: { below(end: number): number }): Promise<void> =>
      await usePackage(host, random.below(2) === 0);
    return await fuzzFile({ base, hot, use, reseal }, seed, rounds);
  },
};
