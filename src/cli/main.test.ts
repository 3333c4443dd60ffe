import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { after, describe, it } from 'node:test';
import { RequestError } from '#base/errors.ts';
import { MIB } from '#base/units.ts';
import type { DiskStatus, Vm, VmConfig, VmExit } from '#control/vm.ts';
import { explain } from '#vmm/explain.ts';
import type { CliHost } from './host.ts';
import { main } from './main.ts';

const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-cli-'));
after(() => rmSync(dir, { recursive: true }));
const kernel = path.join(dir, 'kernel');
writeFileSync(kernel, 'kernel');
const initrd = path.join(dir, 'initrd');
writeFileSync(initrd, 'initrd');
const empty = path.join(dir, 'empty');
writeFileSync(empty, '');

/** A guest that ends as told, or with nothing told runs until it is stopped. */
class FakeVm implements Vm {
  received = '';
  readonly warnings: string[] = [];
  readonly #exit: VmExit | undefined;
  #listener: (bytes: Uint8Array) => void = () => {};
  #stop: () => void = () => {};
  readonly #stopped = new Promise<void>((resolve) => {
    this.#stop = resolve;
  });

  constructor(exit: VmExit | undefined, whileRunning: () => void) {
    this.#exit = exit;
    this.#whileRunning = whileRunning;
  }

  readonly console = {
    onOutput: (listener: (bytes: Uint8Array) => void): void => {
      this.#listener = listener;
    },
    write: (bytes: Uint8Array): void => {
      this.received += Buffer.from(bytes).toString('latin1');
    },
  };

  readonly onWarning = (): void => {};
  readonly #whileRunning: () => void;
  readonly disks = (): readonly DiskStatus[] => [];
  readonly addDisk = async (): Promise<string> => 'disk0';
  readonly removeDisk = async (): Promise<void> => {};
  readonly resizeDisk = async (): Promise<void> => {};
  readonly limitDisk = (): void => {};

  async run(): Promise<VmExit> {
    this.#listener(Buffer.from('hello from the guest\n'));
    if (this.#exit !== undefined) return this.#exit;
    setImmediate(this.#whileRunning);
    await this.#stopped;
    return { type: 'stopped' };
  }

  async stop(): Promise<void> {
    this.#stop();
  }

  stats() {
    return {
      instructions: 1234567,
      exits: { hlt: 1, io: 20 },
      tlbMisses: 3,
      tlbFlushes: 4,
      pageWalks: 50,
      faults: { '#PF': 7 },
      interrupts: { 236: 5 },
      blocks: { made: 60, dropped: 7, evicted: 5 },
      missing: ['read of MSR 0x34, which is not there'],
      verified: { compared: 9, instructions: 80, skipped: 1 },
      asleepSeconds: 0.25,
      seconds: 0.75,
    };
  }
}

interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly config: VmConfig | undefined;
  readonly vm: FakeVm | undefined;
  readonly rawModes: readonly boolean[];
}

interface Setting {
  readonly exit?: VmExit;
  readonly createError?: Error;
  /** Typed before and while it runs. */
  readonly typed?: string;
  readonly tty?: boolean;
  readonly whileRunning?: (streams: { stdin: PassThrough; stdout: PassThrough }) => void;
}

async function ring0(argv: string[], setting: Setting = {}): Promise<Outcome> {
  const rawModes: boolean[] = [];
  const stdin = Object.assign(new PassThrough(), {
    isTTY: setting.tty ?? false,
    setRawMode: (raw: boolean) => rawModes.push(raw),
  });
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  let config: VmConfig | undefined;
  let vm: FakeVm | undefined;
  const host: CliHost = {
    env: { PATH: path.join(dir, 'no-tools'), RING0_CACHE: path.join(dir, 'cache') },
    stdin,
    stdout,
    stderr,
    createVm: async (given) => {
      if (setting.createError !== undefined) throw setting.createError;
      config = given;
      vm = new FakeVm(setting.exit, () => setting.whileRunning?.({ stdin, stdout }));
      return vm;
    },
    explain: async (request) => explain(request),
  };
  if (setting.typed !== undefined) stdin.write(setting.typed);
  const status = await main(argv, host);
  const text = (stream: PassThrough): string => String(stream.read() ?? '');
  return { status, stdout: text(stdout), stderr: text(stderr), config, vm, rawModes };
}

