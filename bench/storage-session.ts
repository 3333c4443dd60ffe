// Disk images: `ring0 image` and qemu-img at the same work, on files of build/bench.
import { mkdir, open, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { noise } from '#storage/testing.ts';
import { commitSession } from './commit-session.ts';
import { hashOfDisk } from './disk-hash.ts';
import { measureProcess, type ProcessCost, runToEnd } from './measured-process.ts';
import type { PeerName, Sample, Session } from './measurement.ts';
import { snapshotSessions } from './snapshot-disk.ts';
import { WarmMemory } from './warm-memory.ts';

const RING0 = fileURLToPath(new URL('../bin/ring0', import.meta.url));
const MIB = 1 << 20;

/** What is copied. All of it stays in the host's memory, source and target. */
interface Disk {
  /** Of its files, and before the names of its rows. */
  readonly prefix: string;
  readonly mib: number;
  /** Data and holes come in runs of this. */
  readonly runMib: number;
  /** The kinds of its runs, in turn. */
  readonly runs: readonly ('noise' | 'text' | 'hole')[];
}

const DISK: Disk = { prefix: '', mib: 768, runMib: 1, runs: ['noise', 'noise', 'text', 'hole'] };
/** Nearer to what users have: 1 GiB of data in 4. With 2 GiB the host began to wait for its disk. */
const LARGE: Disk = {
  ...{ prefix: 'large-', mib: 4096, runMib: 64 },
  runs: ['noise', 'hole', 'hole', 'hole', 'text', 'hole', 'hole', 'hole'],
};
/** Little else than a start of the program. */
const SMALL: Disk = { ...DISK, prefix: 'small-', mib: 16 };

/** What a run takes besides its target: a process, tables, a file system's own. */
const PROCESS_MIB = 192;
/** A conversion that takes less than this is run so often, and its quickest run counts: see README. */
const SHORT_SECONDS = 3;
const SHORT_RUNS = 4;

/** Formats that both can write. */
const FORMATS = ['raw', 'qcow2', 'vdi', 'vpc', 'vhdx', 'vmdk', 'parallels', 'qed'] as const;
type Format = (typeof FORMATS)[number];

/** Requests of 4 KiB, 16 under way. The long step lands in another unit of any format each time. */
const REQUESTS = ['-c', '100000', '-d', '16', '-s', '4k'];
const LOADS = [
  { name: 'sequential-read-4k', flags: [] },
  { name: 'random-read-4k', flags: ['-S', '37773312'] },
  { name: 'sequential-write-4k', flags: ['-w'] },
  { name: 'random-write-4k', flags: ['-w', '-S', '37773312'] },
] as const;

interface Work {
  readonly name: string;
  readonly disk: Disk;
  readonly from: Format;
  /** Arguments after `ring0 image` or `qemu-img`; TARGET is what is made. */
  args(source: string, target: string): readonly string[];
  /** Whether it makes the target, or changes the source. */
  readonly makes?: Format;
  /** The time that the program itself prints counts, not that of its start. */
  readonly isTimed?: boolean;
}

function allWork(): Work[] {
  const conversions = [DISK, LARGE].flatMap((disk) =>
    FORMATS.flatMap((from) => FORMATS.map((to) => conversion(disk, from, to))),
  );
  const compressed = [
    conversion(DISK, 'raw', 'qcow2', '-zlib', ['-c']),
    conversion(DISK, 'raw', 'qcow2', '-zstd', ['-c', '-o', 'compression_type=zstd']),
  ];
  const small = [conversion(SMALL, 'raw', 'qcow2'), conversion(SMALL, 'qcow2', 'raw')];
  const loads = (['raw', 'qcow2', 'vdi'] as const).flatMap((format) =>
    LOADS.map(
      ({ name, flags }): Work => ({
        name: `${format}-${name}`,
        disk: DISK,
        from: format,
        isTimed: true,
        args: (source) => ['bench', '-f', format, ...REQUESTS, ...flags, source],
      }),
    ),
  );
  return [...conversions, ...compressed, ...small, ...loads];
}

function conversion(
  disk: Disk,
  from: Format,
  to: Format,
  suffix = '',
  flags: readonly string[] = [],
): Work {
  return {
    name: `${disk.prefix}${from}-to-${to}${suffix}`,
    disk,
    from,
    makes: to,
    args: (source, target) => ['convert', '-f', from, '-O', to, ...flags, source, target],
  };
}

/** A session each, so that `--only` can choose. */
export function storageSessions(imageDir: string): Session[] {
  const dir = path.join(imageDir, 'storage');
  const memories = new Map<Disk, WarmMemory>();
  const memoryFor = (disk: Disk): WarmMemory => {
    const memory = memories.get(disk) ?? new WarmMemory(dir, dataMib(disk) + PROCESS_MIB);
    memories.set(disk, memory);
    return memory;
  };
  const works = allWork().map(
    (work): Session => ({
      group: 'storage',
      workloads: [work.name],
      peers: ['ring0', 'qemu'],
      run: async (peer, take) =>
        take(work.name, await runWork(work, peer, dir, memoryFor(work.disk))),
      end: async () => {
        for (const format of ['raw', work.from] as const)
          await rm(sourceFile(work.disk, format, dir), { force: true });
      },
    }),
  );
  return [...works, commitSession(dir, commandOf), ...snapshotSessions(dir, commandOf)];
}

async function runWork(
  work: Work,
  peer: PeerName,
  dir: string,
  memory: WarmMemory,
): Promise<Sample> {
  const { disk } = work;
  const source = await sourceOf(disk, work.from, dir);
  const target = path.join(dir, `target.${work.makes ?? work.from}`);
  await rm(target, { force: true });
  // A load that writes works on a copy: the source serves others.
  const file = work.isTimed === true ? target : source;
  if (work.isTimed === true) await runToEnd('cp', ['--sparse=always', source, target]);
  await settle(file);
  await memory.warm();
  const command = [...commandOf(peer), ...work.args(file, target)];
  const cost =
    work.isTimed === true ? await measureProcess(command) : await quickestRun(command, target);
  const own = /completed in ([\d.]+) seconds/.exec(cost.printed)?.[1];
  const result = await hashOfDisk(target, work.makes ?? work.from, disk.mib * MIB);
  await rm(target, { force: true });
  const { cpuSeconds, peakMib } = cost;
  return {
    seconds: work.isTimed === true ? Number(own) : cost.seconds,
    result,
    cpuSeconds,
    peakMib,
  };
}

/** Each run makes the target anew: in the memory that the last one's has just left. */
async function quickestRun(command: readonly string[], target: string): Promise<ProcessCost> {
  let best = await measureProcess(command);
  for (let run = 1; run < SHORT_RUNS && best.seconds < SHORT_SECONDS; run++) {
    await rm(target);
    const cost = await measureProcess(command);
    if (cost.seconds < best.seconds) best = cost;
  }
  return best;
}

const commandOf = (peer: PeerName): readonly string[] =>
  peer === 'ring0' ? [RING0, 'image'] : ['qemu-img'];

/** Whoever comes first would read from the disk what the other finds in memory, and wait for what was written before. */
async function settle(file: string): Promise<void> {
  await runToEnd('sync', [file]);
  await runToEnd('dd', [`if=${file}`, 'of=/dev/null', 'bs=4M', 'status=none']);
}

const kindAt = ({ runs, runMib }: Disk, mib: number): Disk['runs'][number] =>
  runs[Math.floor(mib / runMib) % runs.length] ?? 'hole';

function dataMib(disk: Disk): number {
  return (disk.mib * disk.runs.filter((kind) => kind !== 'hole').length) / disk.runs.length;
}

const sourceFile = ({ prefix, mib }: Disk, format: Format, dir: string): string =>
  path.join(dir, `${prefix}source-${mib}.${format}`);

/** Made once a run of the bench, by qemu-img where it is not raw. */
async function sourceOf(disk: Disk, format: Format, dir: string): Promise<string> {
  const file = sourceFile(disk, format, dir);
  if (await stat(file).catch(() => undefined)) return file;
  await mkdir(dir, { recursive: true });
  const unfinished = `${file}.unfinished`;
  if (format === 'raw') await writeRaw(disk, unfinished);
  else
    await runToEnd('qemu-img', [
      ...['convert', '-f', 'raw', '-O', format],
      ...[await sourceOf(disk, 'raw', dir), unfinished],
    ]);
  await runToEnd('mv', [unfinished, file]);
  return file;
}

async function writeRaw(disk: Disk, file: string): Promise<void> {
  const text = new TextEncoder().encode('what a disk holds is often text, and compresses. ');
  const handle = await open(file, 'w');
  try {
    for (let at = 0; at < disk.mib; at++) {
      const kind = kindAt(disk, at);
      if (kind === 'hole') continue;
      const block = noise(MIB, at);
      if (kind === 'text')
        for (let index = 0; index < MIB; index++)
          if (index % 64 > 7) block[index] = text[index % text.length] ?? 0;
      await handle.write(block, 0, MIB, at * MIB);
    }
    await handle.truncate(disk.mib * MIB);
  } finally {
    await handle.close();
  }
}
