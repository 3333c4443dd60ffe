import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { RequestError } from '#base/errors.ts';
import { exportAppliance } from '#storage/appliance/export.ts';
import { type Appliance, openAppliance } from '#storage/appliance/import.ts';
import type { OvfDisk, OvfSystem } from '#storage/appliance/ovf.ts';
import type { DiskImage, StorageHost } from '#storage/image.ts';
import { copyHost } from '#storage/node/copy-host.ts';
import { digestOf } from '#storage/node/digest.ts';
import { nodeStorageHost } from '#storage/node/node-host.ts';
import { formatNamed, openImage } from '#storage/open.ts';
import { concatenated } from '#storage/ops/concat.ts';
import { copyDisk } from '#storage/ops/copy.ts';
import { createImage } from '#storage/ops/create.ts';
import { closeAll, type ImageContext, openNamed, STATUS_OK, say } from '../image/context.ts';
import { countFlag, sizeFlag } from '../image/flags.ts';
import { checkCreatable, withStaging } from '../image/new-image.ts';
import { sizeText } from '../image/size-text.ts';

export interface ImportFlags {
  readonly output: string;
  readonly targetFormat: string;
  readonly progress?: boolean;
}

export interface ExportFlags {
  readonly name?: string;
  readonly format?: string;
  readonly memory: string;
  readonly cpus: string;
}

const MAX_CPUS = 4096;

/** `ring0 appliance info`. */
export async function applianceInfo(file: string, context: ImageContext): Promise<number> {
  const appliance = await openAppliance(file, nodeStorageHost);
  try {
    const isVerified = await appliance.verify(digestOf);
    for (const system of appliance.ovf.systems) say(context, describe(system));
    say(context, `manifest: ${isVerified ? 'all files are as they were made' : 'none'}`);
  } finally {
    await appliance.close();
  }
  return STATUS_OK;
}

function describe(system: OvfSystem): string {
  const lines = [
    `machine: ${system.name}`,
    `processors: ${system.cpus}`,
    `memory: ${sizeText(system.memoryBytes)}`,
    ...system.disks.map(
      ({ id, file, capacityBytes, format }) =>
        `disk ${id}: ${sizeText(capacityBytes)}, ${file === undefined ? 'empty' : `${format ?? 'unknown format'} in ${file}`}`,
    ),
    ...system.networks.map((name) => `network card: on '${name}'`),
  ];
  return lines.join('\n');
}

/** `ring0 appliance import`. */
export async function applianceImport(
  file: string,
  flags: ImportFlags,
  context: ImageContext,
): Promise<number> {
  const format = await formatNamed(flags.targetFormat);
  checkCreatable(format);
  const appliance = await openAppliance(file, nodeStorageHost);
  try {
    if (!(await appliance.verify(digestOf)))
      context.host.stderr.write(`ring0: warning: ${file}: has no manifest to be checked with\n`);
    await mkdir(flags.output, { recursive: true });
    await withStaging(true, new Map(), async (host) => {
      const taken = new Set<string>();
      for (const { disks } of appliance.ovf.systems)
        for (const disk of disks) {
          const name = freeName(nameOf(file, disk), taken);
          const target = path.join(flags.output, `${name}.${format.name}`);
          await createImage(target, host, format, {
            sizeBytes: disk.capacityBytes,
            options: new Map(),
          });
          const image = await openImage(target, host, { format: format.name });
          await copy(appliance, disk, image, context).finally(() => image.close());
          say(context, target);
        }
    });
  } finally {
    await appliance.close();
  }
  return STATUS_OK;
}

/** The name or, where another disk has it, the name and a number; taken from now on. */
function freeName(name: string, taken: Set<string>): string {
  let free = name;
  for (let number = 2; taken.has(free); number++) free = `${name}-${number}`;
  taken.add(free);
  return free;
}

/** The name of the disk's file without its ending: it has been checked to be no path. */
function nameOf(file: string, disk: OvfDisk): string {
  const name = disk.file ?? `${path.basename(file, path.extname(file))}-${disk.id}`;
  return path.basename(name, path.extname(name)).replace(/[/\\]/g, '-');
}

async function copy(
  appliance: Appliance,
  disk: OvfDisk,
  target: DiskImage,
  context: ImageContext,
): Promise<void> {
  const name = appliance.pathOf(disk);
  if (name === undefined) return;
  const source = await openImage(name, appliance.host, {
    readOnly: true,
    probe: true,
    ...(disk.format === undefined ? {} : { format: disk.format }),
  });
  try {
    context.progress.start(source.sizeBytes);
    await copyDisk({
      source: concatenated([source]),
      target,
      sparseBytes: 4096,
      targetIsZero: true,
      host: copyHost,
      signal: context.signal,
      onProgress: (bytes) => context.progress.add(bytes),
    });
    context.progress.end();
  } finally {
    await source.close();
  }
}

/** `ring0 appliance export`. */
export async function applianceExport(
  file: string,
  disks: readonly string[],
  flags: ExportFlags,
  context: ImageContext,
): Promise<number> {
  const memoryBytes = sizeFlag(flags.memory, 'memory') ?? 0;
  if (memoryBytes === 0 || memoryBytes % 2 ** 20 !== 0)
    throw new RequestError(`'${flags.memory}' does not fit; give whole MiB`, 'memory');
  const cpus = countFlag(flags.cpus, 'cpus', MAX_CPUS);
  const name = flags.name ?? path.basename(file, path.extname(file));
  const opened: DiskImage[] = [];
  try {
    for (const disk of disks) opened.push(await openNamed(disk, context, { format: flags.format }));
    const request = { name, cpus, memoryBytes, networks: ['NAT'], disks: opened };
    await withStaging(true, new Map(), (host) => writePackage(file, request, host));
  } finally {
    await closeAll(opened);
  }
  return STATUS_OK;
}

async function writePackage(
  file: string,
  request: Parameters<typeof exportAppliance>[1],
  host: StorageHost,
): Promise<void> {
  const out = await host.openFile(file, { access: 'create' });
  try {
    await exportAppliance(out, request, {
      host,
      digest: (of, offset, length) => digestOf('SHA256', of, offset, length),
    });
  } finally {
    await out.close();
  }
}
