// A program's time, and what it took of the processor and of memory.
import { execFile } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { promisify } from 'node:util';

const TIMEOUT_MS = 300_000;

export interface ProcessCost {
  readonly seconds: number;
  /** Of all its threads and children, the kernel's part included. */
  readonly cpuSeconds: number;
  /** The most memory that it held at a time. */
  readonly peakMib: number;
  readonly printed: string;
}

/** Runs a program under GNU time, whose figures are the last line on standard error. */
export async function measureProcess(command: readonly string[]): Promise<ProcessCost> {
  const startMs = performance.now();
  const { stdout, stderr } = await runToEnd('time', ['-f', '%U %S %M', ...command]);
  const seconds = (performance.now() - startMs) / 1000;
  const figures = stderr.trimEnd().split('\n').at(-1) ?? '';
  return { seconds, printed: stdout, ...parseFigures(figures) };
}

/** User and system seconds and KiB, as `%U %S %M` writes them. */
function parseFigures(line: string): { readonly cpuSeconds: number; readonly peakMib: number } {
  const match = /^([\d.]+) ([\d.]+) (\d+)$/.exec(line);
  if (match === null) throw new Error(`'${line}' is not what time(1) writes`);
  return {
    cpuSeconds: Number(match[1]) + Number(match[2]),
    peakMib: Number(match[3]) / 1024,
  };
}

/** @throws when the program is not there, with how to have it, and when it fails. */
export async function runToEnd(
  file: string,
  args: readonly string[],
): Promise<{ stdout: string; stderr: string }> {
  try {
    return await promisify(execFile)(file, args, { timeout: TIMEOUT_MS });
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (!isMissing) throw error;
    throw new Error(`${file} is missing; see bench/README.md`, { cause: error });
  }
}
