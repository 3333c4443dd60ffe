// What changed in a disk goes to the image behind it.
import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { noise } from '#storage/testing.ts';
import { hashOfDisk } from './disk-hash.ts';
import { measureProcess, runToEnd } from './measured-process.ts';
import type { Sample, Session } from './measurement.ts';
import { WarmMemory } from './warm-memory.ts';

const DISK_BYTES = 256 << 20;
const CHANGED_BYTES = 192 << 20;
/** What the images and a process take. */
const MEMORY_MIB = 512;

/** `commandOf` gives the program that has `commit`, as qemu-img does. */
export function commitSession(
  dir: string,
  commandOf: (peer: 'ring0' | 'qemu') => readonly string[],
): Session {
  const memory = new WarmMemory(dir, MEMORY_MIB);
  return {
    group: 'storage',
    workloads: ['commit'],
    peers: ['ring0', 'qemu'],
    run: async (peer, take) =>
      take('commit', await commit(dir, memory, commandOf(peer === 'ring0' ? 'ring0' : 'qemu'))),
    end: async () => {
      for (const file of imagesIn(dir).flatMap((image) => [image, `${image}.whole`]))
        await rm(file, { force: true });
    },
  };
}

const imagesIn = (dir: string) =>
  [path.join(dir, 'commit-base.qcow2'), path.join(dir, 'commit-top.qcow2')] as const;

/** Each run empties the image above, and works on copies. */
async function commit(
  dir: string,
  memory: WarmMemory,
  command: readonly string[],
): Promise<Sample> {
  const [base, top] = imagesIn(dir);
  if (!(await stat(`${top}.whole`).catch(() => undefined))) await make(dir, base, top);
  for (const file of [base, top]) await runToEnd('cp', ['--sparse=always', `${file}.whole`, file]);
  await runToEnd('sync', [base, top]);
  await memory.warm();
  const cost = await measureProcess([...command, 'commit', '-f', 'qcow2', top]);
  const { seconds, cpuSeconds, peakMib } = cost;
  return { seconds, cpuSeconds, peakMib, result: await hashOfDisk(base, 'qcow2', DISK_BYTES) };
}

async function make(dir: string, base: string, top: string): Promise<void> {
  await mkdir(dir, { recursive: true });
  const raw = path.join(dir, 'commit.raw');
  await writeFile(raw, noise(CHANGED_BYTES, 1));
  const qemu = (...args: string[]) => runToEnd('qemu-img', args);
  await qemu('resize', '-f', 'raw', raw, String(DISK_BYTES));
  await qemu('create', '-f', 'qcow2', base, String(DISK_BYTES));
  await qemu('convert', '-f', 'raw', '-O', 'qcow2', '-B', base, '-F', 'qcow2', raw, top);
  await rm(raw);
  for (const file of [base, top]) await runToEnd('mv', [file, `${file}.whole`]);
}
