import type { Readable, Writable } from 'node:stream';
import { ESCAPE_HELP, type EscapeAction, EscapeKeys } from './escape-keys.ts';
import { LineEditor } from './line-editor.ts';

const PROMPT = '(ring0) ';
const MONITOR_HELLO =
  "ring0's monitor: 'help' lists commands, Ctrl-A C leads back to the guest\r\n";

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
  /** A line typed in the monitor. `say` may be called later too. */
  command(line: string, say: (lines: readonly string[]) => void): Promise<void>;
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
  /** Of the monitor, while keys go there. */
  #monitor: LineEditor | undefined;
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
    for (const part of this.#keys.feed(chunk)) {
      if (typeof part === 'string') this.#act(part);
      else if (this.#monitor === undefined) this.#events.input(part);
      else void this.#command(this.#monitor, part);
    }
  };

  async #command(editor: LineEditor, typed: Uint8Array): Promise<void> {
    const { echo, lines } = editor.feed(typed);
    this.#streams.stderr.write(echo);
    for (const line of lines) {
      let isDone = false;
      await this.#events.command(line, (said) => {
        this.#say(said, isDone && this.#monitor !== undefined ? '\r\x1b[K' : '');
        if (isDone && this.#monitor !== undefined)
          this.#streams.stderr.write(PROMPT + this.#monitor.pending);
      });
      isDone = true;
      if (this.#monitor === editor) this.#streams.stderr.write(PROMPT + editor.pending);
    }
  }

  #act(action: EscapeAction): void {
    switch (action) {
      case 'quit':
        this.#events.quit();
        break;
      case 'help':
        this.#say(ESCAPE_HELP);
        break;
      case 'monitor':
        this.#switch();
        break;
    }
  }

  #switch(): void {
    const editor = this.#monitor === undefined ? new LineEditor() : undefined;
    this.#monitor = editor;
    this.#streams.stderr.write(editor === undefined ? '\r\n' : `\r\n${MONITOR_HELLO}${PROMPT}`);
  }

  #say(lines: readonly string[], before = '\r\n'): void {
    if (lines.length > 0 && !this.#closed)
      this.#streams.stderr.write(`${before}${lines.join('\r\n')}\r\n`);
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
