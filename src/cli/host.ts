import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { getSystemErrorMessage } from 'node:util';
import { errnoOf } from '#base/host-reason.ts';
import type { ExplainRequest, Explanation } from '#control/explain.ts';
import type { Vm, VmConfig } from '#control/vm.ts';
import type { TerminalStreams } from './terminal.ts';

/** What the commands reach the world through; a test gives its own. */
export interface CliHost extends TerminalStreams {
  readonly env: NodeJS.ProcessEnv;
  /** False: standard error is no terminal. It is asked before its stream is made, which takes up to 15 ms. */
  mayBeTerminal?(): boolean;
  /**
   * Writes to standard output without its stream, and says how many bytes that took; what is left, and all that follows, is
   * for the stream, as is all once there is one.
   */
  printNow?: ((bytes: Uint8Array) => number) | undefined;
  createVm(config: VmConfig): Promise<Vm>;
  explain(request: ExplainRequest): Promise<Explanation>;
}

const STDOUT = 1;
const STDERR = 2;
/** What is printed without a stream. */
const MOST_PRINTED_BYTES = 32 * 1024;
/** As a shell reports a process that SIGPIPE ended; or an error. */
const STATUS_OUTPUT_LOST = { gone: 141, other: 1 };

export function processHost(): CliHost {
  const stdout = once(watchedOutput);
  const stderr = once(watchedErrors);
  return {
    env: process.env,
    mayBeTerminal: () => fstatSync(STDERR).isCharacterDevice(),
    // What the stream still has comes first.
    printNow: printer(() => stdout.isMade()),
    // To make these streams takes 2 ms and 5, and not every command uses them.
    get stdin() {
      return process.stdin;
    },
    get stdout() {
      return stdout.get();
    },
    get stderr() {
      return stderr.get();
    },
    // Late, so that --help and errors do not wait for the engine to load.
    createVm: async (config) => (await import('#index.ts')).createVm(config),
    explain: async (request) => (await import('#index.ts')).explain(request),
  };
}

/** The little that most commands print goes out without a stream, which takes 6 ms to make. */
export function print(host: CliHost, text: string): void {
  const bytes = Buffer.from(text);
  const done = host.printNow?.(bytes) ?? 0;
  if (done < bytes.length) host.stdout.write(bytes.subarray(done));
}

function printer(hasStream: () => boolean): (bytes: Uint8Array) => number {
  let left = MOST_PRINTED_BYTES;
  return (bytes) => {
    left -= bytes.length;
    if (left < 0 || hasStream()) return 0;
    let done = 0;
    try {
      done = writeNow(bytes);
    } catch {
      // The stream will say why.
    }
    if (done < bytes.length) left = 0;
    return done;
  };
}

/** Not where that may wait for a reader: no signal would be heard meanwhile. The bytes that were written. */
function writeNow(bytes: Uint8Array): number {
  const stats = fstatSync(STDOUT);
  if (stats.isSocket()) return 0;
  if (!stats.isFIFO()) return writeSync(STDOUT, bytes);
  // Another way into the pipe: that of STDOUT waits, for all who share it.
  const fd = openSync(`/proc/self/fd/${STDOUT}`, constants.O_WRONLY | constants.O_NONBLOCK);
  try {
    return writeSync(fd, bytes);
  } finally {
    closeSync(fd);
  }
}

function once<T>(make: () => T): { readonly get: () => T; readonly isMade: () => boolean } {
  let made: { readonly value: T } | undefined;
  return {
    get: () => {
      made ??= { value: make() };
      return made.value;
    },
    isMade: () => made !== undefined,
  };
}

/** What went to standard error and is lost is nowhere left to be said. */
function watchedErrors(): typeof process.stderr {
  return process.stderr.on('error', () => {});
}

/** Output that is lost is a failure, and nothing to die of. */
function watchedOutput(): typeof process.stdout {
  return process.stdout.once('error', (error) => {
    const isGone = errnoOf(error) === 'EPIPE';
    const status = isGone ? STATUS_OUTPUT_LOST.gone : STATUS_OUTPUT_LOST.other;
    // Whoever has closed a pipe knows; a guest's console says it itself.
    if (!isGone && process.stdout.listenerCount('error') === 0)
      watchedErrors().write(`ring0: cannot write to standard output: ${whyOf(error)}\n`);
    process.stdout.on('error', () => {});
    process.on('exit', (code) => {
      if (code === 0) process.exitCode = status;
    });
  });
}

/** In the words of the system: `no space left on device`. */
function whyOf(error: NodeJS.ErrnoException): string {
  return error.errno === undefined ? error.message : getSystemErrorMessage(error.errno);
}

/** Progress lines on standard error; on a terminal a live line is written over by the next. */
export function progressWriter(stderr: TerminalStreams['stderr']): {
  progress: (line: string, live: boolean) => void;
  end: () => void;
} {
  let pending = false;
  const clear = stderr.isTTY ? '\r\x1b[K' : '';
  return {
    progress: (line, live) => {
      if (live && !stderr.isTTY) return;
      stderr.write(`${pending ? clear : ''}ring0: ${line}${live ? '' : '\n'}`);
      pending = live;
    },
    end: () => {
      if (pending) stderr.write(clear);
      pending = false;
    },
  };
}
