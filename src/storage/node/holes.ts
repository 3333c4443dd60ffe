import { fstatSync } from 'node:fs';

export interface Run {
  readonly startBytes: number;
  readonly endBytes: number;
}

/**
 * Where a sparse file has data; undefined when the host does not tell, or has holes of less than `leastBytes` in all. Node has no SEEK_DATA
 * (lseek(2)): filefrag(8) of e2fsprogs asks FIEMAP, on filesystems that have it.
 */
export async function holesOf(fd: number, leastBytes: number): Promise<readonly Run[] | undefined> {
  const stats = fstatSync(fd);
  if (stats.blocks === 0) return [];
  if (stats.blocks * 512 > stats.size - leastBytes) return undefined;
  // Blocks of 1 byte: offsets come in bytes. -s writes out what has no place on the disk yet.
  const text = await outputOf('filefrag', ['-s', '-v', '-b1', '/dev/fd/3'], fd);
  return text === undefined ? undefined : parseFilefrag(text);
}

/** Lines such as `   0:        0..    4095:  34816..  38911:   4096:  last,eof`. */
export function parseFilefrag(text: string): readonly Run[] | undefined {
  const runs: Run[] = [];
  let lines = 0;
  for (const line of text.split('\n')) {
    const match = /^\s*\d+:\s*(\d+)\.\.\s*(\d+):(.*)$/.exec(line);
    if (match === null) continue;
    lines++;
    const [startBytes, endBytes] = [Number(match[1]), Number(match[2]) + 1];
    if (/unwritten/.test(match[3] ?? '')) continue;
    const last = runs.at(-1);
    if (last !== undefined && startBytes < last.endBytes) return undefined;
    if (last?.endBytes === startBytes) runs[runs.length - 1] = { ...last, endBytes };
    else runs.push({ startBytes, endBytes });
  }
  // Not a line although blocks are taken: not the output that we know.
  return lines === 0 ? undefined : runs;
}

async function outputOf(
  command: string,
  args: readonly string[],
  fd: number,
): Promise<string | undefined> {
  const { spawn } = await import('node:child_process');
  return await new Promise((resolve) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'ignore', fd],
      env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' },
    });
    let text = '';
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    child.once('error', () => resolve(undefined));
    child.once('close', (status) => resolve(status === 0 ? text : undefined));
  });
}
