// What bin/ring0 gives to Node. CommonJS, for the loader of ES modules takes 12 ms: `image` does without.
'use strict';
const { isCurrent, openBundle, runBundle } = require('./bundle.cjs');

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

const args = process.argv.slice(2);
const main = args[0] === 'image' ? bundledMain() : undefined;
if (main === undefined) void import('./ring0.mjs');
else
  main(args).then((status) => {
    process.exitCode = status;
  });
