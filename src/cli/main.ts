import { Command, CommanderError } from 'commander';
import { RequestError } from '#base/errors.ts';
import { DEFAULT_APPEND, DEFAULT_CPU_MODEL } from '#control/config.ts';
import { DEFAULT_GUEST_APPEND } from '#guests/default-append.ts';
import manifest from '../../package.json' with { type: 'json' };
import { defineAppliance } from './appliance/commands.ts';
import { errorLine } from './error-line.ts';
import { addExamples } from './examples.ts';
import type { ExplainFlags } from './explain-request.ts';
import type { GuestBuildFlags, GuestFlags } from './guest-command.ts';
import { type CliHost, print, processHost } from './host.ts';
import { defineImage, protectSizes, starter } from './image/commands.ts';
import { type AddCommand, definingNamed } from './lazy-command.ts';
import type { RunFlags } from './run-request.ts';
import { usageError } from './usage-error.ts';

const STATUS_BAD_REQUEST = 1;
/** EX_SOFTWARE of sysexits(3): we erred. */
const STATUS_INTERNAL_ERROR = 70;

const EXAMPLES = `
Examples:
  ring0 run                              the default guest: a shell on Debian's kernel; Ctrl-A X quits
  ring0 run --guest 32                   the same on a 32-bit kernel without PAE
  ring0 run debian.qcow2 -m 512M         the system on a disk: kernel and initrd are taken out of it
  ring0 run -k bzImage -i initrd.img     a kernel of your own
  ring0 run -k vmlinux -a 'console=ttyS0 panic=-1' --no-reboot -t 60
  ring0 guest fetch                      get or renew the default guest's packages
  ring0 image info disk.qcow2            what a disk image is`;

const RUN_HELP = `
Without --kernel or --firmware it runs the default guest: Debian's kernel package with busybox, fetched with apt-get on
first use and then cached. On a terminal Ctrl-C goes to the guest; Ctrl-A X ends it, Ctrl-A H lists the other keys.

Exit status:
  0    the guest powered off, or Ctrl-A X
  1    the request was wrong
  2    the guest crashed
  4    --verify: translated code and the interpreter came to different results
  124  --timeout was reached
  2V+1 the guest wrote the byte V to the debug-exit port 0xf4
  130, 143, 129  ended by SIGINT, SIGTERM, SIGHUP

Examples:
  ring0 run
  ring0 run --append 'init=/bin/sh' --memory 1G
  ring0 run -k bzImage -i initrd.img -a 'console=ttyS0 root=/dev/ram0' -m 512M
  ring0 run debian.qcow2 --memory 512M --snapshot
  ring0 run -d data.raw,format=raw,bus=nvme -d cd.iso,readonly
  ring0 run -k multiboot.elf --module 'data.bin,an argument' --console none --timeout 10
  ring0 run -f bios.bin --trace int,io:trace.log
  ring0 run --stats --json -t 60 2>stats.json`;

const EXPLAIN_HELP = `
On a terminal of 150 columns or more all stands side by side.

Examples:
  ring0 explain --code '48 01 d8 48 ff c9 75 f8'
  ring0 explain -k vmlinuz --at strlen --blocks 4 | less
  ring0 explain --raw boot.bin --base 0x7c00 --mode 16`;

/** Runs a command line (without the program's name) and resolves with the exit status; never throws. */
export async function main(argv: string[], host: CliHost = processHost()): Promise<number> {
  let status = 0;
  const program = makeProgram(host, definingNamed(argv), (result) => {
    status = result;
  });
  try {
    await program.parseAsync(argv.length === 0 ? ['--help'] : protectSizes(argv), { from: 'user' });
    return status;
  } catch (error) {
    return reportError(error, host, argv[0] ?? '');
  }
}