describe('what is not a run', () => {
  it('--version prints the version alone', async () => {
    const { status, stdout } = await ring0(['--version']);
    assert.equal(status, 0);
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
  });

  for (const argv of [[], ['--help'], ['run', '--help'], ['run', '-h'], ['guest', '--help']]) {
    it(`help with examples for '${argv.join(' ')}'`, async () => {
      const { status, stdout, stderr } = await ring0(argv);
      assert.equal(status, 0);
      assert.match(stdout, /Usage: ring0[\s\S]*\nExamples:\n {2}ring0 /);
      assert.equal(stderr, '');
    });
  }
});

describe('requests that are wrong give one line and status 1', () => {
  const cases: { argv: string[]; message: RegExp }[] = [
    { argv: ['runn'], message: /unknown command 'runn'; did you mean run\?/ },
    {
      argv: ['run', '--memroy', '1G'],
      message: /unknown flag '--memroy'; did you mean --memory\?/,
    },
    { argv: ['run', '--zzz'], message: /unknown flag '--zzz'; see --help/ },
    { argv: ['run', '--kernel'], message: /--kernel: a value is missing/ },
    { argv: ['run', '-k'], message: /--kernel: a value is missing/ },
    { argv: ['run', 'word', 'more'], message: /too many words/ },
    { argv: ['run', 'a.raw', '-g', '32'], message: /--guest: the disk is the guest/ },
    { argv: ['run', 'a.raw', '-i', initrd], message: /--initrd: the disk's own goes with/ },
    { argv: ['run', 'a.raw,bus=ide'], message: /--disk: bus='ide' is not one of them/ },
    { argv: ['guest', 'build', 'plan9'], message: /'plan9' is not one of them; give debian/ },
    { argv: ['guest', 'build', 'debian', '-s', 'big'], message: /--size: 'big' is not a size/ },
    { argv: ['run', '-m', '0'], message: /--memory: '0' is no memory at all; give a size/ },
    { argv: ['run', '-m', 'lots'], message: /--memory: 'lots' is not a size; give/ },
    { argv: ['run', '-m', '1K'], message: /--memory: 1 KiB is too small; give 2 MiB to 3\.5 GiB/ },
    {
      argv: ['run', '-m', '64G'],
      message: /--memory: 64 GiB is too large; give 2 MiB to 3\.5 GiB/,
    },
    { argv: ['run', '-t', '0'], message: /--timeout: '0' is not a time/ },
    { argv: ['run', '-t', '-5'], message: /--timeout: '-5' is not a time/ },
    { argv: ['run', '-t', '99999999999'], message: /--timeout: .* is too long/ },
    { argv: ['run', '--console', 'vga'], message: /--console: 'vga' .*give stdio, pty, none/ },
    { argv: ['run', '--accel', 'kvm'], message: /--accel: 'kvm' .*give auto, software/ },
    { argv: ['run', '--trace', 'insn,all'], message: /--trace: 'all' .*give insn, int, mmu, io/ },
    { argv: ['run', '--trace', 'insn:'], message: /--trace: 'insn:' names no file/ },
    { argv: ['run', '--verify', '--no-translate'], message: /--verify: compares translated code/ },
    { argv: ['run', '--verify', '--trace', 'io'], message: /--verify: no trace can be written/ },
    { argv: ['run', '--disturb', 'x'], message: /--disturb: 'x' is not a seed; give a number/ },
    { argv: ['run', '--dump', ''], message: /--dump: the name of the folder is empty/ },
    { argv: ['run', '--guest', '16'], message: /--guest: '16' .*give 64, 32/ },
    { argv: ['run', '-g', '32', '-k', kernel], message: /--guest: a kernel or firmware is/ },
    { argv: ['run', '--module', 'x'], message: /--module: modules need a Multiboot kernel/ },
    {
      argv: ['run', '-f', kernel, '-k', kernel],
      message: /--firmware: a machine starts in a kernel or in a firmware image, not in both/,
    },
    {
      argv: ['run', '-f', kernel, '-i', initrd],
      message: /--initrd: a firmware image loads no initrd/,
    },
    { argv: ['run', '-k', `${dir}/missing`], message: /--kernel: .*missing: no such file/ },
    { argv: ['run', '-k', dir], message: /--kernel: .*: is a folder; give a file/ },
    {
      argv: ['run', '-k', '/dev/zero'],
      message: /--kernel: \/dev\/zero: is neither a file nor a pipe/,
    },
    { argv: ['run', '-k', empty], message: /--kernel: .*empty: the file is empty/ },
    {
      argv: ['run', '-k', kernel, '-i', `${dir}/missing`],
      message: /--initrd: .*missing: no such file/,
    },
    { argv: ['run', '-k', kernel, '--module', 'nope,x'], message: /--module: nope: no such file/ },
    { argv: ['run'], message: /default guest: .*no apt-get here; .*--kernel and --initrd/ },
    { argv: ['guest'], message: /a command is missing after `guest`/ },
    { argv: ['guest', 'fech'], message: /unknown command 'fech'; did you mean fetch\?/ },
    { argv: ['guest', 'path'], message: /default guest is not cached; run `ring0 guest fetch`/ },
  ];
  for (const { argv, message } of cases) {
    it(argv.join(' ').replaceAll(dir, ''), async () => {
      const { status, stdout, stderr, vm } = await ring0(argv);
      assert.match(stderr, message);
      assert.match(stderr, /^ring0: [^\n]+\n$/);
      assert.equal(stdout, '');
      assert.equal(status, 1);
      assert.equal(vm, undefined);
    });
  }

  it('what the machine finds wrong', async () => {
    const createError = new RequestError("'pentium9' is unknown; give one of …", 'cpu');
    const { status, stderr } = await ring0(['run', '-k', kernel], { createError });
    assert.equal(stderr, "ring0: --cpu: 'pentium9' is unknown; give one of …\n");
    assert.equal(status, 1);
  });

  it('our own mistakes are status 70, with where they happened', async () => {
    const { status, stderr } = await ring0(['run', '-k', kernel], {
      createError: new Error('oops'),
    });
    assert.match(stderr, /^ring0: internal error, please report it: Error: oops\n +at /);
    assert.equal(status, 70);
  });
});

describe('how a guest ends', () => {
  const crash: VmExit = {
    type: 'crash',
    reason: 'triple fault',
    report: 'RIP=1\nRSP=2',
    dumpFile: '/tmp/d',
  };
  const cases: {
    name: string;
    exit?: VmExit;
    flags?: string[];
    status: number;
    stderr?: string;
  }[] = [
    { name: 'power-off', exit: { type: 'power-off' }, status: 0 },
    { name: 'reset', exit: { type: 'reset' }, flags: ['--no-reboot'], status: 0 },
    { name: 'debug-exit', exit: { type: 'debug-exit', status: 2 * 21 + 1 }, status: 43 },
    {
      name: 'debug-exit past a byte',
      exit: { type: 'debug-exit', status: 2 * 255 + 1 },
      status: 255,
    },
    {
      name: 'crash',
      exit: crash,
      status: 2,
      stderr:
        'ring0: the guest crashed: triple fault\nRIP=1\nRSP=2\nring0: a dump of the guest is in /tmp/d\n',
    },
    {
      name: 'crash without room for a dump',
      exit: { type: 'crash', reason: 'x', report: 'y', dumpFailed: '/d/f: the disk is full' },
      status: 2,
      stderr:
        'ring0: the guest crashed: x\ny\nring0: --dump: no dump was written: /d/f: the disk is full\n',
    },
    {
      name: 'a difference between the tiers',
      exit: { type: 'difference', report: 'rax differs' },
      flags: ['--verify'],
      status: 4,
      stderr:
        'ring0: --verify: compared 9 runs of translated code, 80 instructions; 1 wrote too much to be compared\n' +
        'ring0: --verify: rax differs\n',
    },
    {
      name: 'timeout',
      flags: ['--timeout', '0.05'],
      status: 124,
      stderr: 'ring0: --timeout: the guest did not end within 0.05 s\n',
    },
  ];
  for (const { name, exit, flags = [], status, stderr = '' } of cases) {
    it(name, async () => {
      const outcome = await ring0(
        ['run', '-k', kernel, ...flags],
        exit === undefined ? {} : { exit },
      );
      assert.equal(outcome.stderr, stderr);
      assert.equal(outcome.status, status);
      assert.equal(outcome.stdout, 'hello from the guest\n');
    });
  }

  const signals: { signal: NodeJS.Signals; status: number }[] = [
    { signal: 'SIGINT', status: 130 },
    { signal: 'SIGTERM', status: 143 },
    { signal: 'SIGHUP', status: 129 },
  ];
  for (const { signal, status } of signals) {
    it(`${signal} ends it and restores the terminal`, async () => {
      const whileRunning = (): void => void process.kill(process.pid, signal);
      const outcome = await ring0(['run', '-k', kernel], { whileRunning, tty: true });
      assert.equal(outcome.status, status);
      assert.equal(outcome.rawModes.at(-1), false);
      assert.equal(process.listenerCount(signal), 0);
    });
  }

  it('a reader of the output that has gone ends it', async () => {
    const broken = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });
    const outcome = await ring0(['run', '-k', kernel], {
      whileRunning: ({ stdout }) => void stdout.emit('error', broken),
    });
    assert.equal(outcome.status, 141);
    assert.equal(outcome.stderr, '');
  });
});

