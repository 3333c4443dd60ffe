// Builds what the engine loads: build/core.wasm from src/core, and the interpreter from the lifts. Does nothing when
// their sources have not changed. --force builds anyway.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OUT = join(ROOT, 'build');
const SOURCES = ['src/core', 'src/ir', 'src/isa', 'src/translate', 'src/codegen', 'src/cpu'];
const ASC_FLAGS = [
  '-O3',
  '--noAssert',
  '--runtime',
  'stub',
  '--importMemory',
  '--sharedMemory',
  '--initialMemory',
  '512',
  '--maximumMemory',
  '65536',
  '--memoryBase',
  '65536',
  '--enable',
  'simd,threads,bulk-memory,sign-extension,nontrapping-f2i,mutable-globals',
  '--disableWarning',
];

function sourceHash(): string {
  const hash = createHash('sha256');
  const files = SOURCES.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((file) =>
      join(folder, file),
    ),
  );
  files.push(
    'tools/build.ts',
    'tools/build-interpreter.ts',
    'node_modules/assemblyscript/package.json',
  );
  for (const file of files
    .filter((f) => /\.(ts|json)$/.test(f) && !f.endsWith('.test.ts'))
    .sort()) {
    hash.update(file).update(readFileSync(join(ROOT, file)));
  }
  return hash.digest('hex');
}

function readStamp(): string {
  try {
    return readFileSync(join(OUT, 'stamp'), 'utf8');
  } catch {
    return '';
  }
}

function timed<T>(what: string, work: () => T): T {
  const start = performance.now();
  const result = work();
  process.stderr.write(`build: ${what} in ${((performance.now() - start) / 1000).toFixed(1)} s\n`);
  return result;
}

function compileCore(): void {
  const temporary = join(OUT, `core.${process.pid}.wasm`);
  const asc = join(ROOT, 'node_modules/assemblyscript/bin/asc.js');
  const result = spawnSync(
    process.execPath,
    [asc, 'src/core/index.ts', '-o', temporary, ...ASC_FLAGS],
    {
      cwd: ROOT,
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  if (result.status !== 0) {
    rmSync(temporary, { force: true });
    throw new Error('build: the core does not compile');
  }
  renameSync(temporary, join(OUT, 'core.wasm'));
}

const hash = sourceHash();
if (process.argv.includes('--force') || readStamp() !== hash) {
  mkdirSync(OUT, { recursive: true });
  timed('core', compileCore);
  const { buildInterpreter } = await import('./build-interpreter.ts');
  timed('interpreter', () => buildInterpreter(OUT));
  writeFileSync(join(OUT, 'stamp'), hash);
}
