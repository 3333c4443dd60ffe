// Makes build/image.bundle: what `ring0 image` runs, in one script, and what V8 makes of it. Its start then does without the
// loader of ES modules, a hundred files and most of the compiler. Does nothing when that is there, of the sources as they are.
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';
import { build, type Plugin } from 'esbuild';
import type { main } from '../src/cli/main.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const BUILD = join(ROOT, 'build');
const OUT = join(BUILD, 'image.bundle');
/** It names the flags that Node is started with. */
const LAUNCHER = 'bin/ring0';
const LICENSE = 'node_modules/commander/LICENSE';
/** Modules whose `import()` brings others into the script; those of main.ts are other commands. */
const FOLLOWED = /\/src\/(cli\/image|storage)\//;
const FORMATS = ['qcow2', 'vdi', 'vpc', 'vhdx', 'vmdk', 'parallels', 'qed'];

interface Bundle {
  openBundle(): Script | undefined;
  runBundle(script: Script): { readonly main: typeof main; readonly sources: readonly Source[] };
  isCurrent(sources: readonly Source[]): boolean;
}
/** Its path from ROOT, its size, when it was changed. */
type Source = readonly [name: string, bytes: number, changedMs: number];

const { openBundle, runBundle, isCurrent }: Bundle = createRequire(import.meta.url)(
  '../bin/start.cjs',
);

const parts: Plugin = {
  name: 'parts',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /\.ts$/ }, ({ kind, path, importer }) =>
      kind === 'dynamic-import' && !FOLLOWED.test(importer) ? { path, external: true } : undefined,
    );
    onResolve({ filter: /^@/ }, ({ path }) => ({ path, external: true }));
    // It takes 4 ms to load: for commands that are programs of their own, which we have none of.
    onResolve({ filter: /^node:child_process$/ }, ({ path, importer }) =>
      importer.includes('commander') ? { path, namespace: 'late' } : undefined,
    );
    onLoad({ filter: /./, namespace: 'late' }, ({ path }) => ({
      contents: `export default { spawn: (...args) => require('${path}').spawn(...args) };`,
    }));
  },
};

/** A function of `require`, and of where the modules that it finds are looked for, around ours; see bin/start.cjs. */
const HEAD = `(function (require, place) { 'use strict'; const module = {};
/* Made from src/ and from commander:
${readFileSync(join(ROOT, LICENSE), 'utf8')}*/`;

/** esbuild's way from a module of Node to its namespace makes a getter of each of its names: 1 ms of a start. */
const NAMESPACE = /var __toESM = [\s\S]*?\n\)\);\n/;

async function bundle(): Promise<{ readonly text: string; readonly map: string }> {
  const { outputFiles, metafile } = await build({
    ...{ entryPoints: ['src/cli/main.ts'], outfile: OUT, absWorkingDir: ROOT, plugins: [parts] },
    ...{ bundle: true, platform: 'node', format: 'cjs', target: 'node24', write: false },
    // The loader of ES modules would come with import().
    ...{ supported: { 'dynamic-import': false }, banner: { js: HEAD }, preserveSymlinks: true },
    define: { 'import.meta.url': 'place' },
    ...{ metafile: true, sourcemap: 'external', sourcesContent: false },
  });
  const files = Object.keys(metafile.inputs).filter((name) => !name.startsWith('late:'));
  const sources = [...files, 'tools/build-image-command.ts', LAUNCHER, LICENSE].map(
    (name): Source => {
      const { size, mtimeMs } = statSync(join(ROOT, name));
      return [name, size, mtimeMs];
    },
  );
  const [map, script] = outputFiles;
  // As many lines as before: the source map counts them.
  const body = script?.text.replace(
    NAMESPACE,
    (old) =>
      `var __toESM = (mod) => ({ __proto__: mod, default: mod });${old.replace(/[^\n]/g, '')}`,
  );
  if (body === script?.text) throw new Error('esbuild names __toESM otherwise now; see NAMESPACE');
  const foot = `return { main: module.exports.main, sources: ${JSON.stringify(sources)} };\n})`;
  return { text: `${body}${foot}`, map: map?.text ?? '' };
}

function isBuilt(): boolean {
  try {
    const script = openBundle();
    return script !== undefined && isCurrent(runBundle(script).sources);
  } catch {
    return false;
  }
}

/** What V8 has after these commands: functions that none of them calls are compiled when they are called. */
async function codeOf(script: Script): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), 'ring0-build-'));
  const disk = (format: string) => join(folder, `disk.${format}`);
  const sink = () => new Writable({ write: (_chunk, _encoding, done) => done() });
  const host = {
    ...{ env: process.env, stdin: process.stdin, stdout: sink(), stderr: sink() },
    createVm: () => Promise.reject(),
    explain: () => Promise.reject(),
  };
  try {
    const { main } = runBundle(script);
    // Data after data, holes, and zeros that are none: what comes second goes other ways than what comes first.
    const data = new Uint8Array(3 << 20).fill(1, 0, 1 << 20).fill(1, 2 << 20);
    writeFileSync(disk('raw'), '');
    truncateSync(disk('raw'), 16 << 20);
    for (const offsetBytes of [1 << 20, 8 << 20]) writeAt(disk('raw'), offsetBytes, data);
    let from = 'raw';
    for (const to of [...FORMATS, 'raw']) {
      await main(['image', 'convert', '-f', from, '-O', to, disk(from), disk(to)], host);
      await main(['image', 'info', disk(to)], host);
      from = to;
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  return script.createCachedData();
}

function writeAt(file: string, offsetBytes: number, bytes: Uint8Array): void {
  const fd = openSync(file, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offsetBytes);
  closeSync(fd);
}

function put(file: string, content: string | Uint8Array): void {
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, content);
  renameSync(temporary, file);
}

// V8 takes no code that was made with other flags.
const [, flags] = /\bflags='(.+)'/.exec(readFileSync(join(ROOT, LAUNCHER), 'utf8')) ?? [];
if (flags === undefined) throw new Error(`${LAUNCHER}: which flags it gives to Node is not seen`);
for (const flag of flags.split(' ')) setFlagsFromString(flag);
if (!isBuilt()) {
  const { text, map } = await bundle();
  const code = await codeOf(new Script(text, { filename: OUT }));
  const lengths = Buffer.alloc(8);
  lengths.writeUInt32LE(text.length, 0);
  lengths.writeUInt32LE(code.length, 4);
  mkdirSync(BUILD, { recursive: true });
  put(join(BUILD, 'image.map'), map);
  put(OUT, Buffer.concat([lengths, Buffer.from(text), code]));
}