describe('what the guest gets', () => {
  it('takes the disk to boot before the others', async () => {
    const { config } = await ring0(['run', 'a.raw,readonly', '-d', 'b.raw', '--snapshot'], {
      exit: { type: 'power-off' },
    });
    assert.equal(config?.bootDisk, true);
    assert.deepEqual(
      config?.disks?.map(({ path: file, readOnly, snapshot }) => [file, readOnly, snapshot]),
      [
        ['a.raw', true, true],
        ['b.raw', false, true],
      ],
    );
  });

  it('has the documented defaults', async () => {
    const { config } = await ring0(['run', '-k', kernel], { exit: { type: 'power-off' } });
    assert.deepEqual(config, {
      memoryBytes: 256 * MIB,
      kernel: Buffer.from('kernel'),
      kernelName: kernel,
      append: 'console=ttyS0',
      cpuModel: 'ring0-v2',
      accel: 'auto',
      noReboot: false,
      translate: true,
      translationCache: path.join(dir, 'cache', 'translations'),
      dump: { dir: path.join(dir, 'cache', 'crashes'), keep: 2 },
      stats: false,
    });
  });

  it('takes every flag', async () => {
    const flags = ['-a', 'a b', '-k', kernel, '-i', initrd, '--symbols', initrd];
    flags.push(...'-m 1.5G -c none --accel software --cpu max'.split(' '));
    flags.push(
      ...'--no-reboot --no-translate --no-translation-cache --trace insn,io:t.log --dump dumps --stats'.split(
        ' ',
      ),
    );
    flags.push('--module', `${initrd},one, two`, '--module', kernel);
    const { config, stdout } = await ring0(['run', ...flags], { exit: { type: 'power-off' } });
    assert.deepEqual(config, {
      memoryBytes: 1536 * MIB,
      kernel: Buffer.from('kernel'),
      kernelName: kernel,
      initrd: Buffer.from('initrd'),
      initrdName: initrd,
      modules: [
        { bytes: Buffer.from('initrd'), cmdline: 'one, two' },
        { bytes: Buffer.from('kernel'), cmdline: '' },
      ],
      append: 'a b',
      cpuModel: 'max',
      accel: 'software',
      noReboot: true,
      translate: false,
      dump: { dir: 'dumps' },
      trace: { kinds: ['insn', 'io'], file: 't.log' },
      symbols: Buffer.from('initrd'),
      stats: true,
    });
    assert.equal(stdout, '', '--console none shows nothing');
  });

  it('no dump with --no-dump', async () => {
    const flags = ['run', '-k', kernel, '--no-dump'];
    const { config } = await ring0(flags, { exit: { type: 'power-off' } });
    assert.equal(config?.dump, undefined);
  });

  it('memory without a unit is MiB', async () => {
    const { config } = await ring0(['run', '-k', kernel, '-m', '64'], {
      exit: { type: 'power-off' },
    });
    assert.equal(config?.memoryBytes, 64 * MIB);
  });
});

