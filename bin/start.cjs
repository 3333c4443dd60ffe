// What bin/ring0 gives to Node, and how the script of `ring0 image`, which tools/build-image-command.ts makes, is run. CommonJS, for
// the loader of ES modules takes 12 ms: `image` does without. One file: another is a millisecond.
'use strict';
const { existsSync, readFileSync, statSync } = require('node:fs');
const { join } = require('node:path');
const { Script } = require('node:vm');

const ROOT = join(__dirname, '..');
/** Its text, V8's code for it, and the length of the text in 4 bytes: V8 takes any code for that of a text of that length. */
const BUNDLE = join(ROOT, 'build/image.bundle');
const MAP = join(ROOT, 'build/image.map');
const PLACE = /[^( ]*\bimage\.bundle:(\d+):(\d+)/;

function openBundle() {
  const bytes = readFileSync(BUNDLE);
  const end = bytes.length - 4;
  const textBytes = bytes.readUInt32LE(end);
  // Code of another Node is not used.
  const cachedData = bytes.subarray(textBytes, end);
  return new Script(bytes.latin1Slice(0, textBytes), { filename: BUNDLE, cachedData });
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
    const { main, sources } = runBundle(openBundle());
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
