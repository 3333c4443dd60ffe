import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openSealed } from '../src/vmm/optimised-code.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OUT = join(ROOT, 'build');
const OUTPUTS = ['core.wasm', 'lz4.wasm', 'interpreter.wasm', 'handlers.json'];
/** Modules of which there is machine code, of use to this Node alone. */
const COMPILED = ['core', 'interpreter', 'lz4'];
/** Folders of src/ that go into them, and the file with the flags that machine code is made with. */
const FLAGS = 'src/vmm/optimised-code.ts';
const SOURCES = ['base', 'codegen', 'core', 'cpu', 'ir', 'isa', 'translate'];
/** src/cpu/layout.ts: the core's constants begin at 64 KiB. */
const MEMORY_BASE = '65536';
const ASC_FLAGS = ['-O3', '--noAssert', '--runtime', 'stub', '--disableWarning'];
const CORE_FLAGS = [
  ...['--importMemory', '--sharedMemory', '--initialMemory', '512', '--maximumMemory', '65536'],
  ...['--memoryBase', MEMORY_BASE],
  ...['--enable', 'simd,threads,bulk-memory,sign-extension,nontrapping-f2i,mutable-globals'],
];

/** Builds what is of other sources than those that are: the engine, and the script of `ring0 image`. */
export async function ensureBuilt(options: { readonly force?: boolean } = {}): Promise<void> {
  await ensureEngine(options);
  runNode('tools/build-image-command.ts');
}

/**
 * Builds build/core.wasm from src/core and the interpreter from the lifts, unless that has been done for the sources as
 * they are. Safe against others that do the same: they put whole files in place, and the stamp knows what belongs together.
 * @throws {Error} when a part does not compile; what was built before stays.
 */
async function ensureEngine(options: { readonly force?: boolean }): Promise<void> {
  const sources = sourceHash();
  const isBuilt = !options.force && readStamp() === `${sources} ${hashOf(OUT, OUTPUTS)}`;
  if (isBuilt && COMPILED.every(hasCode)) return;
  mkdirSync(OUT, { recursive: true });
  const temporary = mkdtempSync(join(OUT, 'new-'));
  try {
    if (isBuilt) for (const name of OUTPUTS) copyFileSync(join(OUT, name), join(temporary, name));
    else await buildModules(temporary);
    await timed('machine code', () => runNode('tools/build-machine-code.ts', temporary));
    writeFileSync(join(temporary, 'stamp'), `${sources} ${hashOf(temporary, OUTPUTS)}`);
    for (const name of [...COMPILED.map(codeFile), ...OUTPUTS, 'stamp'])
      renameSync(join(temporary, name), join(OUT, name));
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

async function buildModules(folder: string): Promise<void> {
  await timed('core', () => {
    compile('src/core/index.ts', join(folder, 'core.wasm'), CORE_FLAGS);
    compile('src/core/lz4.ts', join(folder, 'lz4.wasm'), ['--enable', 'simd,bulk-memory']);
  });
  const { buildInterpreter } = await import('./build-interpreter.ts');
  await timed('interpreter', () => buildInterpreter(folder));
}

const codeFile = (name: string): string => `${name}.code`;

function hasCode(name: string): boolean {
  const read = (file: string) => readOr(join(OUT, file), Buffer.alloc(0));
  return openSealed(read(codeFile(name)), read(`${name}.wasm`)) !== undefined;
}

function sourceHash(): string {
  const files = SOURCES.flatMap((folder) =>
    readdirSync(join(ROOT, 'src', folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => /\.(ts|json)$/.test(file) && !file.endsWith('.test.ts'))
      .map((file) => join('src', folder, file)),
  );
  const tools = readdirSync(join(ROOT, 'tools'))
    .filter((file) => /^build.*\.ts$/.test(file))
    .map((file) => join('tools', file));
  files.push(FLAGS);
  const hash = createHash('sha256').update(hashOf(ROOT, [...files, ...tools].sort()));
  hash.update(`${process.version} ${process.arch}`);
  return hash.update(readFileSync(ascManifest())).digest('hex');
}

/** One hash of the names and contents of `files` in `folder`; a missing one counts as empty. */
function hashOf(folder: string, files: readonly string[]): string {
  const hash = createHash('sha256');
  for (const file of files) {
    const bytes = readOr(join(folder, file), Buffer.alloc(0));
    hash.update(`${file}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex');
}

function readOr(path: string, otherwise: Buffer<ArrayBuffer>): Buffer<ArrayBuffer> {
  try {
    return readFileSync(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return otherwise;
    throw error;
  }
}

function readStamp(): string {
  return readOr(join(OUT, 'stamp'), Buffer.alloc(0)).toString();
}

function ascManifest(): string {
  return createRequire(import.meta.url).resolve('assemblyscript/package.json');
}

function compile(entry: string, into: string, flags: readonly string[]): void {
  const asc = join(dirname(ascManifest()), 'bin/asc.js');
  runNode(asc, entry, '-o', into, ...ASC_FLAGS, ...flags);
}

function runNode(...args: readonly string[]): void {
  const result = spawnSync(process.execPath, args, {
    cwd: ROOT,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (result.error !== undefined) throw result.error;
  if (result.status !== 0) throw new Error(`${args.slice(0, 2).join(' ')} fails`);
}

async function timed(what: string, work: () => void | Promise<void>): Promise<void> {
  const start = performance.now();
  await work();
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  process.stderr.write(`build: ${what} in ${seconds} s\n`);
}
