// A process whose output is read as it comes, with the host's time at which it came.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { performance } from 'node:perf_hooks';

/** A text that was waited for, and when it was there. */
export interface Mark {
  readonly atMs: number;
  /** What came before the text, since the mark before. */
  readonly before: string;
}

/** Of what a guest that failed had to say. */
const MOST_CHARACTERS = 200;

export class GuestProcess {
  readonly startedMs = performance.now();
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<void>;
  readonly #deadline: NodeJS.Timeout;
  #unread = '';
  #errors = '';
  #over: string | undefined;
  #wake: () => void = () => {};

  constructor(command: readonly string[], timeoutS: number) {
    const [file = '', ...args] = command;
    this.#child = spawn(file, args, { stdio: 'pipe' });
    this.#child.stdin.on('error', () => {}); // the process ended: `until` says so
    this.#child.stdout.setEncoding('latin1').on('data', (text: string) => {
      this.#unread += text;
      this.#wake();
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
    // A guest that idles at its shell would outlive a harness that is interrupted.
    const kill = (): boolean => this.#child.kill('SIGKILL');
    process.once('exit', kill);
    this.#ended = new Promise((resolve) => {
      const end = (why: string): void => {
        process.off('exit', kill);
        this.#over ??= why;
        this.#wake();
        resolve();
      };
      this.#child.on('error', (error) => end(error.message));
      this.#child.on('close', (code, signal) => end(`ended with status ${code ?? signal}`));
    });
    this.#deadline = setTimeout(() => {
      this.#over ??= `not ready after ${timeoutS} s`;
      this.#child.kill('SIGKILL');
    }, timeoutS * 1000);
  }

  /** @throws {Error} when the process ends, or is out of time, before it prints `text`. */
  async until(text: string): Promise<Mark> {
    for (;;) {
      const found = this.#unread.indexOf(text);
      if (found >= 0) {
        const mark = { atMs: performance.now(), before: this.#unread.slice(0, found) };
        this.#unread = this.#unread.slice(found + text.length);
        return mark;
      }
      if (this.#over !== undefined) throw new Error(`${this.#over}${this.#lastWords()}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  write(text: string): void {
    this.#child.stdin.write(text, 'latin1');
  }

  /** Waits for the process's end, and answers all that it wrote to standard error. */
  async end(): Promise<string> {
    await this.#ended;
    clearTimeout(this.#deadline);
    return this.#errors;
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.end();
  }

  #lastWords(): string {
    const lines = (this.#errors.trim() || this.#unread.trim()).split('\n');
    const said = lines.filter((line) => !line.startsWith('{')).join(' '); // statistics
    return said === '' ? '' : `: ${said.slice(0, MOST_CHARACTERS)}`;
  }
}
