import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { RequestError } from '#base/errors.ts';

/** What waits to be read from the terminal's other end, before output is thrown away: nobody may be there. */
const MAX_BACKLOG_BYTES = 64 * 1024;
/** Far more than it takes, even on a machine under load. */
const START_TIMEOUT_MS = 10_000;

/**
 * Opens a pseudo-terminal of its own for the console, which any terminal program may be attached to.
 *
 * Node cannot allocate one (the ioctls behind posix_openpt(3) are out of its reach), `script` of util-linux can: it
 * copies between our pipes and the master. The command that it runs on the slave makes that raw, names it, and holds it
 * open, so that programs may come and go. It ends with us, however we end, because it reads from a pipe of ours.
 */
export async function openPty(): Promise<Pty> {
  const command = 'stty raw -echo && tty && exec cat <&3';
  const child = spawn('script', ['-q', '-f', '-c', command, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, SHELL: '/bin/sh', LC_ALL: 'C' },
    // A session of its own: Ctrl-C at our terminal must not end it before the guest.
    detached: true,
  });
  const { stdin, stdout, stderr } = child;
  if (stdin === null || stdout === null || stderr === null) throw new Error('no pipes');
  stdin.on('error', () => {}); // it has ended: nobody is there to write to
  const helper: Helper = { child, stdin, stdout, stderr };
  const head = await firstLine(helper);
  return new Pty(helper, head.line, head.rest);
}

interface Helper {
  readonly child: ChildProcess;
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
}

export class Pty {
  /** What to attach to: /dev/pts/N. */
  readonly slavePath: string;
  readonly #helper: Helper;
  #early: Uint8Array;

  constructor(helper: Helper, slavePath: string, early: Uint8Array) {
    this.#helper = helper;
    this.slavePath = slavePath;
    this.#early = early;
  }

  /** Hears what is typed at the other end. */
  onInput(listener: (bytes: Uint8Array) => void): void {
    if (this.#early.length > 0) listener(this.#early);
    this.#early = new Uint8Array(0);
    this.#helper.stdout.on('data', listener);
    this.#helper.stdout.resume();
  }

  write(bytes: Uint8Array): void {
    const { stdin } = this.#helper;
    if (stdin.writable && stdin.writableLength + bytes.length <= MAX_BACKLOG_BYTES)
      stdin.write(bytes);
  }

  /** Hangs up. */
  close(): void {
    const { child } = this.#helper;
    child.kill('SIGKILL'); // anything less waits for its turn while it is stuck in a write
    for (const pipe of child.stdio) pipe?.destroy();
    child.unref();
  }
}

async function firstLine(helper: Helper): Promise<{ line: string; rest: Uint8Array }> {
  const { child, stdout, stderr } = helper;
  return new Promise((resolve, reject) => {
    let head = Buffer.alloc(0);
    let complaint = '';
    const fail = (why: string): void => {
      stopListening();
      child.kill();
      reject(
        new RequestError(
          `cannot make a pseudo-terminal with script(1) (${why}); use stdio`,
          'console',
        ),
      );
    };
    const onData = (chunk: Buffer): void => {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf('\n');
      if (end < 0) return;
      const line = head.subarray(0, end).toString().trim();
      stopListening();
      stdout.pause();
      if (line.startsWith('/dev/')) resolve({ line, rest: head.subarray(end + 1) });
      else fail(line);
    };
    const onError = (error: Error): void => fail(error.message);
    const onExit = (): void =>
      fail(complaint.trim() === '' ? 'it ended at once' : complaint.trim());
    const timer = setTimeout(() => fail('it does not answer'), START_TIMEOUT_MS);
    const stopListening = (): void => {
      clearTimeout(timer);
      stdout.off('data', onData);
      child.off('error', onError).on('error', () => {});
      child.off('close', onExit);
    };
    stderr.on('data', (chunk: Buffer) => {
      complaint += chunk.toString();
    });
    stdout.on('data', onData);
    child.on('error', onError);
    child.on('close', onExit);
  });
}
