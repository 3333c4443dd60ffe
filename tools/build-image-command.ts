// Makes build/image.bundle: what `ring0 image` runs, in one script, and what V8 makes of it. Its start then does without the
// loader of ES modules, a hundred files and most of the compiler. Does nothing when that is there, of the sources as they are.
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire, stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';
import type { main } from '../src/cli/main.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OUT = join(ROOT, 'build/image.bundle');
const { openBundle }: { readonly openBundle: (file: string) => Script } = createRequire(
  import.meta.url,
)('../bin/bundle.cjs');
const ENTRY = 'src/cli/main.ts';
/** Packages that go into the file; others are found when they are needed. */
const PACKAGES: ReadonlyMap<string, string> = new Map([
  ['commander', 'node_modules/commander/index.js'],
]);
/** Modules whose `import()` brings others into the file; those of main.ts are other commands. */
const FOLLOWED = /^src\/(cli\/image|storage)\//;
/** Parts of Node that commander imports and `ring0 image` does not use: 4 ms. */
const LAZY = new Set(['node:child_process']);
const FORMATS = ['qcow2', 'vdi', 'vpc', 'vhdx', 'vmdk'];
const OTHERS = ['tools/build-image-command.ts', 'node_modules/commander/LICENSE'];

/** By their paths below ROOT: JavaScript, each line at its place. */
const modules = new Map<string, string>();

/** The file that `name` means in the module `from`; undefined: Node's own, or a package's. */
function resolve(name: string, from: string): string | undefined {
  if (name.startsWith('#')) return `src/${name.slice(1)}`;
  if (name.startsWith('.')) return join(dirname(from), name);
  return PACKAGES.get(name);
}

function add(file: string): void {
  if (modules.has(file)) return;
  const text = readFileSync(join(ROOT, file), 'utf8');
  const isData = file.endsWith('.json');
  modules.set(file, isData ? `exports.default = ${text};` : '');
  if (isData) return;
  // Types become blanks, those beyond ASCII wider ones.
  const source = file.endsWith('.ts')
    ? stripTypeScriptTypes(text).replace(/[\u00a0\u2002]/g, ' ')
    : text;
  modules.set(file, toCommonJs(source, file));
}

