import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const RING0 = fileURLToPath(new URL('../../bin/ring0.mjs', import.meta.url));
/** Of the default guest's shell. */
export const PROMPT = '/ # ';
export const PATIENCE_MS = 600_000;

/** A ring0 process whose console is read and typed at. */
export class GuestConsole {
  readonly process: ChildProcess;
  text = '';

  constructor(args: readonly string[]) {
    this.process = spawn(process.execPath, [RING0, 'run', ...args], { stdio: 'pipe' });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.text += chunk.toString();
      });
    }
  }

  /** Resolves when `wanted` has come after the text that was there before. */
  async until(wanted: string): Promise<void> {
    const from = this.text.length;
    const deadline = Date.now() + PATIENCE_MS;
    while (!this.text.slice(from).includes(wanted)) {
      if (Date.now() > deadline || this.process.exitCode !== null)
        throw new Error(`no '${wanted}' on the console:\n${this.text.slice(-2000)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  type(line: string): void {
    this.process.stdin?.write(`${line}\n`);
  }

  async exitStatus(): Promise<number | null> {
    if (this.process.exitCode === null) await once(this.process, 'exit');
    return this.process.exitCode;
  }
}
