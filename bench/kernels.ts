// The bare-metal kernels: what they are and how they are built.
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const SOURCE_DIR = fileURLToPath(new URL('kernels', import.meta.url));

/** What an image is built for. */
export type Target = 'metal64' | 'metal32' | 'v86' | 'linux';

export interface Kernel {
  readonly name: string;
  readonly source: string;
  readonly flags?: readonly string[];
  /** Targets that cannot have it; all others do. */
  readonly not?: readonly Target[];
}

const PRIVILEGED: readonly Target[] = ['linux'];

export const KERNELS: readonly Kernel[] = [
  { name: 'integer-alu', source: 'integer-alu.c' },
  { name: 'recursive-calls', source: 'recursive-calls.c' },
  { name: 'pointer-calls', source: 'pointer-calls.c' },
  { name: 'interpreter', source: 'interpreter.c' },
  { name: 'byte-sieve', source: 'byte-sieve.c' },
  { name: 'crc32', source: 'crc32.c' },
  { name: 'arithmetic-64', source: 'arithmetic-64.c', not: ['metal32', 'v86'] },
  { name: 'x87-nbody', source: 'nbody.c', flags: ['-mfpmath=387', '-DSTEPS=200000'] },
  { name: 'sse-scalar-nbody', source: 'nbody.c', flags: ['-mfpmath=sse', '-DSTEPS=800000'] },
  { name: 'sse-vector-nbody', source: 'sse-vector-nbody.c' },
  { name: 'rep-movs', source: 'rep-movs.c' },
  { name: 'random-memory', source: 'random-memory.c' },
  { name: 'calls-16-pages', source: 'page-calls.S', flags: ['-DPAGES=16', '-DCALLS=67108864'] },
  { name: 'calls-512-pages', source: 'page-calls.S', flags: ['-DPAGES=512', '-DCALLS=8388608'] },
  { name: 'self-modifying', source: 'self-modifying.S' },
  { name: 'cr3-reloads', source: 'cr3-reloads.c', not: PRIVILEGED },
  { name: 'port-writes', source: 'port-writes.c', not: PRIVILEGED },
];

/** The same code for every target: what the compiler would do with more is not what is measured. */
const FLAGS = [
  '-O2',
  '-std=gnu17',
  '-msse2',
  '-static',
  '-fno-pie',
  '-no-pie',
  '-fno-stack-protector',
  '-fcf-protection=none',
  '-fno-asynchronous-unwind-tables',
  '-fno-tree-vectorize',
  '-fno-tree-loop-distribute-patterns', // would call memset, which is not there
  '-fno-math-errno', // square roots by instruction
  '-ffp-contract=off',
  '-Wl,--build-id=none,--no-warn-rwx-segments',
];
const METAL_FLAGS = ['-ffreestanding', '-mno-red-zone', '-nostdlib', '-T', 'link.ld'];

const METAL32_FLAGS = ['-m32', '-march=i686', ...METAL_FLAGS, 'start-32.S', 'on-metal.c'];

const TARGETS: Readonly<Record<Target, readonly string[]>> = {
  metal64: ['-m64', ...METAL_FLAGS, 'start-64.S', 'on-metal.c'],
  metal32: METAL32_FLAGS,
  v86: ['-DCONSOLE_PORT=0x3f8', ...METAL32_FLAGS], // it does not show port 0xe9
  linux: ['-m64', 'on-linux.c'],
};

export const supports = (kernel: Kernel, target: Target): boolean =>
  !(kernel.not ?? []).includes(target);

/**
 * Compiles a kernel into `outputDir`; answers the file's path.
 * @throws {Error} with the compiler's first lines when it fails, or is missing.
 */
export async function buildKernel(
  kernel: Kernel,
  target: Target,
  outputDir: string,
): Promise<string> {
  await mkdir(outputDir, { recursive: true });
  const file = path.join(outputDir, `${kernel.name}.${target}`);
  const sources = ['run.c', kernel.source];
  const args = [...FLAGS, ...(kernel.flags ?? []), ...TARGETS[target], ...sources, '-o', file];
  try {
    await promisify(execFile)('gcc', args, { cwd: SOURCE_DIR, timeout: 60_000 });
  } catch (cause) {
    const why = String(cause instanceof Error ? cause.message : cause);
    throw new Error(`cannot build ${kernel.name}: ${why.split('\n').slice(0, 3).join(' ')}`, {
      cause,
    });
  }
  return file;
}
