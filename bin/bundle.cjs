// The script of `ring0 image`, which tools/build-image-command.ts makes and bin/start.cjs runs.
'use strict';
const { existsSync, readFileSync, statSync } = require('node:fs');
const { join } = require('node:path');
const { Script } = require('node:vm');

const ROOT = join(__dirname, '..');
/** Its text, V8's code for it, and the length of the text in 4 bytes: V8 takes any code for that of a text of that length. */
const BUNDLE = join(ROOT, 'build/image.bundle');
const MAP = join(ROOT, 'build/image.map');
const PLACE = /[^( ]*\bimage\.bundle:(\d+):(\d+)/;

exports.openBundle = () => {
  const bytes = readFileSync(BUNDLE);
  const end = bytes.length - 4;
  const textBytes = bytes.readUInt32LE(end);
  // Code of another Node is not used.
  const cachedData = bytes.subarray(textBytes, end);
  return new Script(bytes.latin1Slice(0, textBytes), { filename: BUNDLE, cachedData });
};

/** What the script gives: `main` of src/cli, and `sources`. Errors name the sources from now on. */
exports.runBundle = (script) => {
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
  return script.runInThisContext()(require);
};

/** Whether the sources of a script, if they are there, are still those that it was made from. */
exports.isCurrent = (sources) =>
  !existsSync(join(ROOT, 'src')) ||
  sources.every(([name, bytes, changedMs]) => {
    const there = statSync(`${ROOT}/${name}`, { throwIfNoEntry: false });
    return there?.size === bytes && there.mtimeMs === changedMs;
  });
