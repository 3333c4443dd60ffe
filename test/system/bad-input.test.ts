import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { smallKernel } from '../guests/small-kernel.ts';

// What goes wrong around a real process: each has one clear line, its exit status, a restored terminal, and leaves nothing.

const RING0 = fileURLToPath(new URL('../../bin/ring0.mjs', import.meta.url));
const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-bad-'));
after(() => rmSync(dir, { recursive: true }));
const file = (name: string, bytes: Uint8Array | string): string => {
  const name2 = path.join(dir, name);
  writeFileSync(name2, bytes);
  return name2;
};

const spinning = file(
  'spinning',
  smallKernel('_start: mov $0x3f8, %dx\nout %al, (%dx)\n1: add $1, %eax\njmp 1b\n'),
);
const halting = file(
  'halting',
  smallKernel('_start: mov $0x3f8, %dx\nout %al, (%dx)\ncli\n1: hlt\njmp 1b\n'),
);
const crashing = file('crashing', smallKernel('_start: lidt none\nud2\nnone: .word 0\n.long 0\n'));

interface Outcome {
  readonly status: number | null;
  readonly stderr: string;
}

function ring0(...args: string[]): Outcome {
  const { status, stderr } = spawnSync(process.execPath, [RING0, 'run', ...args], {
    encoding: 'utf8',
    timeout: 300_000,
    input: '',
  });
  return { status, stderr };
}

describe('files and sizes that are wrong', () => {
  const good = readFileSync(spinning);
  const foreign = Uint8Array.from(good);
  foreign[18] = 0xb7; // EM_AARCH64
  const linux = new Uint8Array(4096);
  linux.set([0x48, 0x64, 0x72, 0x53], 0x202); // HdrS, and nothing behind it
  const big = file('big', new Uint8Array(3 << 20));
  const cases: { name: string; args: string[]; message: RegExp }[] = [
    {
      name: 'no such kernel',
      args: ['-k', `${dir}/none`],
      message: /^ring0: --kernel: .*no such file/,
    },
    {
      name: 'a kernel cut off',
      args: ['-k', file('cut', good.subarray(0, 60))],
      message: /^ring0: --kernel: the ELF file ends inside/,
    },
    {
      name: 'a kernel for another processor',
      args: ['-k', file('foreign', foreign)],
      message: /^ring0: --kernel: the ELF file is for another processor; give one for x86/,
    },
    {
      name: 'a program',
      args: ['-k', process.execPath],
      message:
        /^ring0: --kernel: the ELF file is a program for a running system, not a kernel; give/,
    },
    {
      name: 'no kernel at all',
      args: ['-k', file('text', 'hello'.repeat(1000))],
      message: /^ring0: --kernel: it is neither a bzImage nor an ELF or Multiboot file; give/,
    },
    {
      name: 'an old Linux',
      args: ['-k', file('linux', linux)],
      message: /^ring0: --kernel: the kernel is too old; give/,
    },
    {
      name: 'an initrd too large for the memory',
      args: ['-k', spinning, '-i', big, '-m', '2M'],
      message: /^ring0: --initrd: .*big: 3 MiB does not fit in a memory of 2 MiB; give more memory/,
    },
    {
      name: 'no memory',
      args: ['-k', spinning, '-m', '0'],
      message: /^ring0: --memory: '0' is no memory/,
    },
    {
      name: 'too much memory',
      args: ['-k', spinning, '-m', '1T'],
      message: /^ring0: --memory: (1024 GiB|1 TiB|'1T') is /,
    },
    {
      name: 'an unknown flag',
      args: ['--kernle', 'x'],
      message: /^ring0: unknown flag '--kernle'; did you mean --kernel/,
    },
    {
      name: 'a trace without room',
      args: ['-k', spinning, '-c', 'none', '--trace', 'insn:/dev/full'],
      message: /^ring0: --trace: \/dev\/full: the disk is full; make room/,
    },
  ];
  for (const { name, args, message } of cases)
    it(name, () => {
      const { status, stderr } = ring0(...args);
      assert.match(stderr, message);
      assert.match(stderr, /^[^\n]+\n$/, 'one line');
      assert.equal(status, 1);
    });

  it('the smallest memory is enough for a small kernel', () => {
    const { status, stderr } = ring0('-k', crashing, '-m', '2M', '--no-dump');
    assert.equal(status, 2, stderr);
  });
});

/** A ring0 in a process group of its own, whose guest has printed something. */
class Running {
  readonly process: ChildProcess;
  readonly ended: Promise<unknown>;

