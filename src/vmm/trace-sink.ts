import { writeSync } from 'node:fs';
import { errnoOf, hostReason } from '#base/host-reason.ts';

const BUFFER_CHARACTERS = 64 * 1024;
const RETRY_MS = 2;

/** The trace cannot be written. */
export class TraceError extends Error {
  override readonly name = 'TraceError';
}

/** Lines of a trace, gathered and written to an open file by whichever thread they come from. */
export class TraceSink {
  readonly #fd: number;
  readonly #file: string;
  #lines: string[] = [];
  #characters = 0;

  /** `file` is what messages call it. */
  constructor(fd: number, file: string) {
    this.#fd = fd;
    this.#file = file;
  }

  /** @throws {TraceError} */
  write(line: string): void {
    this.#lines.push(line);
    this.#characters += line.length + 1;
    if (this.#characters >= BUFFER_CHARACTERS) this.flush();
  }

  /** @throws {TraceError} */
  flush(): void {
    if (this.#lines.length === 0) return;
    const bytes = new TextEncoder().encode(`${this.#lines.join('\n')}\n`);
    this.#lines = [];
    this.#characters = 0;
    for (let done = 0; done < bytes.length; ) done += this.#writeSome(bytes.subarray(done));
  }

  #writeSome(bytes: Uint8Array): number {
    try {
      return writeSync(this.#fd, bytes);
    } catch (error) {
      if (errnoOf(error) !== 'EAGAIN')
        throw new TraceError(`${this.#file}: ${hostReason(error)}`, { cause: error });
      // A pipe that its reader has not emptied yet.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
      return 0;
    }
  }
}
