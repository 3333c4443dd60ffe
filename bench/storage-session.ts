// Disk images: `ring0 image` and qemu-img at the same work, on files of build/bench.
import { createHash } from 'node:crypto';
import { mkdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeStorageHost } from '#storage/node/node-host.ts';
import { openImage } from '#storage/open.ts';
import { noise } from '#storage/testing.ts';
import { measureProcess, type ProcessCost, runToEnd } from './measured-process.ts';
import type { PeerName, Sample, Session } from './measurement.ts';
import { snapshotSessions } from './snapshot-disk.ts';
import { WarmMemory } from './warm-memory.ts';

const RING0 = fileURLToPath(new URL('../bin/ring0.mjs', import.meta.url));
const MIB = 1 << 20;
/** Long beside a start of the program, and few enough for the host to keep source and target in memory. */
const DISK_MIB = 768;
/** What a run takes besides its target: a process, tables, a file system's own. */
const PROCESS_MIB = 192;
/** A conversion that takes less than this is run so often, and its quickest run counts: see README. */
const SHORT_SECONDS = 3;
const SHORT_RUNS = 4;

/** Formats that both can write. */
const FORMATS = ['raw', 'qcow2', 'vdi', 'vpc', 'vhdx', 'vmdk'] as const;
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
  readonly from: Format;
  /** Arguments after `ring0 image` or `qemu-img`; TARGET is what is made. */
  args(source: string, target: string): readonly string[];
  /** Whether it makes the target, or changes the source. */
  readonly makes?: Format;
  /** The time that the program itself prints counts, not that of its start. */
  readonly isTimed?: boolean;
}

function allWork(): Work[] {
  const conversions = FORMATS.flatMap((from) =>
    FORMATS.map((to) => conversion(`${from}-to-${to}`, from, to, [])),
  );
  const compressed = [
    conversion('raw-to-qcow2-zlib', 'raw', 'qcow2', ['-c']),
    conversion('raw-to-qcow2-zstd', 'raw', 'qcow2', ['-c', '-o', 'compression_type=zstd']),
  ];
  const loads = (['raw', 'qcow2'] as const).flatMap((format) =>
    LOADS.map(
      ({ name, flags }): Work => ({
        name: `${format}-${name}`,
        from: format,
        isTimed: true,
        args: (source) => ['bench', '-f', format, ...REQUESTS, ...flags, source],
      }),
    ),
  );
  return [...conversions, ...compressed, ...loads];
}

function conversion(name: string, from: Format, to: Format, flags: readonly string[]): Work {
  return {
    name,
    from,
    makes: to,
    args: (source, target) => ['convert', '-f', from, '-O', to, ...flags, source, target],
  };
}

/** A session each, so that `--only` can choose. */
export function storageSessions(imageDir: string): Session[] {
  const dir = path.join(imageDir, 'storage');
  const memory = new WarmMemory(dir, DISK_MIB + PROCESS_MIB);
  const works = allWork().map(
    (work): Session => ({
      group: 'storage',
      workloads: [work.name],
      peers: ['ring0', 'qemu'],
      run: async (peer, take) => take(work.name, await runWork(work, peer, dir, memory)),
    }),
  );
  return [...works, ...snapshotSessions(dir, commandOf)];
}

async function runWork(
  work: Work,
  peer: PeerName,
  dir: string,
  memory: WarmMemory,
): Promise<Sample> {
  const source = await sourceOf(work.from, dir);
  const target = path.join(dir, `target.${work.makes ?? work.from}`);
  await rm(target, { force: true });
  // A load that writes works on a copy: the source serves others.
  const disk = work.isTimed === true ? target : source;
  if (work.isTimed === true) await runToEnd('cp', ['--sparse=always', source, target]);
  await settle(disk);
  await memory.warm();
  const command = [...commandOf(peer), ...work.args(disk, target)];
  const cost =
    work.isTimed === true ? await measureProcess(command) : await quickestRun(command, target);
  const own = /completed in ([\d.]+) seconds/.exec(cost.printed)?.[1];
  const result = await hashOf(target, work.makes ?? work.from);
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
  peer === 'ring0' ? [process.execPath, RING0, 'image'] : ['qemu-img'];

/** Whoever comes first would read from the disk what the other finds in memory, and wait for what was written before. */
async function settle(file: string): Promise<void> {
  await runToEnd('sync', [file]);
  await runToEnd('dd', [`if=${file}`, 'of=/dev/null', 'bs=4M', 'status=none']);
}

/** Half noise, a quarter of text that compresses, a quarter holes; made once, by qemu-img where it is not raw. */
async function sourceOf(format: Format, dir: string): Promise<string> {
  const file = path.join(dir, `source-${DISK_MIB}.${format}`);
  if (await stat(file).catch(() => undefined)) return file;
  await mkdir(dir, { recursive: true });
  const unfinished = `${file}.unfinished`;
  if (format === 'raw') await writeRaw(unfinished);
  else
    await runToEnd('qemu-img', [
      ...['convert', '-f', 'raw', '-O', format],
      ...[await sourceOf('raw', dir), unfinished],
    ]);
  await runToEnd('mv', [unfinished, file]);
  return file;
}

async function writeRaw(file: string): Promise<void> {
  await writeFile(file, '');
  const text = new TextEncoder().encode('what a disk holds is often text, and compresses. ');
  for (let at = 0; at < DISK_MIB; at++) {
    if (at % 4 === 3) continue;
    const block = noise(MIB, at);
    if (at % 4 === 2)
      for (let index = 0; index < MIB; index++)
        if (index % 64 > 7) block[index] = text[index % text.length] ?? 0;
    await writeFile(file, Buffer.alloc(0), { flag: 'a' });
    await truncate(file, at * MIB);
    await writeFile(file, block, { flag: 'a' });
  }
  await truncate(file, DISK_MIB * MIB);
}

async function hashOf(file: string, format: Format): Promise<string> {
  const image = await openImage(file, nodeStorageHost, { format, readOnly: true });
  const hash = createHash('sha256');
  const chunk = new Uint8Array(MIB);
  try {
    for (let at = 0; at < DISK_MIB * MIB; at += MIB) {
      await image.read(at, chunk);
      hash.update(chunk);
    }
  } finally {
    await image.close();
  }
  return hash.digest('hex').slice(0, 16);
}
