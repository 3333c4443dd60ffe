'use strict';
const { readFileSync } = require('node:fs');
const { Script } = require('node:vm');

/** The script in a file that tools/build-image-command.ts made: its text, V8's code for it, the length of the text in 4 bytes. */
exports.openBundle = (filename) => {
  const bytes = readFileSync(filename);
  const end = bytes.length - 4;
  const textBytes = bytes.readUInt32LE(end);
  // Code of another Node is not used.
  const cachedData = bytes.subarray(textBytes, end);
  return new Script(bytes.latin1Slice(0, textBytes), { filename, cachedData });
};