describe('the console', () => {
  it('passes piped input through as it is, Ctrl-A included, and goes on after its end', async () => {
    const whileRunning = ({ stdin }: { stdin: PassThrough }): void => void stdin.end('b\x01x');
    const outcome = await ring0(['run', '-k', kernel, '-t', '0.1'], {
      typed: 'a\x01x',
      whileRunning,
    });
    assert.equal(outcome.vm?.received, 'a\x01xb\x01x');
    assert.equal(outcome.status, 124);
    assert.deepEqual(outcome.rawModes, []);
  });

  it('on a terminal Ctrl-C is the guest’s and Ctrl-A X ends it with status 0', async () => {
    const whileRunning = ({ stdin }: { stdin: PassThrough }): void =>
      void stdin.write('ls\x03\x01h\x01x');
    const outcome = await ring0(['run', '-k', kernel], { whileRunning, tty: true });
    assert.equal(outcome.status, 0);
    assert.equal(outcome.vm?.received, 'ls\x03');
    assert.match(outcome.stderr, /Ctrl-A X {7}end the guest/);
    assert.deepEqual(outcome.rawModes, [false, true, false]);
  });

  it('leaves the terminal alone without stdio', async () => {
    const outcome = await ring0(['run', '-k', kernel, '-c', 'none'], {
      tty: true,
      exit: { type: 'power-off' },
    });
    assert.deepEqual(outcome.rawModes, []);
  });
});

