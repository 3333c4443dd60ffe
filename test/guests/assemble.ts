import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const absent = ['as', 'ld'].filter((tool) => spawnSync(tool, ['--version']).status !== 0);

/** Why nothing can be assembled here, or false. */
export const cannotAssemble =
  absent.length > 0 ? `no ${absent.join(', ')}; install binutils` : false;

/** What `ld` with `linkFlags` makes of assembly (GNU as, `asFlags`). */
export function assemble(
  source: string,
  asFlags: readonly string[],
  linkFlags: readonly string[],
): Uint8Array {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'ring0-kernel-'));
  try {
    const file = (name: string) => path.join(dir, name);
    writeFileSync(file('kernel.s'), source);
    execFileSync('as', [...asFlags, '-o', file('kernel.o'), file('kernel.s')]);
    execFileSync('ld', [...linkFlags, '-n', '-o', file('kernel'), file('kernel.o')]);
    return readFileSync(file('kernel'));
  } finally {
    rmSync(dir, { recursive: true });
  }
}
