// A bare-metal kernel as a session: the image prints `begin`, and `end` with its result; the time between is the sample.
import { GuestProcess } from './guest-process.ts';
import type { Kernel, Target } from './kernels.ts';
import { buildKernel, supports } from './kernels.ts';
import type { Group, PeerName, Sample, Session } from './measurement.ts';
import { qemuCommand, ring0Command } from './peers.ts';
import { parseStats } from './ring0-stats.ts';
import { v86Command } from './v86.ts';

/** A kernel takes a second or so; this is for peers a hundred times slower. */
const TIMEOUT_S = 120;
/** Where a kernel takes less than this, what else the machine does decides: it runs again, on whatever peer. */
const STEADY_SECONDS = 0.1;
const MOST_RUNS = 5;

const PEERS_OF: Readonly<Record<'metal64' | 'metal32', readonly PeerName[]>> = {
  metal64: ['ring0', 'qemu', 'native'],
  metal32: ['ring0', 'qemu', 'v86'],
};

export function kernelSession(
  kernel: Kernel,
  group: 'metal64' | 'metal32',
  imageDir: string,
): Session {
  const peers = PEERS_OF[group].filter((peer) => supports(kernel, targetOf(peer, group)));
  return {
    group,
    workloads: [kernel.name],
    peers,
    async run(peer, take) {
      const image = await buildKernel(kernel, targetOf(peer, group), imageDir);
      let runs = 0;
      let seconds = 0;
      while (runs === 0 || (seconds < runs * STEADY_SECONDS && runs < MOST_RUNS)) {
        const sample = await runImage(peer, image);
        take(kernel.name, sample);
        seconds += sample.seconds;
        runs++;
      }
    },
  };
}

function targetOf(peer: PeerName, group: Group): Target {
  if (peer === 'native') return 'linux';
  if (peer === 'v86') return 'v86';
  return group === 'metal32' ? 'metal32' : 'metal64';
}

function commandFor(peer: PeerName, kernel: string): readonly string[] {
  switch (peer) {
    case 'ring0':
      return ring0Command({ kernel }, true);
    case 'qemu':
      return qemuCommand({ kernel }, 'debugcon');
    case 'v86':
      return v86Command(kernel);
    default:
      return [kernel];
  }
}

async function runImage(peer: PeerName, image: string): Promise<Sample> {
  const guest = new GuestProcess(commandFor(peer, image), TIMEOUT_S);
  try {
    const begin = await guest.until('begin\n');
    const end = await guest.until('end ');
    const result = (await guest.until('\n')).before;
    const seconds = peer === 'native' ? await ownSeconds(guest) : (end.atMs - begin.atMs) / 1000;
    const errors = await guest.end();
    return { seconds, result, ...(peer === 'ring0' ? parseStats(errors) : {}) };
  } finally {
    await guest.kill();
  }
}

async function ownSeconds(guest: GuestProcess): Promise<number> {
  await guest.until('took ');
  return Number((await guest.until(' ns')).before) / 1e9;
}
