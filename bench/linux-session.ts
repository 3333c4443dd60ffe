// The default guest, driven over its serial console as a user would: one boot, then the workloads at its shell.
import { DEFAULT_GUEST_APPEND } from '#guests/default-append.ts';
import { type DefaultGuest, ensureDefaultGuest } from '#guests/default-guest.ts';
import { GuestProcess } from './guest-process.ts';
import type { Sample, Session } from './measurement.ts';
import { type Guest, qemuCommand, ring0Command } from './peers.ts';
import { longestPauseMs } from './ring0-stats.ts';

const TIMEOUT_S = 120;
const PROMPT = '/ # ';

interface ShellWorkload {
  readonly name: string;
  /** Done before the clock starts. */
  readonly prepare?: string;
  readonly command: string;
  /** Prints the result, one line, after the clock has stopped. */
  readonly check: string;
}

/** Copies of busybox, which is above 1 MiB: machine code, which compresses as programs do; zeros would be over at once. */
const repeatBusybox = (bytes: number, file: string): string =>
  `for i in $(seq 64); do cat /bin/busybox; done | head -c ${bytes} > ${file}`;

const WORKLOADS: readonly ShellWorkload[] = [
  {
    name: 'shell-loop',
    command: 'i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done',
    check: 'echo $i',
  },
  {
    name: 'sha256sum',
    prepare: repeatBusybox(64 << 20, '/data'),
    command: 'sha256sum /data > /sum',
    check: 'cat /sum',
  },
  {
    name: 'gzip',
    prepare: repeatBusybox(8 << 20, '/data'),
    command: 'gzip < /data > /data.gz',
    check: 'zcat /data.gz | sha256sum',
  },
];

const NAMES = ['boot', ...WORKLOADS.map(({ name }) => name)];
/** Marks what runs without code from earlier runs. */
const ANEW = '-anew';
/** The longest that the guest of such a run waits for translated code to be put in place: no other program has the like. */
const STALL = 'longest-stall';

/** Runs before the first that is measured: each leaves code for the next, and what the first leaves is used anew. */
const WARM_UPS = 2;

function defaultGuest(env: NodeJS.ProcessEnv): Promise<DefaultGuest> {
  return ensureDefaultGuest({
    env,
    progress: (line, live) => {
      if (!live) process.stderr.write(`${line}\n`);
    },
  });
}

const imageOf = ({ kernel, initrd }: DefaultGuest): Guest => ({
  kernel,
  initrd,
  append: DEFAULT_GUEST_APPEND,
});

export function linuxSession(env: NodeJS.ProcessEnv): Session {
  let guest: Promise<DefaultGuest> | undefined;
  let warmUps = 0;
  return {
    group: 'linux',
    workloads: [...NAMES.flatMap((name) => [name, `${name}${ANEW}`]), STALL],
    peers: ['ring0', 'qemu'],
    async run(peer, take) {
      guest ??= defaultGuest(env);
      const image = imageOf(await guest);
      if (peer !== 'ring0') {
        // Nothing outlives a run of QEMU's: one run counts for both.
        const takeBoth = (workload: string, sample: Sample) => {
          take(workload, sample);
          take(`${workload}${ANEW}`, sample);
        };
        await runLinux(qemuCommand(image, 'serial'), takeBoth);
        return;
      }
      const errors = await runLinux(ring0Command(image, true), (name, sample) =>
        take(`${name}${ANEW}`, sample),
      );
      const ms = longestPauseMs(errors);
      if (ms === undefined) throw new Error('there are no statistics of translated code');
      take(STALL, { seconds: ms / 1000, result: 'prompt' });
      for (; warmUps < WARM_UPS; warmUps++) await runLinux(ring0Command(image, false), () => {});
      await runLinux(ring0Command(image, false), take);
    },
  };
}

/** Answers what the command wrote to standard error. */
async function runLinux(
  command: string[],
  take: (workload: string, sample: Sample) => void,
): Promise<string> {
  const linux = new GuestProcess(command, TIMEOUT_S);
  try {
    const prompt = await linux.until(PROMPT);
    take('boot', { seconds: (prompt.atMs - linux.startedMs) / 1000, result: 'prompt' });
    for (const workload of WORKLOADS) take(workload.name, await runAtShell(linux, workload));
    linux.write('poweroff\n');
    return await linux.end();
  } finally {
    await linux.kill();
  }
}

/** The quotes keep the terminal's echo of the line from looking like its output. */
async function runAtShell(linux: GuestProcess, workload: ShellWorkload): Promise<Sample> {
  const { prepare = ':', command, check } = workload;
  linux.write(`${prepare}; echo be''gin; ${command}; echo en''d; ${check}\n`);
  const begin = await linux.until('begin');
  const end = await linux.until('end\r\n');
  const result = (await linux.until('\r\n')).before;
  await linux.until(PROMPT);
  return { seconds: (end.atMs - begin.atMs) / 1000, result };
}
