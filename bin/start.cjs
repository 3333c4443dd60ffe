// What bin/ring0 gives to Node, and how the script of `ring0 image`, which tools/build-image-command.ts makes, is run. CommonJS, for
// the loader of ES modules takes 12 ms: `image` does without. One file: another is a millisecond.
'use strict';
const {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
} = require('node:fs');
const { join } = require('node:path');
const { Script } = require('node:vm');

const ROOT = join(__dirname, '..');
/** The lengths of its text and of V8's code for it, in 4 bytes each, and both: V8 takes any code for that of a text of that length. */
const BUNDLE = join(ROOT, 'build/image.bundle');
const MAP = join(ROOT, 'build/image.map');
const PLACE = /[^( ]*\bimage\.bundle:(\d+):(\d+)/;

/** Undefined: it was made by another version of ring0. */
function openBundle() {
  const file = openSync(BUNDLE);
  try {
    const lengths = Buffer.alloc(8);
    readSync(file, lengths);
    const text = lengths.readUInt32LE(0);
    const code = lengths.readUInt32LE(4);
    if (fstatSync(file).size !== lengths.length + text + code) return undefined;
    // One memory for both: each page that is new takes the host 2 µs.
    const bytes = Buffer.allocUnsafeSlow(Math.max(text, code));
    readSync(file, bytes, 0, text);
    const source = bytes.latin1Slice(0, text);
    readSync(file, bytes, 0, code);
    // Code of another Node is not used.
    return new Script(source, { filename: BUNDLE, cachedData: bytes.subarray(0, code) });
  } finally {
    closeSync(file);
  }
}

/** What the script gives: `main` of src/cli, and `sources`. Errors name the sources from now on. */
function runBundle(script) {
  let map;
  const inSource = (place, line, column) => {
    const { SourceMap } = require('node:module'); // Late: an error is rare.
    map ??= new SourceMap(JSON.parse(readFileSync(MAP, 'utf8')));
    const { originalSource, originalLine, originalColumn } = map.findEntry(line - 1, column - 1);
    if (originalSource === undefined) return place;
    const file = originalSource.replace(/^(\.\.\/)+/, '');
    return `${file}:${originalLine + 1}:${originalColumn + 1}`;
  };
  const told = (frame) =>
    `    at ${existsSync(MAP) ? String(frame).replace(PLACE, inSource) : frame}`;
  Error.prepareStackTrace = (error, frames) => [error, ...frames.map(told)].join('\n');
  return script.runInThisContext()(require, __filename);
}

/** Whether the sources of a script, if they are there, are still those that it was made from. */
function isCurrent(sources) {
  if (!existsSync(join(ROOT, 'src'))) return true;
  return sources.every(([name, bytes, changedMs]) => {
    const there = statSync(`${ROOT}/${name}`, { throwIfNoEntry: false });
    return there?.size === bytes && there.mtimeMs === changedMs;
  });
}

/** `main` of src/cli in one script; undefined: it is not there, or of other sources than those that are. */
function bundledMain() {
  try {
    const script = openBundle();
    if (script === undefined) return undefined;
    const { main, sources } = runBundle(script);
    return isCurrent(sources) ? main : undefined;
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

if (require.main !== module) module.exports = { openBundle, runBundle, isCurrent };
else {
  const args = process.argv.slice(2);
  const main = args[0] === 'image' ? bundledMain() : undefined;
  if (main === undefined) void import('./ring0.mjs');
  else
    main(args).then((status) => {
      process.exitCode = status;
    });
}