  constructor(args: readonly string[]) {
    this.process = spawn(process.execPath, [RING0, 'run', ...args], {
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    this.ended = once(this.process, 'exit');
  }

  async started(): Promise<void> {
    if (this.process.stdout !== null) await once(this.process.stdout, 'data');
  }

  signal(name: NodeJS.Signals): void {
    if (this.process.pid !== undefined) process.kill(-this.process.pid, name);
  }

  /** Waits for the end; true when no process of the group is left. */
  async leavesNothing(): Promise<boolean> {
    await this.ended;
    for (let i = 0; i < 500; i++) {
      try {
        this.signal('SIGCONT');
      } catch {
        return true;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return false;
  }
}

describe('a guest that does not end', { timeout: 300_000 }, () => {
  for (const [name, kernel, signals] of [
    ['spins', spinning, ['SIGINT', 'SIGTERM', 'SIGHUP']],
    ['sleeps', halting, ['SIGINT']],
  ] as const) {
    it(`that ${name} ends at the timeout`, async () => {
      const running = new Running(['-k', kernel, '--timeout', '1']);
      await running.ended;
      assert.equal(running.process.exitCode, 124);
      assert.ok(await running.leavesNothing());
    });

    for (const signal of signals) {
      it(`that ${name} ends by ${signal}`, async () => {
        const running = new Running(['-k', kernel]);
        await running.started();
        running.signal(signal);
        await running.ended;
        assert.equal(running.process.exitCode, 128 + os.constants.signals[signal]);
        assert.ok(await running.leavesNothing());
      });
    }
  }

  for (const delayMs of [0, 100, 300]) {
    it(`ends by SIGINT ${delayMs} ms after its start`, async () => {
      const running = new Running(['-k', spinning]);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      running.signal('SIGINT');
      await running.ended;
      const { exitCode, signalCode } = running.process;
      assert.ok(exitCode === 130 || signalCode === 'SIGINT', `${exitCode} ${signalCode}`);
      assert.ok(await running.leavesNothing());
    });
  }
});

describe('standard streams', { timeout: 300_000 }, () => {
  /** For a guest that is not to end by its time, however busy the host is. */
  const ENOUGH_SECONDS = 200;

  /** Exit status with these streams, of a guest that prints and then runs on. */
  function withStreams(
    [stdin, stdout, stderr]: readonly [string, string, string],
    seconds = 1,
  ): number | null {
    const fds = [openSync(stdin, 'r'), openSync(stdout, 'w'), openSync(stderr, 'w')];
    try {
      const args = [RING0, 'run', '-k', spinning, '-t', `${seconds}`, '--stats'];
      return spawnSync(process.execPath, args, { stdio: fds, timeout: 300_000 }).status;
    } finally {
      for (const fd of fds) closeSync(fd);
    }
  }

  const cases = [
    { name: 'all nothing', streams: ['/dev/null', '/dev/null', '/dev/null'], status: 124 },
    { name: 'input without end', streams: ['/dev/zero', '/dev/null', '/dev/null'], status: 124 },
    { name: 'output without room', streams: ['/dev/null', '/dev/full', '/dev/null'], status: 1 },
    {
      name: 'messages without room',
      streams: ['/dev/null', '/dev/null', '/dev/full'],
      status: 124,
    },
  ] as const;
  for (const { name, streams, status } of cases)
    it(name, () => assert.equal(withStreams(streams, status === 124 ? 1 : ENOUGH_SECONDS), status));

  it('output without room is said', () => {
    const errors = path.join(dir, 'errors');
    withStreams(['/dev/null', '/dev/full', errors], ENOUGH_SECONDS);
    const said = readFileSync(errors, 'utf8').match(/^.*standard output.*$/gm);
    assert.equal(said?.length, 1);
    assert.match(said[0] ?? '', /^ring0: standard output: the disk is full; make room/);
  });

  for (const args of [['--help'], ['explain', '--code', '90'], ['guest', '--help']])
    it(`${args.join(' ')} without room is a failure that is said`, () => {
      const full = openSync('/dev/full', 'w');
      const { status, stderr } = spawnSync(process.execPath, [RING0, ...args], {
        stdio: ['ignore', full, 'pipe'],
        encoding: 'utf8',
      });
      closeSync(full);
      assert.equal(status, 1);
      assert.equal(stderr, 'ring0: cannot write to standard output: no space left on device\n');
    });
});

describe('a terminal', { timeout: 300_000 }, () => {
  const script = spawnSync('script', ['--version']).status === 0;
  const cases = [
    { name: 'the timeout', args: `-k ${spinning} -t 1`, status: 124 },
    { name: 'a crash', args: `-k ${crashing} --no-dump`, status: 2 },
    { name: 'a trace without room', args: `-k ${spinning} --trace insn:/dev/full`, status: 1 },
    { name: 'a wrong request', args: '-k /nonexistent', status: 1 },
  ];
  for (const { name, args, status } of cases)
    it(`is as it was after ${name}`, { skip: !script }, () => {
      const command = `a=$(stty -g); ${process.execPath} ${RING0} run ${args}; s=$?; test "$a" = "$(stty -g)" && echo "same $s"`;
      const { stdout } = spawnSync('script', ['-qec', `sh -c '${command}'`, '/dev/null'], {
        encoding: 'utf8',
        input: '',
        timeout: 300_000,
      });
      assert.match(stdout, new RegExp(`same ${status}\\s*$`));
    });
});
