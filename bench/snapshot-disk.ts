// How long it takes to open a disk with a long history, and in how much memory.
import { mkdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { nodeStorageHost } from '#storage/node/node-host.ts';
import { StagingHost } from '#storage/node/staging-host.ts';
import { formatNamed, openImage } from '#storage/open.ts';
import { createImage } from '#storage/ops/create.ts';
import { noise } from '#storage/testing.ts';
import { measureProcess } from './measured-process.ts';
import type { Sample, Session } from './measurement.ts';

const TIB = 2 ** 40;
const UNIT_BYTES = 64 * 1024;
/** Snapshots with the same data. */
const GROUP = 10;

interface Disk {
  readonly workload: string;
  readonly sizeBytes: number;
  readonly snapshots: number;
}

/** The first tells what a start costs: what the second takes beyond it is the opening. */
const DISKS: readonly Disk[] = [
  { workload: 'small', sizeBytes: 2 ** 30, snapshots: 0 },
  { workload: '10t-1000-snapshots', sizeBytes: 10 * TIB, snapshots: 1000 },
];

/** `commandOf` gives the program that has `info`, as qemu-img does. */
export function snapshotSessions(
  dir: string,
  commandOf: (peer: 'ring0' | 'qemu') => readonly string[],
): Session[] {
  return DISKS.map((disk) => ({
    group: 'opening',
    workloads: [disk.workload],
    peers: ['ring0', 'qemu'],
    run: async (peer, take) => {
      const file = await makeDisk(disk, dir);
      const command = commandOf(peer === 'ring0' ? 'ring0' : 'qemu');
      take(disk.workload, await open(file, command));
    },
  }));
}

async function open(file: string, command: readonly string[]): Promise<Sample> {
  const { printed, ...cost } = await measureProcess([
    ...command,
    ...['info', '-f', 'qcow2', '--output', 'json', file],
  ]);
  const info: unknown = JSON.parse(printed);
  if (typeof info !== 'object' || info === null) throw new Error(`${file}: info printed no object`);
  const snapshots = 'snapshots' in info && Array.isArray(info.snapshots) ? info.snapshots : [];
  const size = 'virtual-size' in info ? String(info['virtual-size']) : '';
  return { ...cost, result: `${size} bytes, ${snapshots.length} snapshots` };
}

/** Made once. Snapshots differ in groups: to make a table anew for each would take minutes. */
async function makeDisk({ workload, sizeBytes, snapshots }: Disk, dir: string): Promise<string> {
  const file = path.join(dir, `opening-${workload}.qcow2`);
  if (await stat(file).catch(() => undefined)) return file;
  await mkdir(dir, { recursive: true });
  const host = new StagingHost(nodeStorageHost, { flushes: false });
  try {
    const format = await formatNamed('qcow2');
    await createImage(file, host, format, { sizeBytes, options: new Map() });
    const image = await openImage(file, host, { format: 'qcow2' });
    for (let count = 0; count < snapshots; count++) {
      const at = (sizeBytes / snapshots) * count;
      if (count % GROUP === 0) await image.write(at - (at % UNIT_BYTES), noise(UNIT_BYTES, count));
      await image.snapshots?.create(`snapshot ${count}`);
    }
    await image.close();
    await host.commit();
  } finally {
    await host.abort();
  }
  return file;
}