/** Each command is loaded when it runs: the others' modules would take longer than many a command does. */
function makeProgram(host: CliHost, add: AddCommand, done: (status: number) => void): Command {
  const program = new Command('ring0')
    .description(
      'A hypervisor in TypeScript: runs unmodified x86 systems where there is no hypervisor.',
    )
    .version(manifest.version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .addHelpText('after', EXAMPLES)
    .exitOverride()
    // Errors are said once, in our words, by `reportError`.
    .configureOutput({ writeOut: (text) => print(host, text), writeErr: () => {} });
  add(program, 'run', 'run a guest until it powers off', (run) => {
    defineRun(run, host, done);
  });
  add(
    program,
    'explain',
    'show how guest code is translated: instructions, IR, WebAssembly',
    (explain) => {
      defineExplain(explain, host, done);
    },
  );
  add(program, 'guest', 'manage the default guest', (guest) => {
    defineGuest(guest, host, done);
  });
  add(program, 'image', 'make, inspect and convert disk images', (image) => {
    defineImage(image, add, starter(host, done));
  });
  add(program, 'appliance', 'take machines in and out as OVF packages', (appliance) => {
    defineAppliance(appliance, starter(host, done));
  });
  for (const group of program.commands) addExamples(group);
  return program;
}

function defineRun(run: Command, host: CliHost, done: (status: number) => void): void {
  run
    .argument('[disk]', 'disk image to boot: FILE[,options], the first of the --disk ones')
    .option('-g, --guest <bits>', '64 or 32: which default guest, amd64 (default) or i686')
    .option('-k, --kernel <file>', 'bzImage, ELF vmlinux or Multiboot 1 kernel')
    .option('-i, --initrd <file>', 'initial RAM disk')
    .option('--module <file[,args]>', 'module for a Multiboot kernel; may be repeated', collect)
    .option('-f, --firmware <file>', 'ROM image to start in real mode, instead of a kernel')
    .option(
      '-d, --disk <file[,options]>',
      'disk: id=, format=, bus=, controller=, nsid=, lun=, cache=, readonly, serial=, snapshot, full=, iops=, bps=; may be repeated',
      collect,
    )
    .option('--snapshot', 'throw away at the end what the guest writes to disks')
    .option(
      '-a, --append <line>',
      `kernel command line (default: ${DEFAULT_APPEND}; added to "${DEFAULT_GUEST_APPEND}" for the default guest)`,
    )
    .option('-m, --memory <size>', 'memory: a number with K, M or G; MiB without', '256M')
    .option(
      '-c, --console <where>',
      'the serial console: stdio, pty (needs script(1)) or none',
      'stdio',
    )
    .option(
      '-t, --timeout <seconds>',
      'end the guest after this time; fetching and loading it do not count',
    )
    .option('--accel <name>', 'auto or software', 'auto')
    .option('--cpu <model>', 'processor model', DEFAULT_CPU_MODEL)
    .option('--no-reboot', 'end when the guest resets, instead of restarting it')
    .option('--no-translate', 'interpret all guest code: slower, for comparison')
    .option('--verify', 'run translated code and the interpreter in lockstep and compare: slow')
    .option('--disturb <seed>', 'interrupts, page faults, void code at random moments')
    .option(
      '--no-translation-cache',
      'neither use nor keep code that was translated in earlier runs',
    )
    .option(
      '--trace <kinds[:file]>',
      'write a trace of insn, int, mmu, io (a list) to a file or standard error',
    )
    .option(
      '--profile <file>',
      'write a sampling profile of the guest, for browsers and speedscope',
    )
    .option(
      '--symbols <file>',
      'vmlinux or System.map, for names in profiles, traces and crash reports',
    )
    .option(
      '--dump <folder>',
      'where a crashed guest is dumped, as an ELF core file (default: crashes in the cache)',
    )
    .option('--no-dump', 'write no dump of a crashed guest')
    .option('-s, --stats', 'print at the end what was executed, on standard error')
    .option('--json', 'print the statistics as one line of JSON')
    .addHelpText('after', RUN_HELP)
    .action(async (disk: string | undefined, flags: RunFlags) => {
      const { runCommand } = await import('./run-command.ts');
      done(await runCommand(flags, disk, host));
    });
}

function defineExplain(explain: Command, host: CliHost, done: (status: number) => void): void {
  explain
    .option('-k, --kernel <file>', 'bzImage, ELF or Multiboot kernel')
    .option('--raw <file>', 'code without a format, at --base')
    .option('--code <bytes>', "the code itself, in hexadecimal: '48 01 d8'")
    .option('--base <address>', 'where the first byte of --raw or --code lies (default: 0x1000)')
    .option('--mode <bits>', '16, 32 or 64, where the kernel does not say it')
    .option('--at <where>', 'address, symbol or symbol+offset (default: the entry)')
    .option('--symbols <file>', "vmlinux or System.map (default: the kernel's own)")
    .option('--bytes <n>', 'look at code up to this many bytes from there')
    .option('--blocks <n>', 'blocks to follow from there (default: 8)')
    .option('--cpu <model>', 'processor model', DEFAULT_CPU_MODEL)
    .option('--json', 'print JSON')
    .addHelpText('after', EXPLAIN_HELP)
    .action(async (flags: ExplainFlags) => {
      const { explainCommand } = await import('./explain-command.ts');
      done(await explainCommand(flags, host));
    });
}

function defineGuest(guest: Command, host: CliHost, done: (status: number) => void): void {
  guest.helpCommand(false);
  const commands = [
    {
      name: 'fetch',
      about: 'get or renew its packages',
      run: async (flags: GuestFlags) =>
        (await import('./guest-command.ts')).guestFetch(flags, host),
    },
    {
      name: 'list',
      about: 'what is cached',
      run: async (flags: GuestFlags) => (await import('./guest-command.ts')).guestList(flags, host),
    },
    {
      name: 'path',
      about: "print the paths of the cached guest's kernel and initrd",
      run: async (flags: GuestFlags) => (await import('./guest-command.ts')).guestPath(flags, host),
    },
  ];
  for (const { name, about, run } of commands) {
    guest
      .command(name)
      .description(about)
      .option('--json', 'print JSON')
      .action(async (flags: GuestFlags) => done(await run(flags)));
  }
  guest
    .command('build')
    .description('make a disk with a whole system: debian')
    .argument('<system>', 'debian')
    .option('-o, --output <file>', 'the image; its ending names the format', 'debian.qcow2')
    .option('-s, --size <size>', 'of the disk', '2G')
    .option('--suite <name>', "the release, by Debian's name of it", 'bookworm')
    .option('--include <packages>', 'more packages, with commas between')
    .action(async (system: string, flags: GuestBuildFlags) => {
      done(await (await import('./guest-command.ts')).guestBuild(system, flags, host));
    });
  guest.addHelpText(
    'after',
    `
The cache is $RING0_CACHE, or ring0 in $XDG_CACHE_HOME or ~/.cache.

Examples:
  ring0 guest fetch
  ring0 guest path --json
  ring0 guest build debian -o debian.qcow2 --include openssh-server`,
  );
}

function collect(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value];
}

/** One line that says what is wrong and what to do; the stack only when the mistake is ours. */
function reportError(error: unknown, host: CliHost, command: string): number {
  if (error instanceof CommanderError && error.exitCode === 0) return 0; // --help, --version
  const request = error instanceof CommanderError ? explained(error, command) : error;
  if (request instanceof RequestError) {
    host.stderr.write(errorLine(request));
    return STATUS_BAD_REQUEST;
  }
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
  host.stderr.write(`ring0: internal error, please report it: ${detail}\n`);
  return STATUS_INTERNAL_ERROR;
}

function explained(error: CommanderError, command: string): RequestError {
  if (error.code === 'commander.help')
    return new RequestError(
      `a command is missing after \`${command}\`; \`ring0 ${command} --help\` names them`,
    );
  return usageError(error);
}
