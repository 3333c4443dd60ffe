import type { Readable, Writable } from 'node:stream';
import { ESCAPE_HELP, type EscapeAction, EscapeKeys } from './escape-keys.ts';

/** What of the process's streams is used: a terminal, a pipe or a file each. */
export interface TerminalStreams {
  readonly stdin: Readable & {
    readonly isTTY?: boolean;
    setRawMode?(raw: boolean): unknown;
    unref?(): unknown;
  };
  readonly stdout: Writable & { readonly columns?: number };
  readonly stderr: Writable & { readonly isTTY?: boolean };
}

interface TerminalEvents {
  /** Bytes for the guest. */
  input(bytes: Uint8Array): void;
  /** Ctrl-A X. */
  quit(): void;
  /** Standard output takes nothing any more. */
  outputFailed(error: Error): void;
}

/**
 * The console on standard input and output. A terminal is in raw mode until `close`, so that every key, Ctrl-C too, is
 * the guest's but for those after Ctrl-A. Anything else is passed through as it is, and its end only ends the input.
 */
export class Terminal {
  readonly #streams: TerminalStreams;
  readonly #events: TerminalEvents;
  readonly #keys = new EscapeKeys();
  #closed = false;

  constructor(streams: TerminalStreams, events: TerminalEvents) {
    this.#streams = streams;
    this.#events = events;
    // Restores the terminal wherever the process ends from, an uncaught exception included.
    process.on('exit', this.#restore);
    process.on('SIGCONT', this.#makeRaw);
    streams.stdout.on('error', this.#outputFailed);
    streams.stdin.on('error', this.#inputFailed);
    this.#makeRaw();
    streams.stdin.on('data', this.#typed);
    streams.stdin.resume();
  }

  /** Node writes to terminals, files and pipes before it returns: a slow reader slows the guest, and nothing piles up. */
  write(bytes: Uint8Array): void {
    if (!this.#closed) this.#streams.stdout.write(bytes);
  }

  /** Gives the terminal back. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { stdin, stdout } = this.#streams;
    stdin.off('data', this.#typed);
    stdin.pause();
    // A read that is under way would keep the process alive.
    stdin.unref?.();
    this.#restore();
    process.off('exit', this.#restore);
    process.off('SIGCONT', this.#makeRaw);
    stdout.off('error', this.#outputFailed);
    // A late EPIPE is no news.
    stdout.on('error', () => {});
  }

  readonly #typed = (chunk: Buffer): void => {
    if (!this.#streams.stdin.isTTY) {
      this.#events.input(chunk);
      return;
    }
    const { forGuest, actions } = this.#keys.feed(chunk);
    if (forGuest.length > 0) this.#events.input(forGuest);
    for (const action of actions) this.#act(action);
  };

  #act(action: EscapeAction): void {
    switch (action) {
      case 'quit':
        this.#events.quit();
        break;
      case 'help':
        this.#say(ESCAPE_HELP);
        break;
      case 'monitor':
        this.#say(['ring0: the monitor is not available yet']);
        break;
    }
  }

  #say(lines: readonly string[]): void {
    this.#streams.stderr.write(`\r\n${lines.join('\r\n')}\r\n`);
  }

  /** Also after a stop and `fg`: the shell has meanwhile set the terminal to its liking. */
  readonly #makeRaw = (): void => {
    const { stdin } = this.#streams;
    if (!stdin.isTTY || this.#closed) return;
    stdin.setRawMode?.(false); // Node remembers the mode and would take the second call for a repetition
    stdin.setRawMode?.(true);
  };

  readonly #restore = (): void => {
    const { stdin } = this.#streams;
    if (stdin.isTTY) stdin.setRawMode?.(false);
  };

  readonly #outputFailed = (error: Error): void => this.#events.outputFailed(error);

  /** A terminal that has hung up (EIO) or an unreadable file: the guest then has no input. */
  readonly #inputFailed = (): void => {};
}