/** Imports become calls, and what is exported is told at the end; nothing moves to another line. */
function toCommonJs(source: string, file: string): string {
  const told: string[] = [];
  const text = source
    .replace(/^import (?:([^;']+?) from )?'([^']+)'(?: with \{[^}]*\})?;/gm, (_, what, name) =>
      importOf(what, name, file),
    )
    .replace(/\bimport\('([^']+)'\)/g, (_, name) => laterOf(name, file))
    .replace(/^export ((?:async )?function\*? |class |const )(\w+)/gm, (_, kind, name) => {
      told.push(`exports.${name} = ${name};`);
      return `       ${kind}${name}`;
    })
    .replace(/^export \{([^}]*)\};/gm, (_, names) => {
      for (const [, name, as] of names.matchAll(/(\w+)(?: as (\w+))?/g))
        told.push(`exports.${as ?? name} = ${name};`);
      return '\n'.repeat(names.split('\n').length - 1);
    });
  if (/^(import|export)\b/m.test(text))
    throw new Error(`${file}: an import or export of a new kind`);
  return text + told.join(' ');
}

function importOf(what: string | undefined, name: string, file: string): string {
  const target = resolve(name, file);
  if (target !== undefined) add(target);
  const module = target === undefined ? `require('${name}')` : `load('${target}')`;
  if (what === undefined) return `${module};`;
  const [, all] = /^\* as (\w+)$/.exec(what) ?? [];
  if (all !== undefined) return `const ${all} = ${module};`;
  if (what.startsWith('{')) return `const ${what.replaceAll(' as ', ': ')} = ${module};`;
  if (LAZY.has(name)) return `const ${what} = lazily('${name}');`;
  return `const ${what} = ${module}${target === undefined ? '' : '.default'};`;
}

function laterOf(name: string, file: string): string {
  const target = resolve(name, file);
  if (target === undefined) return `Promise.resolve(require('${name}'))`;
  if (FOLLOWED.test(file)) add(target);
  return `later('${target}')`;
}

/** A function of `require` and the folder above build/: see bin/bundle.cjs. */
const HEAD = `(function (require, root) { 'use strict';
/* Made by tools/build-image-command.ts from src/, and from commander:
${readFileSync(join(ROOT, 'node_modules/commander/LICENSE'), 'utf8')}*/
const { statSync } = require('node:fs');
const modules = {};
const loaded = {};
function load(name) {
  if (loaded[name] === undefined) modules[name]((loaded[name] = {}));
  return loaded[name];
}
const later = async (name) => load(name);
const lazily = (name) => new Proxy({}, { get: (_, key) => require(name)[key] });
`;

/** Errors name the sources, whose lines are those of this file from \`starts\` on. */
const FOOT = `
function inSource(frame) {
  return String(frame).replace(/[^( ]*\\bimage\\.bundle:(\\d+)/, (_, line) => {
    const [start, name] = starts.findLast(([first]) => first <= line) ?? [1, 'build/image.bundle'];
    return name + ':' + (line - start + 1);
  });
}
Error.prepareStackTrace = (error, frames) => [error, ...frames.map((frame) => '    at ' + inSource(frame))].join('\\n');
/** Whether the sources, if they are there, are still those that this was made from. */
const isCurrent = () => {
  if (statSync(root + '/src', { throwIfNoEntry: false }) === undefined) return true;
  return sources.every(([name, bytes, changedMs]) => {
    const there = statSync(root + '/' + name, { throwIfNoEntry: false });
    return there?.size === bytes && there.mtimeMs === changedMs;
  });
};
return { isCurrent, main: (args, host) => load('${ENTRY}').main(args, host) };
});
`;

function isCurrent(): boolean {
  try {
    return run(openBundle(OUT)).isCurrent();
  } catch {
    return false;
  }
}

function run(script: Script): { readonly isCurrent: () => boolean; readonly main: typeof main } {
  return script.runInThisContext()(createRequire(import.meta.url), ROOT);
}

/** What V8 has after these commands: functions that none of them calls are compiled when they are called. */
async function codeOf(text: string): Promise<Buffer> {
  const script = new Script(text, { filename: OUT });
  const { main } = run(script);
  const folder = mkdtempSync(join(tmpdir(), 'ring0-build-'));
  const disk = (format: string) => join(folder, `disk.${format}`);
  const sink = () => new Writable({ write: (_chunk, _encoding, done) => done() });
  const host = {
    ...{ env: process.env, stdin: process.stdin, stdout: sink(), stderr: sink() },
    createVm: () => Promise.reject(),
    explain: () => Promise.reject(),
  };
  try {
    writeFileSync(disk('raw'), new Uint8Array(4 << 20).fill(1, 1 << 20, 3 << 20));
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

/** The file's text; characters beyond ASCII are escaped, so that V8 keeps it in half the memory. */
function bundle(): string {
  add(ENTRY);
  let text = HEAD;
  const starts: [number, string][] = [];
  for (const [file, body] of modules) {
    starts.push([text.split('\n').length, file]);
    text += `modules['${file}'] = (exports) => {${body}\n};\n`;
  }
  starts.push([text.split('\n').length, 'build/image.bundle']);
  const sources = [...modules.keys(), ...OTHERS].map((file) => {
    const { size, mtimeMs } = statSync(join(ROOT, file));
    return [file, size, mtimeMs];
  });
  text += `const starts = ${JSON.stringify(starts)};\nconst sources = ${JSON.stringify(sources)};\n${FOOT}`;
  return text.replace(
    /[^\0-\x7f]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

if (!isCurrent()) {
  const text = bundle();
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  // One file, for V8 takes any code for that of a text of the same length.
  const temporary = `${OUT}.${process.pid}`;
  mkdirSync(dirname(OUT), { recursive: true });
  writeFileSync(temporary, Buffer.concat([Buffer.from(text), await codeOf(text), length]));
  renameSync(temporary, OUT);
}
