import { unreachable } from '#base/errors.ts';
import { errnoOf, hostReason } from '#base/host-reason.ts';
import { checkConfig } from '#control/config.ts';
import type { Vm, VmExit } from '#control/vm.ts';
import { cachedGuestError } from './cached-guest-error.ts';
import { type CliHost, progressWriter } from './host.ts';
import { catchInterrupts, Interrupted } from './interrupts.ts';
import { openPty } from './pty.ts';
import { loadConfig } from './run-files.ts';
import { parseRunFlags, type RunFlags, type RunRequest } from './run-request.ts';
import { formatStats } from './stats-report.ts';
import { Terminal } from './terminal.ts';

/** As timeout(1). */
const STATUS_TIMEOUT = 124;
const STATUS_BAD_REQUEST = 1;
const STATUS_CRASH = 2;
/** Even, so that no debug exit gives it. */
const STATUS_DIFFERENCE = 4;
/** As a shell reports a process that SIGPIPE ended. */
const STATUS_BROKEN_PIPE = 141;

/** Why we ended the guest, when it did not end by itself. */
type Stopped = { readonly status: number; readonly message?: string };

/** `ring0 run`: resolves with the exit status. */
export async function runCommand(
  flags: RunFlags,
  bootDisk: string | undefined,
  host: CliHost,
): Promise<number> {
  const request = parseRunFlags(flags, bootDisk);
  const interrupts = catchInterrupts();
  const progress = progressWriter(host.stderr);
  try {
    const guestHost = { env: host.env, progress: progress.progress, signal: interrupts.signal };
    const config = await loadConfig(request, guestHost);
    progress.end();
    checkConfig(config);
    interrupts.signal.throwIfAborted();
    const vm = await host.createVm(config);
    for (const warning of vm.warnings) host.stderr.write(`ring0: ${warning}\n`);
    // A terminal does not return the carriage itself while the guest has it.
    const [before, end] = host.stderr.isTTY ? ['\r\n', '\r\n'] : ['', '\n'];
    vm.onWarning((line) => host.stderr.write(`${before}ring0: ${line}${end}`));
    return await runVm(vm, request, host, interrupts.signal);
  } catch (error) {
    if (error instanceof Interrupted) return error.exitStatus;
    throw cachedGuestError(error, request);
  } finally {
    progress.end();
    interrupts.release();
  }
}

async function runVm(
  vm: Vm,
  request: RunRequest,
  host: CliHost,
  signal: AbortSignal,
): Promise<number> {
  let stopped: Stopped | undefined;
  const stop = (why: Stopped): void => {
    if (stopped !== undefined) return;
    stopped = why;
    void vm.stop();
  };
  const onSignal = (): void => stop({ status: signal.reason.exitStatus });
  let closeConsole: () => void = () => {};
  let timer: NodeJS.Timeout | undefined;
  try {
    closeConsole = await connectConsole(vm, request, host, stop);
    if (signal.aborted) onSignal();
    signal.addEventListener('abort', onSignal);
    if (request.timeoutMs !== undefined) timer = startTimeout(request.timeoutMs, stop);
    const exit = await vm.run();
    closeConsole();
    if (request.verify) writeVerified(vm, host);
    if (request.disturb !== undefined) writeDisturbed(vm, host);
    if (request.stats !== 'none') writeStats(vm, request, host);
    return report(exit, stopped, host);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onSignal);
    closeConsole();
    await vm.stop();
  }
}

function startTimeout(timeoutMs: number, stop: (why: Stopped) => void): NodeJS.Timeout {
  const message = `--timeout: the guest did not end within ${timeoutMs / 1000} s`;
  return setTimeout(() => stop({ status: STATUS_TIMEOUT, message }), timeoutMs);
}

/** Resolves with what disconnects it again. */
async function connectConsole(
  vm: Vm,
  request: RunRequest,
  host: CliHost,
  stop: (why: Stopped) => void,
): Promise<() => void> {
  switch (request.console) {
    case 'none':
      vm.console.onOutput(() => {});
      return () => {};
    case 'pty': {
      const pty = await openPty();
      host.stderr.write(`ring0: the console is ${pty.slavePath}\n`);
      vm.console.onOutput((bytes) => pty.write(bytes));
      pty.onInput((bytes) => vm.console.write(bytes));
      return () => pty.close();
    }
    case 'stdio': {
      const terminal = new Terminal(host, {
        input: (bytes) => vm.console.write(bytes),
        quit: () => stop({ status: 0 }),
        command: async (line, say) => {
          const { runMonitorLine } = await import('./monitor.ts');
          await runMonitorLine(line, { vm, say, quit: () => stop({ status: 0 }) });
        },
        outputFailed: (error) => stop(outputFailure(error)),
      });
      vm.console.onOutput((bytes) => terminal.write(bytes));
      return () => terminal.close();
    }
    default:
      return unreachable(request.console);
  }
}

/** A reader that has gone wants no message; a full disk does. */
function outputFailure(error: Error): Stopped {
  const gone = errnoOf(error) === 'EPIPE' || errnoOf(error) === 'EIO';
  return gone
    ? { status: STATUS_BROKEN_PIPE }
    : { status: STATUS_BAD_REQUEST, message: `standard output: ${hostReason(error)}` };
}

/** On standard error: standard output is the guest's. */
function writeStats(vm: Vm, request: RunRequest, host: CliHost): void {
  const stats = vm.stats();
  host.stderr.write(request.stats === 'json' ? `${JSON.stringify(stats)}\n` : formatStats(stats));
}

function writeVerified(vm: Vm, host: CliHost): void {
  const { compared = 0, instructions = 0, skipped = 0 } = vm.stats().verified ?? {};
  const rest = skipped > 0 ? `; ${skipped} wrote too much to be compared` : '';
  host.stderr.write(
    `ring0: --verify: compared ${compared} runs of translated code, ${instructions} instructions${rest}\n`,
  );
}

function writeDisturbed(vm: Vm, host: CliHost): void {
  const counts = vm.stats().disturbed ?? { interrupts: 0, faults: 0, flushes: 0, rewrites: 0 };
  const { interrupts, faults, flushes, rewrites } = counts;
  host.stderr.write(
    `ring0: --disturb: ${interrupts} interrupts, ${faults} page faults, ${flushes} TLB flushes, ${rewrites} pages of void code\n`,
  );
}

/** Says what a user must know, and gives the exit status. */
function report(exit: VmExit, stopped: Stopped | undefined, host: CliHost): number {
  switch (exit.type) {
    case 'power-off':
    case 'reset':
      return 0;
    case 'debug-exit':
      return exit.status & 0xff; // all that a process can pass on
    case 'crash':
      host.stderr.write(
        `ring0: the guest crashed: ${exit.reason}\n${exit.report.replace(/\n*$/, '\n')}`,
      );
      if (exit.dumpFile !== undefined)
        host.stderr.write(`ring0: a dump of the guest is in ${exit.dumpFile}\n`);
      if (exit.dumpFailed !== undefined)
        host.stderr.write(`ring0: --dump: no dump was written: ${exit.dumpFailed}\n`);
      return STATUS_CRASH;
    case 'difference':
      host.stderr.write(`ring0: --verify: ${exit.report.replace(/\n*$/, '\n')}`);
      return STATUS_DIFFERENCE;
    case 'stopped':
      if (stopped?.message !== undefined) host.stderr.write(`ring0: ${stopped.message}\n`);
      return stopped?.status ?? 0;
    default:
      return unreachable(exit);
  }
}
