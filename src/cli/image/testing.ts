import { PassThrough } from 'node:stream';
import type { CliHost } from '../host.ts';
import { main } from '../main.ts';

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `ring0 image` in this process. */
export async function ring0Image(...args: readonly string[]): Promise<Outcome> {
  const text = { stdout: '', stderr: '' };
  const stream = (name: 'stdout' | 'stderr'): PassThrough => {
    const through = new PassThrough();
    through.on('data', (chunk: Buffer) => {
      text[name] += chunk.toString();
    });
    return through;
  };
  const host: CliHost = {
    env: {},
    stdin: new PassThrough(),
    stdout: stream('stdout'),
    stderr: stream('stderr'),
    createVm: () => Promise.reject(new Error('no VM is wanted here')),
    explain: () => Promise.reject(new Error('nothing is to be explained here')),
  };
  const status = await main(['image', ...args], host);
  return { status, ...text };
}
