import { type BigIntStats, type StatsFs, stat, statfs } from 'node:fs';
import path from 'node:path';
import { promised } from '#base/node/promised.ts';
import { formatSize } from '#base/units.ts';

/** A disk in a file that is there, or that is to be made. */
export interface ThinDisk {
  readonly file: string;
  readonly sizeBytes: number;
}

/** A file system, and the disks in it. */
export interface Pool {
  readonly files: readonly string[];
  readonly freeBytes: number;
  /** What the files do not take yet of what their disks hold. */
  readonly growthBytes: number;
}

type Counted = { -readonly [key in keyof Pool]: Pool[key] } & { readonly files: string[] };

/** A line for each file system that has less room left than these disks, together, may come to take. */
export async function overSubscribed(disks: readonly ThinDisk[]): Promise<string[]> {
  return (await poolsOf(disks))
    .filter(({ growthBytes, freeBytes }) => growthBytes > freeBytes)
    .map(
      ({ files, growthBytes, freeBytes }) =>
        `${files.join(', ')}: may grow by ${formatSize(growthBytes)}, and the file system has ${formatSize(freeBytes)} left; make room before it is full`,
    );
}

export async function poolsOf(disks: readonly ThinDisk[]): Promise<readonly Pool[]> {
  const pools = new Map<bigint, Counted>();
  for (const disk of disks) await addTo(pools, disk);
  return [...pools.values()];
}

/** What is no plain file, a block device for one, has its room already. */
async function addTo(pools: Map<bigint, Counted>, { file, sizeBytes }: ThinDisk): Promise<void> {
  const folder = path.dirname(path.resolve(file));
  const [info, folderInfo, space] = await Promise.all([
    statsOf(file),
    statsOf(folder),
    promised<StatsFs>((done) => statfs(folder, done)).catch(() => undefined),
  ]);
  const device = info?.dev ?? folderInfo?.dev;
  if (space === undefined || device === undefined || info?.isFile() === false) return;
  const takenBytes = info === undefined ? 0 : Number(info.blocks) * 512;
  const pool = pools.get(device) ?? {
    freeBytes: space.bavail * space.bsize,
    growthBytes: 0,
    files: [],
  };
  pool.growthBytes += Math.max(0, sizeBytes - takenBytes);
  pool.files.push(file);
  pools.set(device, pool);
}

function statsOf(file: string): Promise<BigIntStats | undefined> {
  return promised<BigIntStats>((done) => stat(file, { bigint: true }, done)).catch(() => undefined);
}