describe('--stats', () => {
  it('prints a table on standard error', async () => {
    const { stderr } = await ring0(['run', '-k', kernel, '--stats'], {
      exit: { type: 'power-off' },
    });
    assert.match(
      stderr,
      /time +0\.75 s, 0\.25 of them asleep\ninstructions +1,234,567 \(2\.5 million\/s awake\)\nTLB +3 misses, 50 page walks, 4 flushes\nblocks +60 made, 7 dropped, 5 evicted\n/,
    );
    assert.match(stderr, /exits\n +io +20\n +hlt +1\n/);
    assert.match(
      stderr,
      /vector 0xec +5\nnot there for the guest\n {2}read of MSR 0x34, which is not there\n/,
    );
  });

  it('prints one line of JSON with --json', async () => {
    const { stderr } = await ring0(['run', '-k', kernel, '--stats', '--json'], {
      exit: { type: 'power-off' },
    });
    assert.equal(stderr.trim().split('\n').length, 1);
    assert.equal(JSON.parse(stderr).faults['#PF'], 7);
  });
});

describe('explain', () => {
  const code = '48 01 d8 48 ff c9 75 f8';

  it('shows instructions, IR before and after, and WebAssembly', async () => {
    const { status, stdout } = await ring0(['explain', '--code', code]);
    assert.equal(status, 0);
    assert.match(stdout, /^0x1000: 64-bit code, blocks: 1, \d+ bytes of WebAssembly\n/);
    for (const line of ['add    rax,rbx', 'v2 = i64.add v0 v1', 'local.set $rax', 'i64.add'])
      assert.ok(stdout.includes(line), line);
  });

  it('--json has the same as data', async () => {
    const { stdout } = await ring0(['explain', '--code', '01 d8 c3', '--mode', '32', '--json']);
    const { mode, parts } = JSON.parse(stdout);
    assert.equal(mode, 32);
    const texts = parts.flatMap((p: { text?: string }) => p.text ?? []);
    assert.deepEqual(texts, ['add    eax,ebx', 'ret']);
  });

  const wrong = [
    { args: [], says: /give one of --kernel, --raw and --code/ },
    { args: ['--code', 'xyz'], says: /--code: 'xyz' is no code/ },
    { args: ['--code', code, '--mode', '48'], says: /--mode: '48' is no mode/ },
    { args: ['--code', code, '--at', 'main'], says: /--at: 'main' is no address/ },
    { args: ['--code', code, '--at', '0x9000'], says: /--at: there is no code at 0x9000/ },
    { args: ['--code', code, '--blocks', '0'], says: /--blocks: '0' will not do/ },
    { args: ['--kernel', kernel], says: /--kernel: it is neither a bzImage nor/ },
  ];
  for (const { args, says } of wrong)
    it(`refuses ${args.join(' ') || 'nothing'}`, async () => {
      const { status, stderr } = await ring0(['explain', ...args]);
      assert.equal(status, 1);
      assert.match(stderr, says);
    });
});
