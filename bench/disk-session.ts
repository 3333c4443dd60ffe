// The default guest with a disk: requests of one program, past the guest's page cache, to each kind of disk and image.
import { execFile } from 'node:child_process';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { writeCpio } from '#guests/cpio.ts';
import { DEFAULT_GUEST_APPEND } from '#guests/default-append.ts';
import { ensureDefaultGuest } from '#guests/default-guest.ts';
import { noise } from '#storage/testing.ts';
import { GuestProcess } from './guest-process.ts';
import type { PeerName, Sample, Session } from './measurement.ts';
import { type Guest, qemuCommand, ring0Command } from './peers.ts';

const SOURCE = fileURLToPath(new URL('guest/disk-load.c', import.meta.url));
const TIMEOUT_S = 120;
const PROMPT = '/ # ';
const MIB = 1 << 20;
const DISK_MIB = 256;

const BUSES = ['virtio', 'nvme'] as const;
type Bus = (typeof BUSES)[number];
type Format = 'raw' | 'qcow2' | 'vdi';
/** VDI stands for the formats beside qcow2, which share what serves requests. */
const FORMATS: Readonly<Record<Bus, readonly Format[]>> = {
  virtio: ['raw', 'qcow2', 'vdi'],
  nvme: ['raw', 'qcow2'],
};

const DEVICES: Readonly<Record<Bus, string>> = { virtio: '/dev/vda', nvme: '/dev/nvme0n1' };

interface Load {
  readonly name: string;
  readonly kind: 'read' | 'write';
  readonly order: 'sequential' | 'random';
  readonly requestBytes: number;
  readonly count: number;
  readonly depth: number;
}

const both = (name: string, rest: Omit<Load, 'name' | 'kind'>): readonly [Load, Load] => [
  { name: `read-${name}`, kind: 'read', ...rest },
  { name: `write-${name}`, kind: 'write', ...rest },
];

const LOADS: readonly Load[] = [
  ...both('1m', { order: 'sequential', requestBytes: MIB, count: 2048, depth: 1 }),
  ...both('4k', { order: 'sequential', requestBytes: 4096, count: 10_000, depth: 1 }),
  ...both('random-4k', { order: 'random', requestBytes: 4096, count: 10_000, depth: 1 }),
  ...both('random-4k-x32', { order: 'random', requestBytes: 4096, count: 30_000, depth: 32 }),
];

/** A session each, so that `--only` can choose: one boot, then all the loads. */
export function diskSessions(imageDir: string): Session[] {
  const dir = path.join(imageDir, 'disks');
  return BUSES.flatMap((bus) => FORMATS[bus].map((format) => diskSession({ bus, format, dir })));
}

function diskSession(place: Place): Session {
  let isKnown = false;
  return {
    group: 'disks',
    workloads: LOADS.map(({ name }) => workloadName(place.bus, place.format, name)),
    peers: ['ring0', 'qemu'],
    run: async (peer, take) => {
      // What ring0 has translated once it keeps: rows with a cache, like those of Linux.
      if (peer === 'ring0' && !isKnown) await runDisk(peer, place, () => {});
      isKnown ||= peer === 'ring0';
      await runDisk(peer, place, take);
    },
  };
}

const workloadName = (bus: Bus, format: Format, load: string): string => `${bus}-${format}-${load}`;

interface Place {
  readonly bus: Bus;
  readonly format: Format;
  readonly dir: string;
}

async function runDisk(
  peer: PeerName,
  { bus, format, dir }: Place,
  take: (workload: string, sample: Sample) => void,
): Promise<void> {
  const guest = await makeGuest(dir);
  const disk = await makeDisk(format, dir);
  const command =
    peer === 'ring0'
      ? [...ring0Command(guest, false), '--disk', `${disk},format=${format},bus=${bus}`]
      : [...qemuCommand(guest, 'serial'), ...qemuDisk(disk, format, bus)];
  const linux = new GuestProcess(command, TIMEOUT_S);
  try {
    await linux.until(PROMPT);
    for (const load of LOADS)
      take(workloadName(bus, format, load.name), await runLoad(linux, DEVICES[bus], load));
    linux.write('poweroff\n');
    await linux.end();
  } finally {
    await linux.kill();
    await rm(disk, { force: true });
  }
}

function qemuDisk(file: string, format: Format, bus: Bus): string[] {
  const device = bus === 'virtio' ? 'virtio-blk-pci,drive=d' : 'nvme,drive=d,serial=d';
  return ['-drive', `file=${file},format=${format},if=none,id=d`, '-device', device];
}

/** Twice: the first time the guest and what runs it come to know the way. The quotes keep the echo of the line apart. */
async function runLoad(linux: GuestProcess, device: string, load: Load): Promise<Sample> {
  const span = DISK_MIB * MIB;
  const { kind, order, requestBytes, count, depth } = load;
  const run = (requests: number) =>
    `disk-load ${device} ${kind} ${order} ${requestBytes} ${requests} ${depth} ${span}`;
  linux.write(
    `${run(Math.ceil(count / 4))}; echo be''gin; ${run(count)} && echo en''d; disk-load ${device} sum ${span}\n`,
  );
  const begin = await linux.until('begin');
  const end = await linux.until('end\r\n');
  const result = (await linux.until('\r\n')).before;
  await linux.until(PROMPT);
  return { seconds: (end.atMs - begin.atMs) / 1000, result };
}

/** The default guest with the program of the loads. */
async function makeGuest(dir: string): Promise<Guest> {
  const progress = (line: string, live: boolean) => {
    if (!live) process.stderr.write(`${line}\n`);
  };
  const { kernel, initrd } = await ensureDefaultGuest({ env: process.env, progress });
  await mkdir(dir, { recursive: true });
  const program = path.join(dir, 'disk-load');
  await output('gcc', ['-O2', '-static', '-s', '-o', program, SOURCE]);
  // Linux unpacks archives one after the other.
  const file = path.join(dir, 'initrd.cpio');
  const added = writeCpio([
    { type: 'file', path: 'bin/disk-load', mode: 0o755, bytes: await readFile(program) },
  ]);
  await writeFile(file, Buffer.concat([await readFile(initrd), added]));
  return { kernel, initrd: file, append: DEFAULT_GUEST_APPEND };
}

/** A copy of a disk full of noise, so that no request needs new room. */
async function makeDisk(format: Format, dir: string): Promise<string> {
  const source = path.join(dir, `source.${format}`);
  if ((await stat(source).catch(() => undefined)) === undefined) {
    const unfinished = `${source}.unfinished`;
    await writeFile(unfinished, '');
    for (let at = 0; at < DISK_MIB; at++)
      await writeFile(unfinished, noise(MIB, at), { flag: 'a' });
    if (format !== 'raw') {
      await output('qemu-img', ['convert', '-f', 'raw', '-O', format, unfinished, source]);
      await rm(unfinished);
    } else await rename(unfinished, source);
  }
  const disk = path.join(dir, `disk.${format}`);
  await output('cp', [source, disk]);
  return disk;
}

async function output(file: string, args: readonly string[]): Promise<void> {
  await promisify(execFile)(file, args, { timeout: TIMEOUT_S * 1000 });
}
