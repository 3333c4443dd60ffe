// v86, an emulator of 32-bit PCs in WebAssembly. It is fetched when it first takes part, into the cache.
import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cacheDir } from '#guests/default-guest.ts';
import { MEMORY_MIB, type Presence } from './measurement.ts';

/** Its npm package, of which the Node build and the core serve. */
const V86_VERSION = '0.5.462';
const FETCH_TIMEOUT_MS = 120_000;
const GUEST_SCRIPT = fileURLToPath(new URL('v86-guest.ts', import.meta.url));

const packageDir = (): string => path.join(cacheDir(process.env), 'bench', `v86-${V86_VERSION}`);

export function v86Command(kernel: string): string[] {
  const build = path.join(packageDir(), 'build');
  const files = [path.join(build, 'libv86.mjs'), path.join(build, 'v86.wasm'), kernel];
  return [process.execPath, GUEST_SCRIPT, ...files, `${MEMORY_MIB}`];
}

export async function v86Presence(): Promise<Presence> {
  const version = `${V86_VERSION}, Node ${process.version}`;
  const dir = packageDir();
  if (await exists(path.join(dir, 'build', 'v86.wasm'))) return { version };
  try {
    await fetchPackage(dir);
    return { version };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { absent: `cannot be fetched from npm: ${why.trim().split('\n').at(-1)}` };
  }
}

/** Unpacked aside and then renamed, so that the folder is complete when it is there. */
async function fetchPackage(dir: string): Promise<void> {
  const parent = path.dirname(dir);
  await mkdir(parent, { recursive: true });
  const temp = await mkdtemp(path.join(parent, '.fetch-'));
  try {
    const run = promisify(execFile);
    const options = { cwd: temp, timeout: FETCH_TIMEOUT_MS };
    await run('npm', ['pack', '--silent', `v86@${V86_VERSION}`], options);
    await run('tar', ['-xzf', `v86-${V86_VERSION}.tgz`], options);
    await rename(path.join(temp, 'package'), dir);
  } finally {
    await rm(temp, { recursive: true, force: true });
  }
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
