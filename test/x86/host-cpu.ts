import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The layout of `struct state` in host-cpu.c. */
export const STATE = {
  regs: 0,
  flags: 128,
  rip: 136,
  signal: 144,
  codeBytes: 152,
  codeSize: 156,
  code: 160,
  fx: 192,
  data: 704,
  size: 1728,
} as const;
export const DATA_PADDR = 0x200000;
export const DATA_BYTES = 1024;
export const CODE_PADDR = 0x220000;
export const TAKEN_PADDR = 0x220900;

/** Compiles host-cpu.c; undefined where there is no gcc or the host is not an x86-64 Linux. */
export function buildHostCpu():
  | { run: (cases: Uint8Array) => Uint8Array; close: () => void }
  | undefined {
  if (process.arch !== 'x64' || process.platform !== 'linux') return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'ring0-host-cpu-'));
  const program = join(folder, 'host-cpu');
  const source = fileURLToPath(new URL('./host-cpu.c', import.meta.url));
  const built = spawnSync('gcc', ['-O1', '-mno-red-zone', '-o', program, source]);
  const close = () => rmSync(folder, { recursive: true, force: true });
  if (built.status !== 0) {
    close();
    return undefined;
  }
  const run = (cases: Uint8Array): Uint8Array => {
    const result = spawnSync(program, [], { input: cases, maxBuffer: 2 ** 31 });
    if (result.status !== 0)
      throw new Error(`host-cpu ended with ${result.status} ${result.signal}`);
    return result.stdout;
  };
  return { run, close };
}
